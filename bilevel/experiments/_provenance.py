"""Provenance of results: package versions, the commit, and the record of resumptions."""

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
"""File of all resumptions of a folder's work, [{outer_step, versions, commit}, ...]."""


class ProvenanceWarning(UserWarning):
    """Work is resumed under other versions, or another commit, than it began with."""


def provenance() -> dict[str, Any]:
    """Versions of the packages that affect numbers, and the commit, as in config.json."""
    return {"versions": dict(_installed()), "commit": _commit()}


def note_resumption(folder: Path, began: dict[str, Any], unit: str, done: int) -> None:
    """Record that work in a folder is resumed, and warn if versions or the commit have changed.

    Args:
        folder: of the record.
        began: the provenance at the beginning, as in config.json.
        unit, done: of progress, as "outer_step" and 50.
    """
    before, now = resumptions(folder), provenance()
    changed = _changes([began, *before][-1], now)
    if not done and not before and not changed:
        return  # a new run
    write_text(folder / RESUMPTIONS, json.dumps([*before, {unit: done, **now}], indent=2) + "\n")
    if changed:
        warnings.warn(
            f"{folder} goes on under other versions than before ({', '.join(changed)}): numbers may differ "
            f"from those of work that went on under the same; {RESUMPTIONS} there says from where on.",
            ProvenanceWarning,
            stacklevel=2,
        )


def resumptions(folder: Path) -> list[dict[str, Any]]:
    """Read the record of the resumptions of a folder's work, in order; ValueError if it is damaged."""
    path = folder / RESUMPTIONS
    try:
        records = parse_json(path.read_bytes())
        if not (isinstance(records, list) and all(isinstance(each, dict) for each in records)):
            raise ValueError("it is not a list of records")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged: delete it, and what it said is lost alone.") from error
    return records


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """List the differences of two records, in words."""

    def flat(record: dict[str, Any]) -> dict[str, Any]:
        versions = record.get("versions")
        return {**(versions if isinstance(versions, dict) else {}), "commit": record.get("commit")}

    old, new = flat(before), flat(now)
    return [
        f"{name} {old.get(name)} then, {new.get(name)} now"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


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
    """Commit of this code, with -dirty if files differ; None if git does not track this file."""
    module = Path(__file__).resolve()

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=module.parent, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", module.name)  # an installed copy may lie within another repository
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or None
    except (OSError, subprocess.SubprocessError):
        return None
