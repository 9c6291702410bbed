"""What a task is: a real, small problem with several losses, and ways to set their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

Advance = Callable[[float], None]
"""Told, now and then, which part of a trial is done: from 0 to 1."""


@dataclass(frozen=True)
class Measure:
    """One number that a trial ends with."""

    name: str
    """As in tables, with its unit: "test accuracy (%)"."""
    text: str
    """What it measures, in a sentence."""
    better: str
    """"higher", "lower", or "neither"."""


@dataclass(frozen=True)
class Trial:
    """What came out of one training, with one way to set the weights and one seed."""

    measures: Mapping[str, float]
    """Of the trained model, by the names of the task's measures; NaN where one makes no sense."""
    courses: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """How numbers went on the way: the learned weights, a return; each beside its steps in `<name> at`."""
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Whatever else the figure needs, for instance the weight of each sample."""


class Task(Protocol):
    """A problem with several losses.

    A task knows its data, model, losses and validation objective; whatever is set from outside is in its
    settings, a frozen dataclass with a docstring below each field. All randomness of a trial comes from its
    seed.
    """

    @property
    def summary(self) -> str:
        """What is learned from what, in one line."""

    @property
    def measures(self) -> Sequence[Measure]:
        """What trials are compared by; the first is what counts."""

    @property
    def weightings(self) -> Mapping[str, str]:
        """The ways to set the weights, with a line on each; others are compared with the first."""

    @property
    def settings(self) -> type[Any]:
        """The frozen dataclass of settings; all have defaults; raises ValueError for what is out of range."""

    def run(self, settings: Any, weighting: str, seed: int, advance: Advance) -> Trial:
        """Train once and measure.

        Args:
            settings: an instance of the task's settings.
            weighting: one of the task's ways to set the weights.
            seed: where all randomness starts, a whole number from 0.
            advance: told which part is done.

        Raises:
            FloatingPointError: a loss became infinite or undefined.
        """

    def draw(self, trials: Mapping[str, Sequence[Trial]], path: Path) -> None:
        """Draw the task's figure from the trials of each way to set the weights, seed by seed."""
