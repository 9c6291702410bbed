"""One thing to be timed: a problem, its size, and under which conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Run = Callable[[], Any]
"""One hypergradient, from the same start every time; gives d(outer loss) / d(phi), an array."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A problem of one size."""

    problem: str
    """Name in `problems.named.PROBLEMS`."""
    size: int
    """What the problem counts: seeds, agents, or units of a hidden layer."""
    steps: int
    """K, the inner steps."""
    dtype: str = "float64"
    """Precision, as torch and NumPy call it."""
    threads: int = 1
    """How many cores every library may use."""
