"""What every script takes from the command line, and how it writes its metrics: standard library only."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path


def arguments(description: str, *, episodes: int = 0, horizon: int = 0) -> argparse.Namespace:
    """Read the command line; the defaults are the presets of `bilevel train --method tos`.

    Args:
        description: of the script.
        episodes: by default, in a sample of each seed; 0: the game is not sampled.
        horizon: by default, of an episode.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--outer-steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0, help="of the random draws")
    parser.add_argument("--inner-steps", type=int, default=1, help="K")
    if episodes:
        parser.add_argument("--episodes", type=int, default=episodes, help="in a sample of each seed")
        parser.add_argument("--horizon", type=int, default=horizon, help="steps of an episode")
        parser.add_argument("--evaluation-episodes", type=int, default=1024, help="of the final policies")
    parser.add_argument("--out", type=Path, default=Path("metrics.csv"), help="the table that is written")
    return parser.parse_args()


COLUMNS = (
    "welfare",
    "return_0",
    "return_1",
    "cooperation",
    "given_away",
    *(f"share_{giver}_{receiver}" for giver in range(2) for receiver in range(2)),
)
"""Those of our metrics.csv, of two agents."""


class Table:
    """A CSV file with a row for each outer step and seed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(["outer_step", "seed", *COLUMNS])

    def add(self, outer_step: int, metrics: Mapping[str, Sequence[float]]) -> None:
        """Add the metrics of one outer step, a number for each seed."""
        for seed, row in enumerate(zip(*(metrics[name] for name in COLUMNS), strict=True)):
            self._writer.writerow([outer_step, seed, *row])

    def close(self) -> None:
        """Bring everything to the disk."""
        self._file.close()


def evaluation_path(out: Path) -> Path:
    """Where the final policies' evaluation goes: beside the metrics."""
    return out.with_name("evaluation.csv")
