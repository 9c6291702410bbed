"""One run of a sweep, and the names of its folders."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bilevel.experiments import RunConfig, RunFolder, find_or_create

LONGEST_NAME = 100
"""Characters of a folder's name; a longer one ends in a checksum."""


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    >>> from bilevel.sweeps import Sweep
    >>> run, _ = Sweep(games=["chicken"], methods={"tos": "tos"}, axes={"own_share": [0.5, 0.9]}).runs
    >>> run.name, dict(run.values)
    ('chicken/tos/own_share=0.5', {'own_share': 0.5})
    """

    game: str
    """Name of the game."""
    label: str
    """Label of the method."""
    values: Mapping[str, Any]
    """Varied setting, without its label -> value."""
    place: str
    """Name of the folder of this combination of values."""
    config: RunConfig
    """The run."""
    part: str = ""
    """Name of the folder of these seeds, where seeds are split among runs."""

    @property
    def point(self) -> str:
        """Path of the combination of game, method and values within the sweep."""
        return f"{self.game}/{self.label}/{self.place}"

    @property
    def name(self) -> str:
        """Path of the run within the sweep."""
        return f"{self.point}/{self.part}" if self.part else self.point

    def folder(self, out: Path) -> RunFolder:
        """The run's folder within that of the sweep."""
        return RunFolder(out / self.name)

    def create(self, out: Path) -> RunFolder:
        """Find or create the run's folder; ValueError as `find_or_create`."""
        return find_or_create(self.folder(out).path, self.config)


def trial_name(trial: int) -> str:
    """Name the folder of a drawn combination of values.

    >>> trial_name(7)
    'trial-007'
    """
    return f"trial-{trial:03d}"


def place_of(values: Mapping[str, Any]) -> str:
    """Name the folder of a combination of values: short, and the same on every file system.

    >>> place_of({"outer.learning_rate": 0.1, "inner": "ppo"})
    'outer.learning_rate=0.1,inner=ppo'
    """
    name = ",".join(f"{setting}={_text(value)}" for setting, value in values.items())
    safe = re.sub(r"[^A-Za-z0-9._,=-]", "_", name)
    if safe == name and len(safe) <= LONGEST_NAME and safe == safe.lower():
        return safe
    return f"{safe[: LONGEST_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lower()


def _text(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
