"""A command that ends before its end: one sentence, which says how to go on."""

from __future__ import annotations

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


def unusable(error: OSError) -> str:
    """Say in one sentence which file could not be used, and why.

    >>> import errno, os
    >>> unusable(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/a/metrics.csv"))
    'A file could not be used: runs/a/metrics.csv: No space left on device.'
    """
    place = f" {error.filename}:" if error.filename else ""
    return f"A file could not be used:{place} {error.strerror or error}."
