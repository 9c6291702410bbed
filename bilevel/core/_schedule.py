"""Schedules of settings over outer steps, and the ranges of their values."""

from __future__ import annotations

import bisect
import itertools
import math
import re
from dataclasses import dataclass

from games.core import require

KNOT = re.compile(r"\s*(\d+)\s*:\s*([^:\s]+)\s*", re.ASCII)
EXAMPLE = "write a number, or values at outer steps, as in 0:0.3, 200:0.1"


@dataclass(frozen=True)
class Schedule:
    """A piecewise linear function of the outer step, constant before and after all knots.

    Two knots at one outer step are a jump: the last one holds from that step on. In text a constant is a
    number, and any other schedule its knots, STEP:VALUE, with commas between them.

    Raises:
        ValueError: there is no knot, or more than two at one outer step, outer steps are negative, not whole
            or not in order, or a value is not finite.

    >>> schedule = Schedule.read("0:1, 4:0")
    >>> [schedule(step) for step in (0, 1, 4, 100)]
    [1.0, 0.75, 0.0, 0.0]
    >>> [Schedule.read("0:1, 2:1, 2:0.5")(step) for step in (0, 1, 2)]
    [1.0, 1.0, 0.5]
    """

    knots: tuple[tuple[int, float], ...]
    """(outer step, value), in order."""

    def __post_init__(self) -> None:
        require(bool(self.knots), "A schedule has 1 knot or more.")
        times = [time for time, _ in self.knots]
        for time, value in self.knots:
            require(
                type(time) is int and time >= 0,
                f"A schedule counts outer steps in whole numbers from 0, and {time} is none.",
            )
            require(math.isfinite(value), f"A schedule's values are finite numbers, and {value} is none.")
            require(times.count(time) <= 2, f"A schedule has 2 knots at most at outer step {time}: a jump.")
        for before, after in itertools.pairwise(times):
            require(
                before <= after, f"A schedule's knots are in order, but outer step {after} follows {before}."
            )

    def __call__(self, step: int) -> float:
        """The value at this outer step, counted from 0."""
        place = bisect.bisect_right(self.knots, step, key=lambda knot: knot[0])
        before, after = self.knots[max(place - 1, 0)], self.knots[min(place, len(self.knots) - 1)]
        (begin, start), (end, goal) = before, after
        if step <= begin or begin == end:
            return start
        value = start + (goal - start) * (step - begin) / (end - begin)
        return min(max(value, min(start, goal)), max(start, goal))

    def __str__(self) -> str:
        """The text form, from which `read` builds an equal one."""
        if len(self.knots) == 1 and self.knots[0][0] == 0:
            return _short(self.knots[0][1])
        return ", ".join(f"{time}:{_short(value)}" for time, value in self.knots)

    @property
    def values(self) -> tuple[float, ...]:
        """The values at the knots, between which all others lie."""
        return tuple(value for _, value in self.knots)

    @property
    def constant(self) -> bool:
        """True if it has one value only."""
        return len(set(self.values)) == 1

    @staticmethod
    def line(start: float, end: float, steps: int) -> Schedule:
        """Build a line from `start` to `end` over the first `steps` outer steps; the constant `end` for 0.

        >>> str(Schedule.line(0.3, 0.0, 200)), str(Schedule.line(0.3, 0.1, 0))
        ('0:0.3, 200:0', '0.1')
        """
        return Schedule(((0, start), (steps, end)) if steps else ((0, end),))

    @staticmethod
    def read(value: float | str) -> Schedule:
        """Build a schedule from a number or from its text form.

        Raises:
            ValueError: the text cannot be read.

        >>> Schedule.read(0.3) == Schedule.read("0.3") == Schedule(((0, 0.3),))
        True
        >>> Schedule.read("0:0.3, soon:0.1")
        Traceback (most recent call last):
        ValueError: '0:0.3, soon:0.1' is not a schedule: write a number, or values at outer steps, as in
        0:0.3, 200:0.1.
        """
        if not isinstance(value, str):
            return Schedule(((0, value),))
        try:
            if ":" not in value:
                return Schedule(((0, float(value)),))
            found = [KNOT.fullmatch(word) for word in value.split(",")]
            knots = tuple((int(knot[1]), float(knot[2])) for knot in found if knot)
        except ValueError:
            knots, found = (), [None]
        require(all(found), f"{value!r} is not a schedule: {EXAMPLE}.")
        return Schedule(knots)


def _short(value: float) -> str:
    """The shortest text that reads back as this number."""
    return repr(float(value)).removesuffix(".0")


Scheduled = float | Schedule
"""The type of a setting that may change during a run."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """A range of finite numbers, with which settings are checked.

    >>> Range(above=0, max=1).require("discount", 0.0)
    Traceback (most recent call last):
    ValueError: discount must be a finite number above 0 and at most 1, not 0.
    """

    min: float = -math.inf
    """The smallest number in the range."""
    above: float = -math.inf
    """A number that all in the range exceed."""
    max: float = math.inf
    """The largest number in the range."""

    def require(self, name: str, value: float) -> None:
        """Raise ValueError, naming the setting, unless a number is in the range.

        >>> Range(min=0, max=1).require("self_interest", 1.5)
        Traceback (most recent call last):
        ValueError: self_interest must be a finite number from 0 to 1, not 1.5.
        """
        bound = f"above {self.above:g}" if self.above > -math.inf else f"of {self.min:g} or more"
        if self.max < math.inf:
            low = f"above {self.above:g} and at most" if self.above > -math.inf else f"from {self.min:g} to"
            bound = f"{low} {self.max:g}"
        good = math.isfinite(value) and self.min <= value <= self.max and value > self.above
        require(good, f"{name} must be a finite number {bound}, not {value:g}.")

    def require_schedule(self, name: str, value: Scheduled) -> Scheduled:
        """Return a scheduled setting, as a number if it is constant.

        Raises:
            ValueError: a value of it is not in the range.

        >>> from bilevel.core import Schedule
        >>> Range(above=0).require_schedule("outer.learning_rate", Schedule(((0, 0.1), (9, 0.1))))
        0.1
        """
        if not isinstance(value, Schedule):
            self.require(name, value)
            return value
        for number in value.values:
            self.require(name, number)
        return value.values[0] if value.constant else value
