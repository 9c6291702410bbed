"""The table of variants in world-model.md: returns of studies in several folders, compared by seed.

python -m docs.studies.world_model_variants runs/world-model/base runs/world-model/categorical
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from bilevel.experiments import interquartile_interval, paired_difference_interval
from games.core import require

TABLE_HEAD = """\
| variant | seeds | return | minus the first | reconstruction error |
|---|---|---|---|---|"""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Returns of variants of the world model, and their differences from the first, paired by seed.

    Raises:
        ValueError: there are fewer than two folders, or one has no finished trials of the weighting on the
            seeds of the first.
    """

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Folders of bilevel tune world-model, the reference first."""
    weighting: str = "fixed"
    """The weighting to compare."""

    def __post_init__(self) -> None:
        require(len(self.folders) >= 2, "Name two folders or more, the reference first.")


def read_measure(folder: Path, weighting: str, measure: str) -> dict[int, float]:
    """Seed -> a measure of the trials of a weighting, from the folder's seeds.csv.

    Raises:
        ValueError: the folder has no seeds.csv, or no such trials.
    """
    path = folder / "seeds.csv"
    require(path.is_file(), f"{path} is missing: bilevel tune writes it when the last trial is finished.")
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["weighting"] == weighting]
    require(bool(rows), f"{folder} has no trials of the weighting {weighting}.")
    return {int(row["seed"]): float(row[measure]) for row in rows}


def table(study: Study) -> list[str]:
    """Lines of the Markdown table; intervals are those of `bilevel tune`."""
    lines, first = TABLE_HEAD.splitlines(), study.folders[0]
    reference = read_measure(first, study.weighting, "return")
    seeds = sorted(reference)
    for folder in study.folders:
        found = read_measure(folder, study.weighting, "return")
        require(sorted(found) == seeds, f"{folder} has the seeds {sorted(found)}, but {first} has {seeds}.")
        returns = np.array([found[seed] for seed in seeds])
        low, middle, high = _cells(interquartile_interval(returns))
        cells = [f"`{folder.name}`", str(len(seeds)), f"{middle:.0f} [{low:.0f}, {high:.0f}]", ""]
        if folder != first:
            before = np.array([reference[seed] for seed in seeds])
            low, middle, high = _cells(paired_difference_interval(returns, before))
            cells[-1] = f"{middle:+.0f} [{low:+.0f}, {high:+.0f}]"
        errors = read_measure(folder, study.weighting, "reconstruction")
        middle = _cells(interquartile_interval(np.array(list(errors.values()))))[1]
        lines.append(f"| {' | '.join(cells)} | {middle:.2f} |")
    return lines


def _cells(interval: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[float, float, float]:
    middle, low, high = map(float, interval)
    return low, middle, high


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    study = tyro.cli(Study, prog="python -m docs.studies.world_model_variants", args=arguments)
    try:
        print("\n".join(table(study)))
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
