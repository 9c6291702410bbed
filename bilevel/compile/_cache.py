"""The cache of compiled packages, in a folder of the user's alone.

Packages are machine code and run in this process: no folder or file is read that somebody else owns or may
write to, no link is followed, and only this cache's own files are deleted.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

VARIABLE = "BILEVEL_CACHE"
"""The environment variable that names another folder."""

TAG = "CACHEDIR.TAG"
"""Marks a folder as this cache (https://bford.info/cachedir/)."""
SIGNATURE = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Steps compiled by bilevel; to clear them: bilevel cache --clear\n"
)

BUILD = "build-"
"""Prefix of the name of a folder in which a package is being built."""
COMPILER = "compiler"
"""The name of the folder of the compiler's own files."""
NAMES = re.compile(r"[0-9a-f]{32}\.(so|pt2|json|choice)(\.[0-9]+\.part)?")
"""The names of this cache's own files."""


@dataclass(frozen=True)
class CachedPackage:
    path: Path
    size: int
    """Bytes of it and its description."""
    about: Mapping[str, Any]
    """Description: function, time, torch, seconds, operations."""


def folder() -> Path:
    """The folder of packages: `$BILEVEL_CACHE`, or the user's cache folder; OSError if there is neither."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    try:
        return Path(platformdirs.user_cache_dir("bilevel")) / "compiled"
    except RuntimeError as error:  # no HOME, and no entry among the system's users
        raise OSError(f"there is no home folder to keep packages in: name a folder in {VARIABLE}") from error


def ready() -> Path:
    """The folder, created if there is none; OSError unless it is this cache's and the user's alone."""
    path = folder()
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not any(path.iterdir()):
        _require_private(path)
        _write(path / TAG, SIGNATURE)
    require_own(path)
    return path


def require_own(path: Path) -> None:
    """Raise OSError unless a folder is this cache's and nobody but the user may write to it."""
    _require_private(path)
    tag = path / TAG
    if tag.is_symlink() or not tag.is_file() or tag.read_text(errors="replace") != SIGNATURE:
        raise OSError(
            f"{path} is not a cache of compiled packages (it has no {TAG} of this toolkit): let {VARIABLE} "
            "name an empty folder, or one that is not there yet"
        )


def find(key: str) -> Path | None:
    """The path of a package, or None; a damaged one is deleted. OSError unless it is the user's alone."""
    if not folder().exists():
        return None
    require_own(folder())
    path = package_path(key)
    if not os.path.lexists(path):
        return None
    _require_private(path, directory=False)
    if _read(about_path(path)).get("digest") != _digest(path):
        discard(key)
        return None
    return path


def discard(key: str) -> None:
    for path in (package_path(key), about_path(package_path(key))):
        path.unlink(missing_ok=True)


def keep(key: str, build: Callable[[Path], None], about: Mapping[str, Any]) -> None:
    """Build a package into the cache, with a description, as a whole or not at all.

    `key` is its name, 32 hexadecimal digits and the suffix so or pt2; `build` writes it to a path. The
    time of the build, its seconds and the package's digest are added to the description.
    """
    path, began = package_path(key), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix=BUILD, dir=ready(), ignore_cleanup_errors=True) as scratch:
        part = Path(scratch) / path.name
        build(part)
        part.chmod(0o600)
        built = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        seconds = round(time.perf_counter() - began, 1)
        text = json.dumps({**about, "seconds": seconds, "built": built, "digest": _digest(part)}, indent=1)
        _write(about_path(path), text)
        part.replace(path)


def packages() -> list[CachedPackage]:
    """List the packages, the oldest first; none if there is no folder. What is being built is not listed."""
    found = [
        CachedPackage(path, _size(path) + _size(about_path(path)), _read(about_path(path)))
        for path in folder().glob("*")
        if path.suffix in (".so", ".pt2") and NAMES.fullmatch(path.name)
    ]
    return sorted(found, key=lambda package: (package.about.get("built", ""), package.path.name))


def clear() -> list[CachedPackage]:
    """Delete every package, and return them, and the remains of interrupted builds; other files stay."""
    path = folder()
    if not path.exists():
        return []
    require_own(path)
    deleted = packages()
    for entry in list(path.iterdir()):
        if NAMES.fullmatch(entry.name) and (entry.is_symlink() or entry.is_file()):
            entry.unlink(missing_ok=True)
        elif _is_build(entry):
            shutil.rmtree(entry)
    return deleted


def package_path(key: str) -> Path:
    return folder() / key


def about_path(package: Path) -> Path:
    return package.with_suffix(".json")


def _write(path: Path, text: str) -> None:
    """Write a file, whole or not at all, that only the user may read or write."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    part.write_text(text)
    part.replace(path)


def _require_private(path: Path, *, directory: bool = True) -> None:
    """Raise OSError unless a folder or file is what it says, the user's own, and not writable by others."""
    found = path.stat() if directory else path.lstat()  # the user may name the folder by a link
    if not (stat.S_ISDIR if directory else stat.S_ISREG)(found.st_mode):
        raise OSError(f"{path} is not a {'folder' if directory else 'plain file'}")
    if not hasattr(os, "geteuid"):
        return  # on Windows a user's folder is the user's by its access list
    if found.st_uid != os.geteuid():
        raise OSError(
            f"{path} belongs to another user, who could put any program there: let {VARIABLE} name another "
            "folder"
        )
    if found.st_mode & 0o022:
        raise OSError(
            f"{path} can be written to by other users, who could put any program there: chmod go-w {path}"
        )


def _is_build(entry: Path) -> bool:
    """Recognize a folder that builds made."""
    named = entry.name == COMPILER or entry.name.startswith(BUILD)
    return named and entry.is_dir() and not entry.is_symlink()


def _read(path: Path) -> dict[str, Any]:
    """A small JSON file's content; empty if it is missing or damaged, since it can be written anew."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
