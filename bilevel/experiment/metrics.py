"""metrics.csv: one row per outer step and seed, readable by pandas as it is."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from bilevel.errors import require

KEYS = ("outer_step", "seed")


class MetricsFile:
    """Rows wait in memory until `flush`, which a checkpoint follows; `cut` goes back to a checkpoint.

    Numbers are written so that they are read back to the same bits.

    Args:
        path: the file; created by the first `flush`, with one line that names the columns.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = io.StringIO()
        self._writer = csv.writer(self._rows, lineterminator="\n")
        self._columns: list[str] | None = None

    def add(self, outer_step: int, metrics: Mapping[str, Tensor]) -> None:
        """Add one row per seed: metrics of one outer step, counted from 0, each float [seed]."""
        if self._columns is None:
            self._columns = [*KEYS, *metrics]
            if not self.path.exists() or not self.path.stat().st_size:
                self._writer.writerow(self._columns)
        columns = [values.tolist() for values in metrics.values()]
        for seed, row in enumerate(zip(*columns, strict=True)):
            self._writer.writerow((outer_step, seed, *row))

    def flush(self) -> int:
        """Bring all rows to the disk; returns how many bytes the file has now.

        Raises:
            OSError: they cannot be written; some may have been, which `cut` takes away again.
        """
        with self.path.open("ab") as file:
            file.write(self._rows.getvalue().encode())
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        self._rows.seek(0)
        self._rows.truncate()
        return size

    def cut(self, size: int) -> None:
        """Forget what was written after the first `size` bytes.

        Raises:
            ValueError: the file is shorter than that, or is not there.
        """
        found = self.path.stat().st_size if self.path.exists() else 0
        require(
            found >= size, f"{self.path} has {found} bytes, but its checkpoint was made when it had {size}."
        )
        with self.path.open("ab") as file:
            file.truncate(size)


def read_metrics(path: Path) -> dict[str, np.ndarray]:
    """Read metrics.csv into arrays [outer step, seed], one per column; the keys themselves are left out.

    Raises:
        ValueError: the file is missing or empty, or its rows do not form a full table: every seed in every
            outer step, in order.
    """
    try:
        header, _, body = path.read_text(encoding="utf-8").partition("\n")
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a table of metrics: {error}.") from error
    columns = header.split(",")
    require(
        tuple(columns[:2]) == KEYS and len(columns) > 2 and body.endswith("\n"),
        f"{path} is not a whole table of metrics: it begins with {','.join(KEYS)} and ends with a whole row.",
    )
    try:
        table = np.loadtxt(io.StringIO(body), delimiter=",", ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path} is not a table of metrics: {error}.") from error
    steps, seeds = table[:, 0], int(table[-1, 1]) + 1
    full = (
        table.shape[1] == len(columns)
        and len(table) % seeds == 0
        and np.array_equal(table[:, 1], np.tile(np.arange(seeds), len(table) // seeds))
        and np.array_equal(steps, np.repeat(steps[0] + np.arange(len(table) // seeds), seeds))
    )
    require(full, f"{path} is not a whole table of metrics: it lacks rows or columns.")
    return {name: table[:, place].reshape(-1, seeds) for place, name in enumerate(columns) if place >= 2}
