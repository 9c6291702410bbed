"""From where to where a setting may go, and how one that goes further is refused.

Whether a value that came as text is of the type that a setting has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from bilevel.core._schedule import Schedule, Scheduled
from games.core import require


@dataclass(frozen=True, kw_only=True)
class Range:
    """Finite numbers of `least` or more, or more than `above`, and of `most` or less."""

    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf

    def require(self, name: str, value: float) -> None:
        """Raise ValueError, naming the setting, unless a number lies here.

        >>> Range(least=0, most=1).require("self_interest", 1.5)
        Traceback (most recent call last):
        ValueError: self_interest must be a finite number from 0 to 1, not 1.5.
        """
        bound = f"above {self.above:g}" if self.above > -math.inf else f"of {self.least:g} or more"
        bound = bound if self.most == math.inf else f"from {self.least:g} to {self.most:g}"
        good = math.isfinite(value) and self.least <= value <= self.most and value > self.above
        require(good, f"{name} must be a finite number {bound}, not {value:g}.")

    def require_schedule(self, name: str, value: Scheduled) -> Scheduled:
        """Give a setting that may change on the way back in its usual form: a number if it is constant.

        Raises:
            ValueError: it is neither a number nor a schedule, or a value of it does not lie here.

        >>> Range(above=0).require_schedule("outer_learning_rate", "0:.1,200:.01")
        '0:0.1, 200:0.01'
        >>> Range(above=0).require_schedule("outer_learning_rate", "fast")
        Traceback (most recent call last):
        ValueError: outer_learning_rate: 'fast' is not a schedule: write a number, or values at outer steps,
        as in 0:0.3, 200:0.1.
        """
        if not isinstance(value, str):
            self.require(name, value)
            return value
        try:
            schedule = Schedule.read(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        for number in schedule.values:
            self.require(name, number)
        return schedule.values[0] if schedule.constant else str(schedule)


def require_number(name: str, value: float, *, least: float = -math.inf, above: float = -math.inf) -> None:
    """Raise ValueError unless a setting is finite, `least` or more, and more than `above`.

    >>> require_number("outer_learning_rate", 0.0, above=0)
    Traceback (most recent call last):
    ValueError: outer_learning_rate must be a finite number above 0, not 0.
    """
    Range(least=least, above=above).require(name, value)


UNIONS = (Union, UnionType)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, for the types that settings have: numbers, names and tuples of them.

    >>> fits((1, 2), tuple[int, ...]), fits(1, float), fits(True, int), fits(None, float | None)
    (True, True, False, True)
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Annotated:
        return fits(value, inner[0])
    if origin is Literal:
        return value in inner
    if origin in UNIONS:
        return any(fits(value, one) for one in inner)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        each = inner[:1] * len(value) if inner[1:] == (...,) else inner
        return len(each) == len(value) and all(map(fits, value, each))
    if hint is float:
        return type(value) in (int, float)
    return type(value) is (NoneType if hint is None else hint)


def spelled(hint: Any) -> str:
    """Spell a type as a refusal does.

    >>> spelled(Annotated[int, "counts"]), spelled(float | None), spelled(Literal["a", "b"])
    ('int', 'float | None', "Literal['a', 'b']")
    """
    if get_origin(hint) is Annotated:
        return spelled(get_args(hint)[0])
    return (
        hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")
    )
