"""summary.json, which says that a run is finished, and what its files then were."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bilevel.errors import require
from bilevel.experiment.appended import digest_of
from bilevel.experiment.files import parse_json, write_text

FORMAT = "bilevel-summary/1"
BEFORE = {"outer_steps", "seconds"}
"""All that versions without check sums wrote."""


class UncheckedWarning(UserWarning):
    """Files of a run were read that no check sum is kept of."""


def write_summary(path: Path, outer_steps: int, seconds: float, files: Mapping[str, str]) -> None:
    """Write the summary of a finished run, whole or not at all.

    Args:
        path: of the summary.
        outer_steps: how many were taken.
        seconds: spent in training.
        files: name -> SHA-256 sum of each file beside it.

    Raises:
        OSError: it cannot be written.
    """
    content = {"format": FORMAT, "outer_steps": outer_steps, "seconds": seconds, "files": dict(files)}
    write_text(path, json.dumps({**content, "sha256": _sum(content)}, indent=2) + "\n")


def read_summary(path: Path) -> tuple[float, dict[str, str]]:
    """Read a summary back.

    Returns:
        the seconds spent in training, and name -> check sum of the files beside it; of runs of versions that
        kept none, none, with an `UncheckedWarning`.

    Raises:
        ValueError: it is damaged, or no summary.
    """
    advice = f"delete it, and bilevel train --resume {path.parent} evaluates the run again"
    refusal = f"{path} is not the summary of a run, or it is damaged: {advice}."
    try:
        content: dict[str, Any] = parse_json(path.read_bytes())
        if set(content) == BEFORE:
            warnings.warn(f"{path} is of a version that kept no check sums.", UncheckedWarning, stacklevel=3)
            return float(content["seconds"]), {}
        whole = content.pop("sha256") == _sum(content) and content["format"] == FORMAT
        seconds, files = (
            float(content["seconds"]),
            {str(key): str(value) for key, value in content["files"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(refusal) from error
    require(whole, refusal)
    return seconds, files


def require_unharmed(path: Path, digest: str, advice: str) -> None:
    """Raise ValueError, with advice, unless a file is there and has this check sum."""
    try:
        found = digest_of(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): {advice}.") from error
    require(found == digest, f"{path} is damaged, or was changed after the run ended: {advice}.")


def _sum(content: Mapping[str, Any]) -> str:
    """The check sum of what a summary says, in one fixed form."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
