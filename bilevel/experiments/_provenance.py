"""Provenance of numbers: versions of packages, and the commit; the record of resumptions."""

from __future__ import annotations

import contextlib
import functools
import json
import platform
import subprocess
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bilevel import __version__
from bilevel.experiments._files import parse_json, write_text

PACKAGES = ("torch", "torchopt", "numpy", "scipy", "gymnasium", "pettingzoo")
OPTIONAL = ("scikit-learn",)
"""Recorded where they are installed."""
PROVENANCE = ("versions", "commit")
RESUMPTIONS = "resumptions.json"
"""In a folder that was taken up again: a record of each time, [{outer_step, versions, commit}, ...]."""


class ProvenanceWarning(UserWarning):
    """Work is resumed under other versions, or another commit, than it began with."""


def provenance() -> dict[str, Any]:
    """Versions of the packages that decide numbers, and the commit, as in config.json.

    >>> sorted(provenance())
    ['commit', 'versions']
    """
    return {"versions": dict(_installed()), "commit": _commit()}


def note_resumption(folder: Path, began: dict[str, Any], unit: str, done: int) -> None:
    """Record that work in a folder goes on; where versions or the commit changed since, warn in one line.

    Args:
        folder: where the record goes, `RESUMPTIONS`.
        began: what config.json or its like says: `PROVENANCE`, and more.
        unit: what is counted, as "outer_step".
        done: how many of them are done.

    Raises:
        ValueError: the record is damaged.
        OSError: it cannot be written.
    """
    before, now = resumptions(folder), provenance()
    if not done and not before and not _changes(began, now):
        return  # it begins
    changed = _changes([began, *before][-1], now)
    write_text(folder / RESUMPTIONS, json.dumps([*before, {unit: done, **now}], indent=2) + "\n")
    if changed:
        warnings.warn(
            f"{folder} goes on under other versions than before ({', '.join(changed)}): numbers may differ "
            f"from those of work that went on under the same; {RESUMPTIONS} there says from where on.",
            ProvenanceWarning,
            stacklevel=2,
        )


def resumptions(folder: Path) -> list[dict[str, Any]]:
    """Read the record of the times that work in a folder was taken up again, in order.

    Raises:
        ValueError: it is damaged.
    """
    path = folder / RESUMPTIONS
    try:
        found = parse_json(path.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged: delete it, and what it said is lost alone.") from error
    if not (isinstance(found, list) and all(isinstance(each, dict) for each in found)):
        raise ValueError(f"{path} is damaged: delete it, and what it said is lost alone.")
    return found


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The differences, in words."""
    then, here = ({**_versions(each), "commit": each.get("commit")} for each in (before, now))
    return [
        f"{name} {then.get(name)} then, {here.get(name)} now"
        for name in dict.fromkeys([*then, *here])
        if then.get(name) != here.get(name)
    ]


def _versions(record: dict[str, Any]) -> dict[str, Any]:
    found = record.get("versions")
    return found if isinstance(found, dict) else {}


@functools.cache
def _installed() -> dict[str, str]:
    versions = {"bilevel": __version__, "python": platform.python_version()}
    versions |= {name: version(name) for name in PACKAGES}
    for name in OPTIONAL:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


@functools.cache
def _commit() -> str | None:
    """The commit this code runs from, with -dirty if files differ; None where git does not keep this file."""
    here = Path(__file__).resolve()

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=here.parent, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # an installed copy may lie within another repository
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or None
    except (OSError, subprocess.SubprocessError):
        return None
