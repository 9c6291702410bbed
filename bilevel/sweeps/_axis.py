"""Values of a setting in a sweep: a list, or a range to draw from."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from games.core import require

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
RANGE = re.compile(rf"\s*({NUMBER})\s*\.\.\s*({NUMBER})\s*(?::\s*(\w+)\s*)?")
DIGITS = 3
"""Significant digits of drawn values."""
WORDS = {"true": True, "false": False, "none": None}


@dataclass(frozen=True)
class Choices:
    """A list of values.

    >>> Choices((0.01, 0.1)).draw(0.7)
    0.1
    """

    values: tuple[Any, ...]
    """The values, each different."""

    def __post_init__(self) -> None:
        require(len(self.values) > 0, "A setting needs a value, as in own-share=0.5,0.9.")
        texts = [repr(value) for value in self.values]
        for text in texts:
            require(texts.count(text) == 1, f"The value {text} is there twice.")

    def draw(self, uniform: float) -> Any:
        """Map a draw from [0, 1) to a value, all with equal probabilities."""
        return self.values[int(uniform * len(self.values))]


@dataclass(frozen=True)
class Between:
    """A range of numbers, for random search.

    >>> Between(0.01, 1.0, log=True).draw(0.5), Between(1, 8).draw(0.9)
    (0.1, 8)
    """

    low: float
    """Lower bound."""
    high: float
    """Upper bound; integer draws include it."""
    log: bool = False
    """Log-uniform instead of uniform."""

    def __post_init__(self) -> None:
        text = f"{self.low:g}..{self.high:g}"
        require(self.low < self.high, f"A range rises, and {text} does not.")
        require(self.low > 0 or not self.log, f"A log-uniform range is above 0, and {text} is not.")

    @property
    def whole(self) -> bool:
        """True if draws are integers, as both bounds are."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def draw(self, uniform: float) -> float:
        """Map a draw from [0, 1) to a number of three digits, or to an integer."""
        high = self.high + self.whole
        number = (
            self.low * (high / self.low) ** uniform if self.log else self.low + (high - self.low) * uniform
        )
        return min(int(number), int(self.high)) if self.whole else float(f"{number:.{DIGITS}g}")


Axis = Choices | Between
"""Values of a setting in a sweep."""


def read_axis(text: str) -> Axis:
    """Read the values of a setting from the command line.

    Args:
        text: values separated by commas, or by semicolons where values contain commas; or a range
            LOW..HIGH, with :log for a log-uniform one.

    Raises:
        ValueError: there is no value, one twice, or the range is empty.

    >>> read_axis("0.01,0.1"), read_axis("1e-3..1:log")
    (Choices(values=(0.01, 0.1)), Between(low=0.001, high=1, log=True))
    >>> read_axis("0:0.1,100:0;0.05").values
    ('0:0.1,100:0', 0.05)
    """
    found = RANGE.fullmatch(text)
    if found is not None:
        low, high, scale = found.groups()
        require(scale in (None, "log"), f"The scale of a range is :log or absent, not :{scale}.")
        return Between(read_literal(low), read_literal(high), log=scale is not None)
    words = text.split(";" if ";" in text else ",")
    require(all(word.strip() for word in words), f"A value is missing in {text!r}.")
    return Choices(tuple(read_literal(word) for word in words))


def axis_of(values: Any) -> Axis:
    """Build an axis from a list of values, a mapping with low, high and log, text, or an axis.

    Raises:
        ValueError: as `read_axis`, or the mapping has other entries.

    >>> axis_of([1, 2]), axis_of({"low": 0.1, "high": 1.0})
    (Choices(values=(1, 2)), Between(low=0.1, high=1.0, log=False))
    """
    if isinstance(values, Choices | Between):
        return values
    if isinstance(values, str):
        return read_axis(values)
    if isinstance(values, dict):
        known = {"low", "high", "log"}
        require(
            {"low", "high"} <= values.keys() <= known,
            f"A range is {{low = ..., high = ..., log = true}}, not {values}.",
        )
        return Between(**values)
    if isinstance(values, Sequence):
        return Choices(tuple(values))
    return Choices((values,))


def read_literal(text: str) -> Any:
    """Read a number, true, false or none; other text stays text.

    >>> [read_literal(text) for text in ("3", "0.5", "true", "none", "ppo")]
    [3, 0.5, True, None, 'ppo']
    """
    text = text.strip()
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text
