"""Contract of trackers, and their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from bilevel.experiments import RunConfig, RunFolder
from games.core import Registry, require


class Tracker(Protocol):
    """A place that a run reports to, while it trains.

    >>> class Printed:
    ...     key = None
    ...     def log(self, step, metrics):
    ...         print(step, round(metrics["charts/welfare"], 2))
    ...     def finish(self, summary, figures):
    ...         print([path.name for path in figures])
    ...     def close(self):
    ...         pass
    >>> register_tracker("printed", lambda folder, config, key: Printed())
    >>> from bilevel.experiments import create_run, configured, default_config, train
    >>> from bilevel.trackers import request_tracking, tracking
    >>> config = configured(default_config("chicken", "tos"), {"seeds": 2, "outer_steps": 1})
    >>> folder = create_run(config, "run")
    >>> request_tracking(folder, ["printed"])
    >>> with tracking(folder) as tracked:
    ...     tracked.finish(train(folder, listener=tracked.log))
    1 -0.94
    ['welfare.png', 'sharing.png', 'cooperation.png']
    """

    key: str | None
    """Name of the run at the tracker, with which a resumed run goes on there; None: none is needed."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Report metrics after `step` outer steps."""

    def finish(self, summary: Mapping[str, float], figures: Sequence[Path]) -> None:
        """Report the measurements of the final policies, and figures, PNG files."""

    def close(self) -> None:
        """Write what is buffered; called at the end, also after an error or an interruption."""


Opener = Callable[[RunFolder, RunConfig, str | None], Tracker]
"""Opens a tracker: folder and configuration of the run, and the `key` of an earlier part of a resumed run."""

TRACKERS: Registry[Opener] = Registry(
    "tracker",
    {
        "tensorboard": "bilevel.trackers._tensorboard:TensorBoard",
        "wandb": "bilevel.trackers._wandb:WeightsAndBiases",
        "mlflow": "bilevel.trackers._mlflow:MLflow",
    },
)
"""Name -> what opens a tracker."""
PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
"""Name of a tracker -> its package."""


def register_tracker(name: str, opener: Opener) -> None:
    """Register a tracker under a name for `--track`.

    Raises:
        ValueError: the name is taken, or is not hyphenated lower case.

    >>> register_tracker("wandb", lambda folder, config, key: None)
    Traceback (most recent call last):
    ValueError: The tracker 'wandb' exists already: replace=True puts the new one in its place.
    """
    TRACKERS.register(name, opener)


def require_trackers(names: Sequence[str]) -> None:
    """Require trackers to exist, and their packages to be installed.

    Raises:
        ValueError: there is no such tracker (names the nearest), or it needs a package (with the command).

    >>> require_trackers(["wanddb"])
    Traceback (most recent call last):
    ValueError: There is no tracker 'wanddb'. Did you mean 'wandb'? ...
    """
    for name in names:
        TRACKERS.require(name)
        package = PACKAGES.get(name)
        require(
            package is None or find_spec(package) is not None,
            f"The tracker {name} needs a package: pip install 'bilevel[trackers]', or pip install {package}",
        )
