"""The contract of tasks, real small problems with several losses, and their registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from games.core import Registry

Progress = Callable[[float], None]
"""Called now and then with the fraction of a trial that is done, from 0 to 1."""


@dataclass(frozen=True)
class Measure:
    """One number that a trial ends with."""

    name: str
    """As in tables, with its unit: "test accuracy (%)"."""
    text: str
    """A sentence on it."""
    better: str
    """"higher", "lower", or "neither"."""


@dataclass(frozen=True)
class Trial:
    """The result of one training, with one weighting and one seed."""

    measures: Mapping[str, float]
    """Of the trained model, by the names of the task's measures; NaN where one makes no sense."""
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Numbers over training: learned weights, a return; each beside its steps in `<name> at`."""
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Other data of the figure, for instance the weight of each sample."""
    seconds: float = 0.0
    """Duration; `run_study` measures it."""


class Task(Protocol):
    """A problem with several losses: data, model, losses and validation objective.

    What a user may set is in its settings, a frozen dataclass with a docstring below each field. All
    randomness of a trial comes from its seed.
    """

    @property
    def summary(self) -> str:
        """One line on the problem."""

    @property
    def measures(self) -> Sequence[Measure]:
        """Results of a trial; the first is the most important."""

    @property
    def weightings(self) -> Mapping[str, str]:
        """The weightings of the losses, with a line on each; others are compared with the first."""

    @property
    def settings(self) -> type[Any]:
        """The frozen dataclass of settings; all have defaults; raises ValueError for what is out of range."""

    def run(self, settings: Any, weighting: str, seed: int, progress: Progress) -> Trial:
        """Train once and measure.

        Args:
            settings: an instance of the task's settings.
            weighting: one of the task's weightings.
            seed: of all randomness, a whole number from 0.
            progress: called with the fraction that is done.

        Raises:
            FloatingPointError: a loss became infinite or undefined.
        """

    def draw(self, trials: Mapping[str, Sequence[Trial]], path: Path) -> None:
        """Draw the task's figure from the trials of each weighting, seed by seed."""


TASKS: Registry[Any] = Registry(
    "task",
    {
        "noisy-digits": "bilevel.tasks:NoisyDigits",
        "auxiliary-digits": "bilevel.tasks._auxiliary_digits:AuxiliaryDigits",
        "world-model": "bilevel.tasks.world_model:WorldModelTask",
    },
)
"""Name -> task, or its class, called without arguments."""
PACKAGES = {
    "sklearn": "scikit-learn",
    "gymnasium": "gymnasium",
    "pygame": "pygame-ce",
    "tensorboard": "tensorboard",
}
"""Modules of the extra `tasks` -> packages that they are in."""


class MissingPackage(ValueError):  # noqa: N818 - a sentence for the user, as every ValueError here
    """A task needs a package of the extra `tasks` that is not installed."""


@contextmanager
def requiring_extra(name: str) -> Iterator[None]:
    """Turn the absence of an optional package into one sentence that says how to get it.

    Args:
        name: of the task that needs it.

    >>> with requiring_extra("noisy-digits"):
    ...     raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn.datasets")
    Traceback (most recent call last):
    bilevel.tasks._task.MissingPackage: The task noisy-digits needs scikit-learn: pip install
    'bilevel[tasks]'
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        package = PACKAGES.get((missing.name or "").partition(".")[0])
        if package is None:
            raise
        raise MissingPackage(f"The task {name} needs {package}: pip install 'bilevel[tasks]'") from None


def make_task(name: str) -> Task:
    """Look a task up.

    Raises:
        ValueError: there is no such task (names the nearest), or a package that it needs is missing (says how
            to get it).

    >>> make_task("noisy-digit")
    Traceback (most recent call last):
    ValueError: There is no task 'noisy-digit'. Did you mean 'noisy-digits'...
    """
    with requiring_extra(name):
        found = TASKS.find(name)
        task: Task = found() if isinstance(found, type) else found
    return task


def register_task(name: str, task: Task | type[Task], *, replace: bool = False) -> None:
    """Add a task of one's own, for the rest of the process.

    Args:
        name: for the command line; lower case, words joined by hyphens.
        task: an object that keeps the contract of `Task`, or its class.
        replace: whether it may take the place of a task of this name.

    Raises:
        ValueError: the name is taken, or is no such name.

    >>> register_task("noisy-digits", make_task("noisy-digits"))
    Traceback (most recent call last):
    ValueError: The task 'noisy-digits' exists already: replace=True puts the new one in its place.
    """
    TASKS.register(name, task, replace=replace)
