"""Atomic writes of files and folders, file locks, and append-only files with a running check sum."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from games.core import require

if sys.platform != "win32":
    import fcntl

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a full disk."""
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a temporary file, sync it to the disk, then move it into place.

    Temporary files of the same file that killed processes left are removed. After an OSError an earlier file
    is unchanged.
    """
    remove_leftovers(path)
    beside = _part(path)
    try:
        with beside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def require_regular(folder: Path) -> None:
    """Raise ValueError if a folder holds a pipe or a device, whose reading may never end."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            kind = path.stat().st_mode
        except OSError:  # a link that leads nowhere is refused when it is read
            continue
        require(
            stat.S_ISREG(kind) or stat.S_ISDIR(kind),
            f"{path} is a pipe or a device, not a file: nothing was read from it; remove it.",
        )


def parse_json(text: str | bytes) -> Any:
    """Parse JSON; ValueError if it is none, is not in UTF-8, or is nested too deeply.

    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
    ValueError: it is nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def write_text(path: Path, text: str) -> None:
    """`write_atomic` for UTF-8 text."""
    write_atomic(path, lambda file: file.write(text.encode()))


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files that killed processes left of a file."""
    for part in _leftovers(path):
        part.unlink(missing_ok=True)


def make_folder(path: Path, name: str, text: str) -> None:
    """Make a folder atomically with its first file, by name and text; an empty folder is used as it is.

    Raises:
        FileExistsError: something else is at this place (`can_make_folder`).
        OSError: the folder or the file cannot be made; nothing is left of them.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise _error(errno.ENOTDIR, path.parent) from None
    if not can_make_folder(path, name):
        raise _error(errno.EEXIST, path)
    if path.exists():
        write_text(path / name, text)
        return
    for part in _leftovers(path):
        _remove_folder(part, name)
    beside = _part(path)
    try:
        beside.mkdir()
        write_text(beside / name, text)
        beside.rename(path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another process was faster
            raise _error(errno.EEXIST, path) from None
        raise
    finally:
        _remove_folder(beside, name)


def can_make_folder(path: Path, name: str) -> bool:
    """Whether nothing is there, or a folder that is empty but for leftovers of its first file."""
    if not path.is_dir():
        return not path.exists() and not path.is_symlink()
    return set(path.iterdir()) <= set(_leftovers(path / name))


def _leftovers(path: Path) -> list[Path]:
    """Temporary versions of a file or folder that processes left which no longer run."""
    name = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.part", re.ASCII)
    found = [(place, name.fullmatch(place.name)) for place in path.parent.glob(".*.part")]
    return [place for place, fits in found if fits and not _running(int(fits[1]))]


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _running(process: int) -> bool:
    """Whether another process has this number; this one has no leftovers."""
    if process == os.getpid():
        return False
    if sys.platform == "win32":
        return True  # os.kill would end it
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _remove_folder(folder: Path, name: str) -> None:
    """Remove a folder with its first file and leftovers of that, unless it holds anything else."""
    if folder.is_dir():
        remove_leftovers(folder / name)
        (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


@contextmanager
def file_lock(path: Path) -> Iterator[bool]:
    """Lock an existing file for this process; False if another process has it locked.

    The lock is advisory (flock) and ends with the process, however that ends. Windows, and file systems
    without such locks, always give True.
    """
    acquired = True
    with path.open("r+b") as file:
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                acquired = False
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
        yield acquired


SPILL = 4_000_000
"""Most bytes that are buffered."""
REMEDY = (
    "put back a copy of it, or delete checkpoint.pt beside it, and the run starts again from its beginning."
)


class FilePosition(NamedTuple):
    """A position in a file, with the SHA-256 sum of all bytes before it."""

    size: int
    digest: str


class AppendedFile:
    """An append-only file with a running check sum; `truncate_to` goes back to an earlier position."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._buffer = bytearray()
        self._sum, self._size = hashlib.sha256(), 0

    @property
    def empty(self) -> bool:
        return not self._size and not self._buffer

    @property
    def position(self) -> FilePosition:
        return FilePosition(self._size, self._sum.hexdigest())

    def write(self, data: bytes) -> None:
        """Append to the buffer, which is written when it is large, or by `flush`."""
        self._buffer += data
        if len(self._buffer) >= SPILL:
            self._append(sync=False)

    def flush(self) -> None:
        """Write the buffer and sync it; after an OSError `truncate_to` removes what was written in part."""
        self._append(sync=True)

    def truncate_to(self, position: FilePosition | None) -> None:
        """Drop everything after a position, None for the beginning, and append from there.

        Raises:
            ValueError: the file is shorter, has other bytes up to there, or is a link; it is left as it is.
        """
        require(
            not self.path.is_symlink(),
            f"{self.path} is a link, and a run writes into no file that lies elsewhere: put the file here.",
        )
        self._buffer.clear()
        self._sum, self._size = hashlib.sha256(), 0
        size = position.size if position else 0
        found = self.path.stat().st_size if self.path.exists() else 0
        require(
            found >= size,
            f"{self.path} has {found} bytes, but its checkpoint was made when it had {size}: {REMEDY}",
        )
        if not found:
            return
        with self.path.open("rb") as file:
            while self._size < size and (data := file.read(min(size - self._size, SPILL))):
                self._sum.update(data)
                self._size += len(data)
        require(
            position is None or self._sum.hexdigest() == position.digest,
            f"{self.path} is damaged, its first {size} bytes are not those that the run wrote: {REMEDY}",
        )
        if found > size:
            os.truncate(self.path, size)

    def _append(self, *, sync: bool) -> None:
        with self.path.open("ab") as file:
            file.write(self._buffer)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        self._sum.update(self._buffer)
        self._size += len(self._buffer)
        self._buffer.clear()


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
