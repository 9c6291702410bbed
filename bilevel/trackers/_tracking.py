"""Tracking of a run by the trackers that its folder names."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bilevel import report
from bilevel.experiments import Run, RunFolder, interquartile_mean, parse_json, write_text
from bilevel.methods import Metrics
from bilevel.trackers._metrics import final_metrics, tracked_metrics
from bilevel.trackers._tracker import TRACKERS, Tracker, require_trackers
from games.core import require

MOST_POINTS = 1000
"""Maximum number of outer steps of a run that are tracked, evenly spaced."""


class TrackerWarning(UserWarning):
    """Warning that a tracker failed; the run goes on without it.

    >>> issubclass(TrackerWarning, UserWarning)
    True
    """


def request_tracking(folder: RunFolder, names: Sequence[str]) -> None:
    """Note in a run's folder which trackers it reports to, in addition to those noted already.

    Args:
        folder: the run's folder.
        names: names of trackers (`TRACKERS`).

    Raises:
        ValueError: a tracker is unknown (names the nearest), or its package is not installed (with the
            command that installs it).
        OSError: the file cannot be written.

    >>> from bilevel.experiments import create_run, default_config
    >>> request_tracking(create_run(default_config("chicken", "tos"), "run"), ["tensorboard"])
    """
    require_trackers(names)
    if names:
        _note(folder, dict.fromkeys(names) | _noted(folder))


@contextmanager
def tracking(folder: RunFolder) -> Iterator[Tracking]:
    """Track a run in a `with` block by the trackers noted in its folder; by none if none is noted.

    Raises:
        ValueError: the file of trackers is damaged, or names an unknown tracker, or one whose package is not
            installed.

    >>> from bilevel.experiments import configured, create_run, default_config, train
    >>> config = configured(default_config("chicken", "tos"), {"seeds": 2, "outer_steps": 2})
    >>> folder = create_run(config, "run")
    >>> request_tracking(folder, ["tensorboard"])
    >>> with tracking(folder) as tracked:
    ...     tracked.finish(train(folder, listener=tracked.log))
    >>> len(list(folder.path.glob("tensorboard/events.*")))
    1
    """
    names = tuple(_noted(folder))
    require_trackers(names)
    tracked = Tracking(folder, names)
    try:
        yield tracked
    finally:
        tracked.close()


class Tracking:
    """The trackers of one run. One that fails is left out from then on, with a `TrackerWarning`.

    >>> from bilevel.experiments import create_run, default_config
    >>> Tracking(create_run(default_config("chicken", "tos"), "run"), ()).close()
    """

    def __init__(self, folder: RunFolder, names: Sequence[str]) -> None:
        self._folder = folder
        self._config = folder.load_config()
        self._waiting = tuple(names)  # opened by the first step: a run that cannot begin leaves nothing
        self._open: dict[str, Tracker] = {}
        self._every = -(-self._config.outer_steps // MOST_POINTS)

    def log(self, done: int, metrics: Metrics) -> None:
        """Report the metrics after `done` outer steps; of long runs, 1000 outer steps are reported."""
        if not (self._waiting or self._open) or (done % self._every and done != self._config.outer_steps):
            return
        self._start()
        values = tracked_metrics(metrics, self._config.seed)
        self._each(lambda tracker: tracker.log(done, values))

    def finish(self, run: Run) -> None:
        """Report the final policies' measurements, as interquartile means, and the run's figures."""
        if not (self._waiting or self._open):
            return
        self._start()
        means = {
            name: float(interquartile_mean(values)) for name, values in run.final.items() if values.ndim == 1
        }
        summary = final_metrics(means) | {"final/seconds": run.seconds}
        figures = report.write_run_figures(self._folder, run)
        self._each(lambda tracker: tracker.finish(summary, figures))

    def close(self) -> None:
        """Close all trackers."""
        self._each(lambda tracker: tracker.close())
        self._open = {}

    def _start(self) -> None:
        """Open the trackers, and note their names of the run."""
        if not self._waiting:
            return
        keys = _noted(self._folder)
        for name in self._waiting:
            with self._guarded(name):
                self._open[name] = TRACKERS.find(name)(self._folder, self._config, keys.get(name))
        self._waiting = ()
        noted = keys | {name: tracker.key for name, tracker in self._open.items()}
        if noted != keys:
            with self._guarded("trackers.json"):
                _note(self._folder, noted)

    def _each(self, report_to: Callable[[Tracker], object]) -> None:
        for name, tracker in list(self._open.items()):
            with self._guarded(name):
                report_to(tracker)

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever a tracker raises, the run goes on
            failed = self._open.pop(name, None)
            if failed is not None:
                with contextlib.suppress(Exception):
                    failed.close()
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            warnings.warn(
                f"{name} failed, and {self._folder.path} goes on without it ({reason}).",
                TrackerWarning,
                stacklevel=2,
            )


def _noted(folder: RunFolder) -> dict[str, str | None]:
    """Read the trackers of a run: name -> the run's name there, None if it has none (yet)."""
    path = folder.trackers
    try:
        noted: Any = parse_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}. Delete it to train without trackers.") from error
    right = isinstance(noted, dict) and all(isinstance(key, str | None) for key in noted.values())
    require(right, f"{path} is damaged: it is no mapping of trackers. Delete it to train without trackers.")
    return dict(noted)


def _note(folder: RunFolder, noted: dict[str, str | None]) -> None:
    write_text(folder.trackers, json.dumps(noted, indent=2) + "\n")
