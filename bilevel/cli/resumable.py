"""A command that can be interrupted and resumed: one sentence says how to go on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from bilevel.cli.stopped import FAILED, Stopped, unusable
from bilevel.experiment.folder import RunFolder, standing
from bilevel.experiment.run import RunInterrupted


@contextmanager
def resumable(advice: str, folder: RunFolder | None = None) -> Iterator[None]:
    """Turn an interruption, or a file that cannot be used, into `Stopped`.

    Args:
        advice: how to go on, a sentence.
        folder: of the one run that is under way; the sentence then says where it stands.
    """
    try:
        yield
    except (RunInterrupted, KeyboardInterrupt) as stop:
        number = stop.signal if isinstance(stop, RunInterrupted) else signal.SIGINT
        raise Stopped(_sentence("Stopped.", folder, advice), 128 + number) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Stopped(_sentence(unusable(error), folder, advice), FAILED) from error


def _sentence(event: str, folder: RunFolder | None, advice: str) -> str:
    return " ".join((event, advice) if folder is None else (event, standing(folder), advice))
