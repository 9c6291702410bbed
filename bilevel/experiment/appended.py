"""Files that only grow, with a running check sum of all that was written."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from bilevel.errors import require

SPILL = 4_000_000
"""So many bytes wait in memory at most."""
CHUNK = 1_000_000
REMEDY = (
    "put back a copy of it, or delete checkpoint.pt beside it, and the run starts again from its beginning."
)


class Mark(NamedTuple):
    """How far a file was written."""

    size: int
    """Bytes."""
    digest: str
    """The SHA-256 sum of the first `size` bytes, in hexadecimal."""


class AppendedFile:
    """A file that is written at its end; `go_back` finds a mark again, and forgets what came after it.

    The check sum goes along, so that a mark costs nothing, however long the file is.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting = bytearray()
        self._sum, self._size = hashlib.sha256(), 0

    @property
    def empty(self) -> bool:
        """Whether nothing was written, nor waits to be."""
        return not self._size and not self._waiting

    @property
    def mark(self) -> Mark:
        """How far the file is written."""
        return Mark(self._size, self._sum.hexdigest())

    def write(self, data: bytes) -> None:
        """Add to the end; what was added is sure to be on the disk after `flush` only.

        Raises:
            OSError: it cannot be written.
        """
        self._waiting += data
        if len(self._waiting) >= SPILL:
            self._append(sync=False)

    def flush(self) -> None:
        """Bring everything to the disk.

        Raises:
            OSError: it cannot be written; a part may have been, which `go_back` takes away again.
        """
        self._append(sync=True)

    def go_back(self, mark: Mark | None) -> None:
        """Forget what was written after a mark, and go on from there; None: from the beginning.

        Raises:
            ValueError: the file is shorter than that, or has other bytes up to there, or it is a link: then
                it is left as it is.
        """
        require(
            not self.path.is_symlink(),
            f"{self.path} is a link, and a run writes into no file that lies elsewhere: put the file here.",
        )
        self._waiting.clear()
        self._sum, self._size = hashlib.sha256(), 0
        size = mark.size if mark else 0
        found = self.path.stat().st_size if self.path.exists() else 0
        require(
            found >= size,
            f"{self.path} has {found} bytes, but its checkpoint was made when it had {size}: {REMEDY}",
        )
        if not found:
            return
        self._sum, self._size = _sum(self.path, size), size
        require(
            mark is None or self._sum.hexdigest() == mark.digest,
            f"{self.path} is damaged, its first {size} bytes are not those that the run wrote: {REMEDY}",
        )
        if found > size:
            os.truncate(self.path, size)

    def _append(self, *, sync: bool) -> None:
        with self.path.open("ab") as file:
            file.write(self._waiting)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        self._sum.update(self._waiting)
        self._size += len(self._waiting)
        self._waiting.clear()


def digest_of(path: Path) -> str:
    """The SHA-256 sum of a file, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    return _sum(path, path.stat().st_size).hexdigest()


def _sum(path: Path, size: int) -> hashlib._Hash:
    """The check sum of the first bytes of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0:
            data = file.read(min(size, CHUNK))
            if not data:
                break
            found.update(data)
            size -= len(data)
    return found
