"""Atomic writes of files and folders, file locks, and append-only files with a running checksum."""

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
    """Write a file whole or not at all: into a temporary file, synced to the disk, then moved into place.

    Temporary versions left behind by killed processes are removed.

    Args:
        path: path of the file.
        write: writes the content to the open binary file.

    Raises:
        OSError: the file cannot be written; the earlier one is unchanged.

    >>> from pathlib import Path
    >>> write_atomic(Path("result.bin"), lambda file: file.write(b"whole"))
    >>> Path("result.bin").read_bytes()
    b'whole'
    """
    remove_leftovers(path)
    temporary = _part(path)
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def require_regular(folder: Path) -> None:
    """Require a folder to have no pipes and no devices, reading which could block forever.

    Raises:
        ValueError: there is one (names it).

    >>> import os
    >>> from pathlib import Path
    >>> os.mkfifo("config.json")
    >>> require_regular(Path())
    Traceback (most recent call last):
    ValueError: config.json is a pipe or a device, not a file: nothing was read from it; remove it.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            kind = path.stat().st_mode
        except OSError:  # reading a broken link raises later
            continue
        require(
            stat.S_ISREG(kind) or stat.S_ISDIR(kind),
            f"{path} is a pipe or a device, not a file: nothing was read from it; remove it.",
        )


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: the text is invalid, not in UTF-8, or nested too deeply.

    >>> parse_json('{"seeds": 8}')
    {'seeds': 8}
    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
    ValueError: it is nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all, as `write_atomic`.

    >>> from pathlib import Path
    >>> write_text(Path("note.txt"), "12.5 €")
    >>> Path("note.txt").read_text(encoding="utf-8")
    '12.5 €'
    """
    write_atomic(path, lambda file: file.write(text.encode()))


def remove_leftovers(path: Path) -> None:
    """Remove temporary versions of a file left behind by killed processes."""
    for part in _leftovers(path):
        part.unlink(missing_ok=True)


def make_folder(path: Path, name: str, text: str) -> None:
    """Create a folder atomically with its first file, by name and text; an empty folder is reused.

    Raises:
        FileExistsError: something else exists at this path (`can_make_folder`).
        OSError: the folder or the file cannot be created; nothing is left behind.
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
    temporary = _part(path)
    try:
        temporary.mkdir()
        write_text(temporary / name, text)
        temporary.rename(path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another process was faster
            raise _error(errno.EEXIST, path) from None
        raise
    finally:
        _remove_folder(temporary, name)


def can_make_folder(path: Path, name: str) -> bool:
    """True if the path does not exist, or is a folder with nothing but leftovers of its first file."""
    if not path.is_dir():
        return not path.exists() and not path.is_symlink()
    return set(path.iterdir()) <= set(_leftovers(path / name))


def _leftovers(path: Path) -> list[Path]:
    """Temporary versions of a file or folder left behind by processes that no longer run."""
    name = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.part", re.ASCII)
    matches = [(part, name.fullmatch(part.name)) for part in path.parent.glob(".*.part")]
    return [part for part, match in matches if match and not _running(int(match[1]))]


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _running(process: int) -> bool:
    """True if another process has this id; the current one has no leftovers."""
    if process == os.getpid():
        return False
    if sys.platform == "win32":
        return True  # os.kill would terminate it
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _remove_folder(folder: Path, name: str) -> None:
    """Remove a folder with its first file and its leftovers, unless it has other content."""
    if folder.is_dir():
        remove_leftovers(folder / name)
        (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


@contextmanager
def file_lock(path: Path) -> Iterator[bool]:
    """Lock an existing file for this process; yields False if another process has locked it.

    The lock is advisory (flock) and released when the process ends, even if killed. Windows, and file
    systems without such locks, always yield True.
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
"""Maximum number of buffered bytes."""
REMEDY = (
    "put back a copy of it, or delete checkpoint.pt beside it, and the run starts again from its beginning."
)


class FilePosition(NamedTuple):
    """Position in a file, with the SHA-256 checksum of all bytes before it."""

    size: int
    digest: str


class AppendedFile:
    """Append-only file with a running checksum; `truncate_to` restores an earlier position."""

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
        """Append to the buffer, which is written when full, or by `flush`."""
        self._buffer += data
        if len(self._buffer) >= SPILL:
            self._append(sync=False)

    def flush(self) -> None:
        """Write the buffer and sync it; after an OSError `truncate_to` removes a partial write."""
        self._append(sync=True)

    def truncate_to(self, position: FilePosition | None) -> None:
        """Truncate the file to a position, None for the beginning, and append from there.

        Raises:
            ValueError: the file is shorter, has other bytes up to there, or is a link; it is unchanged.
        """
        require(
            not self.path.is_symlink(),
            f"{self.path} is a link, and a run writes into no file that lies elsewhere: put the file here.",
        )
        self._buffer.clear()
        self._sum, self._size = hashlib.sha256(), 0
        size = position.size if position else 0
        actual = self.path.stat().st_size if self.path.exists() else 0
        require(
            actual >= size,
            f"{self.path} has {actual} bytes, but its checkpoint was made when it had {size}: {REMEDY}",
        )
        if not actual:
            return
        with self.path.open("rb") as file:
            while self._size < size and (data := file.read(min(size - self._size, SPILL))):
                self._sum.update(data)
                self._size += len(data)
        require(
            position is None or self._sum.hexdigest() == position.digest,
            f"{self.path} is damaged, its first {size} bytes are not those that the run wrote: {REMEDY}",
        )
        if actual > size:
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
