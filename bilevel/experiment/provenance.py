"""What numbers were made with: versions of packages, and the commit."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bilevel._version import __version__

PACKAGES = ("torch", "torchopt", "numpy", "scipy", "gymnasium", "pettingzoo")
OPTIONAL = ("scikit-learn",)
"""Recorded where they are installed."""
PROVENANCE = ("versions", "commit")


def provenance() -> dict[str, Any]:
    """The versions of what decides numbers, and the commit, in the words of config.json.

    >>> sorted(provenance())
    ['commit', 'versions']
    """
    versions = {"bilevel": __version__, "python": platform.python_version()}
    versions |= {name: version(name) for name in PACKAGES}
    for name in OPTIONAL:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"versions": versions, "commit": _commit()}


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
