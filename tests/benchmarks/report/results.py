"""What was measured, as it is kept on disk, and the questions that the report asks of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.experiments import EXPERIMENTS

Part = dict[str, Any]
"""Lists of rows of an experiment, of whole runs, of "growth", "update rules", "compiling" or "accuracy", and,
under "about", where and when they were measured."""


@dataclass
class Results:
    """All parts; each is measured, and replaced, as a whole."""

    parts: dict[str, Part] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read them; none if there is no file."""
        return cls(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else cls()

    def save(self, path: Path) -> None:
        """Write them."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.parts, indent=1) + "\n", encoding="utf-8")

    def rows(self, part: str, kind: str) -> list[Any]:
        """List the rows of one kind; none where nothing was measured."""
        found: list[Any] = self.parts.get(part, {}).get(kind, [])
        return found

    def seconds(self, experiment: str, size: int, steps: int, variant: str) -> float | None:
        """Give the median seconds of a variant, by its name."""
        for row in self._at(experiment, "times", size, steps):
            if row["variant"] == variant:
                return float(row["median"])
        return None

    def fastest(self, experiment: str, size: int, steps: int, library: str) -> float | None:
        """Give the median seconds of a library's fastest variant."""
        return min(
            (
                row["median"]
                for row in self._at(experiment, "times", size, steps)
                if row["library"] == library
            ),
            default=None,
        )

    def rate(self, experiment: str, size: int, steps: int, variant: str) -> float | None:
        """Give the agent steps per second of a variant that plays a game."""
        seconds = self.seconds(experiment, size, steps, variant)
        return None if seconds is None else size * steps * EXPERIMENTS[experiment].agents / seconds

    def memory(self, experiment: str, size: int, variant: str) -> dict[int, int]:
        """Give the bytes of a variant for each K."""
        rows = self.rows(experiment, "memory")
        return {
            row["steps"]: row["bytes"] for row in rows if (row["size"], row["variant"]) == (size, variant)
        }

    def worst_error(self, experiment: str, variant: str) -> float | None:
        """Give a variant's greatest error of the gradient, over all cases."""
        errors = [row["error"] for row in self.rows(experiment, "errors") if row["variant"] == variant]
        return max(errors, default=None)

    def _at(self, experiment: str, kind: str, size: int, steps: int) -> Iterator[dict[str, Any]]:
        return (row for row in self.rows(experiment, kind) if (row["size"], row["steps"]) == (size, steps))


def measured_experiments(results: Results) -> list[str]:
    """List the experiments that there are numbers of, in the order of the table of experiments."""
    return [name for name in EXPERIMENTS if results.rows(name, "times")]
