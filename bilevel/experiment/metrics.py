"""metrics.csv: one row per outer step and seed, readable by pandas as it is."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

KEYS = ("outer_step", "seed")


class MetricsFile:
    """Rows wait in memory until `flush`, which a checkpoint follows; `cut` goes back to a checkpoint.

    Args:
        path: the file; created by the first `flush`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = io.StringIO()
        self._writer = csv.writer(self._rows, lineterminator="\n")
        self._columns: list[str] | None = None

    def add(self, outer_step: int, metrics: Mapping[str, Tensor]) -> None:
        """Add one row per seed: metrics of one outer step, each float [seed]."""
        if self._columns is None:
            self._columns = [*KEYS, *metrics]
            if not self.path.exists() or not self.path.stat().st_size:
                self._writer.writerow(self._columns)
        columns = [values.tolist() for values in metrics.values()]
        for seed, row in enumerate(zip(*columns, strict=True)):
            self._writer.writerow((outer_step, seed, *row))

    def flush(self) -> int:
        """Bring all rows to the disk; returns how many bytes the file has now."""
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
        if found < size:
            raise ValueError(
                f"{self.path} has {found} bytes, but its checkpoint was made when it had {size}."
            )
        with self.path.open("ab") as file:
            file.truncate(size)


def read_metrics(path: Path) -> dict[str, np.ndarray]:
    """Read metrics.csv into arrays [outer step, seed], one per column; the keys themselves are left out.

    Raises:
        ValueError: the file is missing or empty, or its rows do not form a full table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        table = np.array(rows, dtype=np.float64)
        seeds = int(table[:, header.index("seed")].max()) + 1
        return {
            name: table[:, column].reshape(-1, seeds)
            for column, name in enumerate(header)
            if name not in KEYS
        }
    except (FileNotFoundError, ValueError, IndexError) as error:
        raise ValueError(f"{path} is not a whole table of metrics: {error}.") from error
