"""A command that ends before its end: one sentence, which says how to go on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from bilevel.experiment.folder import RunFolder, standing
from bilevel.experiment.run import RunInterrupted

FAILED = 1


class Stopped(Exception):  # noqa: N818 - most often the user's wish
    """The command ends here.

    Args:
        sentence: what the user is told.
        code: the process's exit code.
    """

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


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


def unusable(error: OSError) -> str:
    """Say in one sentence which file could not be used, and why.

    >>> import errno, os
    >>> unusable(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/a/metrics.csv"))
    'A file could not be used: runs/a/metrics.csv: No space left on device.'
    """
    place = f" {error.filename}:" if error.filename else ""
    return f"A file could not be used:{place} {error.strerror or error}."
