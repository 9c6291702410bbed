"""Files that are written whole or not at all, and files that one process holds alone."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file beside its place, bring it to the disk, then move it into place.

    A reader, or a crash, or a full disk never sees half a file; what stood there before stays until then.

    Args:
        path: the file.
        write: writes the content to the open binary file it is given.

    Raises:
        OSError: the file cannot be written; what stood there before still does.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """`write_whole` for UTF-8 text."""
    write_whole(path, lambda file: file.write(text.encode()))


def remove_parts(folder: Path) -> None:
    """Remove what `write_whole` left beside its files when its process was killed."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Hold an existing file for one process alone; give False if another one has it.

    The claim is an advisory lock (flock) that ends with the process, however that ends: nothing is left to
    clean up after kill -9. Windows, and file systems without such locks, give everybody True.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     with claimed(Path(file.name)) as first, claimed(Path(file.name)) as second:
    ...         print(first, second)
    True False
    """
    with path.open("r+b") as file:
        yield _lock(file)


def _lock(file: BinaryIO) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True
