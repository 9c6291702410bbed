"""Work of a sweep: train one run in its folder, whatever process does it."""

from __future__ import annotations

import contextlib
import time
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from bilevel.experiments import FolderInUse, Listener, RunFolder, RunInterrupted, train, write_text
from bilevel.methods import Metrics
from bilevel.trackers import tracking

FAILURE = "failure.txt"
"""File of a run's folder: the message of the error that ended it."""
TRIAL = "optuna.json"
"""File of a run's folder: its trial, in an optuna search."""
PRUNED = "pruned.txt"
"""File of a run's folder: the message with which it was pruned."""
LOG = "log.txt"
"""File of a run's folder: what was written to standard error."""


PATIENCE, INTERVAL = 60.0, 0.5
"""Seconds in which another process may leave a run's folder, and between two attempts."""


class Status(StrEnum):
    """State of a run of a sweep.

    >>> [status.value for status in Status]
    ['waiting', 'finished', 'failed', 'pruned', 'interrupted']
    """

    WAITING = "waiting"
    FINISHED = "finished"
    FAILED = "failed"
    PRUNED = "pruned"
    INTERRUPTED = "interrupted"


class Pruned(Exception):  # noqa: N818 - not an error
    """Raised by a run's listener to end the run early, as others do better."""


class Outcome(NamedTuple):
    """Result of working on a run.

    >>> Outcome(Status.FAILED, "Welfare is not finite.").status.value
    'failed'
    """

    status: Status
    """Its state now."""
    message: str = ""
    """The error, in a sentence."""


def work_on(path: str) -> Outcome:
    """Train a run in its folder, from its last checkpoint, until it is finished or interrupted.

    Args:
        path: folder of the run.

    Returns:
        The outcome. A run that fails, as its numbers are no longer finite, has a file failure.txt.

    >>> from bilevel.experiments import configured, create_run, default_config
    >>> config = configured(default_config("chicken", "tos"), {"seeds": 3, "outer_steps": 2})
    >>> work_on(str(create_run(config, "run").path)).status.value
    'finished'
    """
    folder = RunFolder(Path(path))
    (folder.path / FAILURE).unlink(missing_ok=True)
    with (folder.path / LOG).open("a", encoding="utf-8") as log, contextlib.redirect_stderr(log):
        try:
            _train(folder)
        except Pruned as pruned:
            write_text(folder.path / PRUNED, f"{pruned}\n")
            return Outcome(Status.PRUNED, str(pruned))
        except RunInterrupted as stop:
            return Outcome(Status.INTERRUPTED, str(stop))
        except KeyboardInterrupt:
            return Outcome(Status.INTERRUPTED, "Stopped at once.")
        except (FloatingPointError, ValueError, OSError) as error:
            return _failed(folder, " ".join(str(error).split()))
        except Exception as error:  # noqa: BLE001 - a user's own game or method can raise anything
            return _failed(folder, f"{type(error).__name__}: {error}")
    return Outcome(Status.FINISHED)


def status_of(folder: RunFolder) -> Outcome:
    """Read the state of a run from the files of its folder.

    >>> status_of(RunFolder("new")).status.value
    'waiting'
    """
    if folder.finished:
        return Outcome(Status.FINISHED)
    for status, name in ((Status.FAILED, FAILURE), (Status.PRUNED, PRUNED)):
        if (folder.path / name).exists():
            return Outcome(status, (folder.path / name).read_text(encoding="utf-8").strip())
    return Outcome(Status.WAITING)


def _train(folder: RunFolder) -> None:
    """Train a run; a process of an earlier command may still be saving it."""
    for _ in range(round(PATIENCE / INTERVAL)):
        with contextlib.suppress(FolderInUse):
            _track(folder)
            return
        time.sleep(INTERVAL)
    _track(folder)


def _track(folder: RunFolder) -> None:
    """Train a run, report it to its trackers, and prune it if it is of an optuna search."""
    prune = _pruning(folder)
    with tracking(folder) as tracked:

        def listen(done: int, metrics: Metrics) -> None:
            tracked.log(done, metrics)
            if prune is not None:
                prune(done, metrics)

        tracked.finish(train(folder, listener=listen))


def _pruning(folder: RunFolder) -> Listener | None:
    """Build the listener of a run that an optuna search may prune."""
    if not (folder.path / TRIAL).exists():
        return None
    from bilevel.sweeps._optuna import pruning  # noqa: PLC0415

    return pruning(folder)


def _failed(folder: RunFolder, message: str) -> Outcome:
    with contextlib.suppress(OSError):  # on a full disk, too, the outcome is told
        write_text(folder.path / FAILURE, f"{message}\n")
    return Outcome(Status.FAILED, message)
