"""The folder of compiled packages: what lies there, how large it is, how to clear it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

VARIABLE = "BILEVEL_CACHE"
"""The environment variable that names another folder."""


PART = ".part"
"""Marks a file that is being written."""


@dataclass(frozen=True)
class CachedPackage:
    """A package on disk."""

    path: Path
    """Where it lies."""
    size: int
    """Bytes of it and its description."""
    about: Mapping[str, Any]
    """What was written down when it was built: what, when, for which torch, seconds, operations."""


def folder() -> Path:
    """The folder of packages: `$BILEVEL_CACHE`, or the user's cache folder on this system."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else Path(platformdirs.user_cache_dir("bilevel")) / "packages"


def packages() -> list[CachedPackage]:
    """List the packages, the oldest first; none if there is no folder. What is being built is not listed."""
    found = [
        CachedPackage(path, path.stat().st_size + _size(about_path(path)), _read(about_path(path)))
        for path in folder().glob("*.pt2")
        if PART not in path.suffixes
    ]
    return sorted(found, key=lambda package: (package.about.get("built", ""), package.path.name))


def clear() -> list[CachedPackage]:
    """Delete every package, what points at them, and what an interrupted build left.

    Returns:
        what was deleted.

    Raises:
        OSError: a file cannot be deleted.
    """
    deleted = packages()
    for pattern in ("*.pt2", "*.json", "index/*.json"):
        for path in folder().glob(pattern):
            path.unlink(missing_ok=True)
    return deleted


def package_path(key: str) -> Path:
    """Where the package of this key lies."""
    return folder() / f"{key}.pt2"


def about_path(package: Path) -> Path:
    """Where a package's description lies."""
    return package.with_suffix(".json")


def part_path(path: Path) -> Path:
    """Where this process writes a file before it takes its place."""
    return path.with_name(f"{path.stem}.{os.getpid()}{PART}{path.suffix}")


def remember(fingerprint: str, key: str, shapes: Sequence[Sequence[int]]) -> None:
    """Write down which package a fingerprint leads to, once it was found right.

    Args:
        fingerprint: of the function and the form of its inputs.
        key: of the package.
        shapes: of its results, -1 for the number of members.
    """
    content = {"package": key, "shapes": [list(shape) for shape in shapes]}
    write_whole(_index_path(fingerprint), json.dumps(content))


def recall(fingerprint: str) -> tuple[str, list[list[int]]] | None:
    """Give the key of a fingerprint's package and its results' shapes, if it is known and lies there."""
    content = _read(_index_path(fingerprint))
    key, shapes = content.get("package"), content.get("shapes")
    if not isinstance(key, str) or not isinstance(shapes, list) or not package_path(key).exists():
        return None
    return key, shapes


def remember_choice(fingerprint: str, choice: bool) -> None:
    """Write down what a measurement decided."""
    write_whole(_index_path(fingerprint), json.dumps({"choice": choice}))


def recall_choice(fingerprint: str) -> bool | None:
    """Give what a measurement decided; None if there was none."""
    choice = _read(_index_path(fingerprint)).get("choice")
    return choice if isinstance(choice, bool) else None


def about(key: str) -> Mapping[str, Any]:
    """Give what was written down when a package was built."""
    return _read(about_path(package_path(key)))


def write_whole(path: Path, text: str) -> None:
    """Write a file as a whole or not at all, in a folder that is the user's alone."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = part_path(path)
    part.write_text(text)
    part.replace(path)


def _index_path(fingerprint: str) -> Path:
    return folder() / "index" / f"{fingerprint}.json"


def _read(path: Path) -> dict[str, Any]:
    """A small JSON file's content; empty if it is missing or damaged, since it can be written anew."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
