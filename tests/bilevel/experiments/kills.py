"""Processes that are killed at a chosen operation on files."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

KILLED = 137
WRITING = os.O_WRONLY | os.O_RDWR
CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate")


def killed(
    at: int, call: Callable[[], object], root: Path, *, kept: float = 1.0, counted: Path | None = None
) -> bool:
    """Whether a process that makes this call was killed before its operation `at`, or ended before that.

    Opening a file to write, renaming, making, removing, truncating and fsync count, below one folder, from
    0. Nothing of the process runs after the kill: no `finally`, no flush.

    Args:
        at: which operation; -1: none.
        call: what is done in the child.
        root: the folder.
        kept: which part of what was written since a file was opened is on the disk, where the kill comes
            before its fsync.
        counted: a file that the number of operations is written to, if the call ends well.
    """
    child = _fork()
    if child == 0:
        watch, code = _Watch(at, root, kept), 1
        watch.begin()
        try:
            call()
            code = 0
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
        except BaseException:  # noqa: BLE001 - the child ends here, and says what went wrong
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            if counted is not None:
                counted.write_text(str(watch.count))
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED), f"the call ended with {code}"
    return code == KILLED


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that the child does not need
        return os.fork()


class _Watch:
    """Counts operations below a folder, and ends the process at one of them."""

    def __init__(self, at: int, root: Path, kept: float) -> None:
        self.at, self.root, self.kept = at, os.path.realpath(root) + os.sep, kept
        self.count, self.sizes = 0, dict[str, int]()

    def begin(self) -> None:
        sync = os.fsync
        sys.addaudithook(self.hook)

        def watched(file: int) -> None:
            path = os.readlink(f"/proc/self/fd/{file}")
            if self.counts(path):
                if self.count == self.at:
                    before, now = self.sizes.get(path, 0), os.fstat(file).st_size
                    os.ftruncate(file, before + int(self.kept * (now - before)))
                self.tick()
            sync(file)

        os.fsync = watched

    def hook(self, event: str, words: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = words
            if isinstance(path, str | os.PathLike) and isinstance(flags, int) and flags & WRITING:
                place = os.path.realpath(path)
                if self.counts(place):
                    appending = flags & os.O_APPEND and os.path.exists(place)
                    self.sizes[place] = os.path.getsize(place) if appending else 0
                    self.tick()
        elif event in CHANGES and self.counts(os.path.abspath(str(words[0]))):
            self.tick()

    def counts(self, path: str) -> bool:
        return os.path.realpath(path).startswith(self.root)

    def tick(self) -> None:
        if self.count == self.at:
            os._exit(KILLED)
        self.count += 1
