"""Contract and registry of tasks: small real problems with several losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from games.core import Registry

Progress = Callable[[float], None]
"""Callback that takes the fraction of a trial that is done, from 0 to 1."""


@dataclass(frozen=True)
class Measure:
    """A scalar result of a trial.

    >>> Measure("test accuracy (%)", "on held-out images.", "higher").better
    'higher'
    """

    name: str
    """Name in tables, with its unit: "test accuracy (%)"."""
    text: str
    """One sentence that explains it."""
    better: str
    """"higher", "lower", or "neither"."""


@dataclass(frozen=True)
class Trial:
    """The result of one training, with one weighting and one seed.

    >>> trial = Trial({"test accuracy (%)": 91.5}, {"loss": [2.3, 0.4], "loss at": [0, 600]})
    >>> trial.measures["test accuracy (%)"], trial.curves["loss"][-1]
    (91.5, 0.4)
    """

    measures: Mapping[str, float]
    """Values of the task's measures, by name; NaN where undefined."""
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Numbers over training, such as learned weights; the steps of each are in `<name> at`."""
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Further data for the figure, such as the weight of each sample."""
    seconds: float = 0.0
    """Duration in seconds, measured by `run_study`; of seeds in one batch, each one's share."""


class Task(Protocol):
    """A problem with several losses: data, model, losses and validation objective.

    All randomness of a trial comes from its seed.

    >>> from dataclasses import make_dataclass
    >>> from bilevel.tasks import Measure, Trial
    >>> class Coin:
    ...     summary = "a coin that is tossed"
    ...     measures = (Measure("heads (%)", "of all tosses.", "neither"),)
    ...     weightings = {"fair": "heads and tails alike", "loaded": "heads only"}
    ...     settings = make_dataclass("CoinSettings", [("tosses", int, 100)], frozen=True)
    ...     def run(self, settings, weighting, seed, progress):
    ...         draws = np.random.default_rng(seed).random(settings.tosses)
    ...         heads = draws < {"fair": 0.5, "loaded": 1.0}[weighting]
    ...         return Trial({"heads (%)": 100 * heads.mean()})
    ...     def draw(self, trials, path):
    ...         path.touch()
    >>> task: Task = Coin()
    >>> task.run(task.settings(), "loaded", seed=0, progress=print).measures
    {'heads (%)': np.float64(100.0)}
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
        """Frozen dataclass of settings with defaults and a docstring for each; refuses bad values.

        If it has `steps`, an integer, that is the number of training steps of a trial; the command line shows
        the steps per second.
        """

    def run(self, settings: Any, weighting: str, seed: int, progress: Progress) -> Trial:
        """Train once and measure.

        Args:
            settings: an instance of the task's settings.
            weighting: one of the task's weightings.
            seed: determines all randomness; a nonnegative integer.
            progress: called with the finished fraction.

        Raises:
            FloatingPointError: a loss became infinite or undefined.
        """

    def draw(self, trials: Mapping[str, Sequence[Trial]], path: Path) -> None:
        """Draw the task's figure from the trials of each weighting, seed by seed."""


@runtime_checkable
class BatchTask(Task, Protocol):
    """A task that also trains with several seeds at once, which is faster; each trial is as if alone.

    >>> from bilevel.tasks import make_task
    >>> [isinstance(make_task(name), BatchTask) for name in ("noisy-digits", "two-color-grid")]
    [False, True]
    """

    def run_many(
        self, settings: Any, weighting: str, seeds: Sequence[int], progress: Progress
    ) -> Sequence[Trial]:
        """Train once with each seed, in one batch, and measure; see `Task.run`."""


TASKS: Registry[Any] = Registry(
    "task",
    {
        "noisy-digits": "bilevel.tasks:NoisyDigits",
        "actor-critic": "bilevel.tasks.self_tuning:ActorCriticTask",
        "auxiliary-digits": "bilevel.tasks._auxiliary_digits:AuxiliaryDigits",
        "mixture-of-experts": "bilevel.tasks.mixture_of_experts:MixtureOfExperts",
        "two-color-grid": "bilevel.tasks.self_tuning:TwoColorGrid",
        "vision-language-action": "bilevel.tasks.vision_language_action:VisionLanguageAction",
        "world-model": "bilevel.tasks.world_model:WorldModelTask",
    },
)
"""Name -> task, or its class, called without arguments."""
PACKAGES = {
    "entmax": "entmax",
    "sklearn": "scikit-learn",
    "gymnasium": "gymnasium",
    "minigrid": "minigrid",
    "pygame": "pygame-ce",
    "tensorboard": "tensorboard",
}
"""Modules of the extra `tasks` -> their packages."""


class MissingPackage(ValueError):  # noqa: N818 - a sentence for the user, as every ValueError here
    """Raised if a task needs a package of the extra `tasks` that is not installed.

    >>> from bilevel.tasks import make_task, register_task
    >>> class Racing:
    ...     def __init__(self):
    ...         raise ModuleNotFoundError(name="pygame")  # as `import pygame` where it is not installed
    >>> register_task("racing", Racing)
    >>> make_task("racing")
    Traceback (most recent call last):
    bilevel.tasks...MissingPackage: The task racing needs pygame-ce: pip install 'bilevel[tasks]'
    """


@contextmanager
def requiring_extra(name: str) -> Iterator[None]:
    """Turn the absence of an optional package of a task into a sentence that says how to install it."""
    try:
        yield
    except ModuleNotFoundError as missing:
        package = PACKAGES.get((missing.name or "").partition(".")[0])
        if package is None:
            raise
        raise MissingPackage(f"The task {name} needs {package}: pip install 'bilevel[tasks]'") from None


def make_task(name: str) -> Task:
    """Look up a task.

    Args:
        name: one of `TASKS`.

    Raises:
        ValueError: no such task (names the nearest), or a package of it is missing (says how to install it).

    >>> make_task("noisy-digit")
    Traceback (most recent call last):
    ValueError: There is no task 'noisy-digit'. Did you mean 'noisy-digits'...
    """
    with requiring_extra(name):
        entry = TASKS.find(name)
        task: Task = entry() if isinstance(entry, type) else entry
    return task


def register_task(name: str, task: Task | type[Task], *, replace: bool = False) -> None:
    """Register your own task, or its class, for the rest of the process.

    Args:
        name: for the command line; lower case, words joined by hyphens.
        task: keeps the contract of `Task`.
        replace: replace a task of this name.

    Raises:
        ValueError: the name is taken or malformed.

    >>> from bilevel.tasks import make_task
    >>> register_task("noisy-digits", make_task("noisy-digits"))
    Traceback (most recent call last):
    ValueError: The task 'noisy-digits' exists already: replace=True puts the new one in its place.
    """
    TASKS.register(name, task, replace=replace)
