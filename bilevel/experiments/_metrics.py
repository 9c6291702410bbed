"""Files of metrics: a CSV file of scalars, and a separate file for each metric that is an array.

metrics.csv has one row per outer step and seed. A metric with several numbers per seed, such as the sharing
matrix of many agents, is in metrics.NAME.array: one line of JSON with the dtype and the shape of one outer
step, [seed, ...], then the steps' arrays in C order.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bilevel.experiments._files import AppendedFile, FilePosition, parse_json
from games.core import require

KEYS = ("outer_step", "seed")
ENVIRONMENT_STEPS = "environment_steps"
"""Metric of training with episodes: environment steps of a seed until the end of an outer step."""
FORMAT = "bilevel-array/1"
NAME = re.compile(r"\w+", re.ASCII)
"""Form of the name of an array metric, which is part of a file name."""
MAX_IN_EVERY_STEP = 64 * 64
"""Maximum numbers per seed of a metric that is recorded in every outer step."""

Positions = Mapping[str, FilePosition]
"""File name -> position."""


class MetricsFile:
    """Buffered writer of metrics to a CSV file and array files; numbers are preserved bit-for-bit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._table = AppendedFile(path)
        self._arrays: dict[str, AppendedFile] = {}

    def add(self, outer_step: int, metrics: Mapping[str, Tensor]) -> None:
        """Add the metrics of one outer step, counted from 0, each float [seed, ...]."""
        numbers = {name: values for name, values in metrics.items() if values.dim() == 1}
        rows = [",".join((*KEYS, *numbers))] if self._table.empty else []
        columns = [values.tolist() for values in numbers.values()]
        rows += [
            f"{outer_step},{seed},{','.join(map(repr, row))}"
            for seed, row in enumerate(zip(*columns, strict=True))
        ]
        self._table.write("".join(f"{row}\n" for row in rows).encode())
        for name, values in metrics.items():
            if name not in numbers:
                self._add_array(name, values.cpu().numpy())

    @property
    def empty(self) -> bool:
        """True if no outer step was added yet."""
        return self._table.empty

    def last(self, name: str) -> Tensor | None:
        """Read a metric of the last outer step from the flushed file: [seed]; None if it is not recorded."""
        values = read_metrics(self.path).get(name)
        return None if values is None else torch.from_numpy(values[-1].copy())

    @property
    def positions(self) -> dict[str, FilePosition]:
        return {file.path.name: file.position for file in (self._table, *self._arrays.values())}

    def flush(self) -> None:
        """Write and sync all files; after an OSError `truncate_to` removes partial writes."""
        for file in (self._table, *self._arrays.values()):
            file.flush()

    def truncate_to(self, positions: Positions) -> None:
        """Truncate all files to the positions, or remove their content if there are none.

        Raises:
            ValueError: a file has other content up to its position (names it), or a position is of a file
                that is not one of metrics; then nothing is lost.
        """
        for name in positions:
            require(self._is_metrics_file(name), f"{name!r} is no file of metrics beside {self.path}.")
        self._table.truncate_to(positions.get(self.path.name))
        self._arrays = {}
        for name in sorted(positions.keys() - {self.path.name}):
            file = AppendedFile(self.path.with_name(name))
            file.truncate_to(positions[name])
            self._arrays[name.split(".")[1]] = file
        for path in self.path.parent.glob(f"{self.path.stem}.*.array"):
            if path.name not in positions and self._is_metrics_file(path.name):
                path.unlink()

    def _add_array(self, name: str, values: np.ndarray) -> None:
        if name not in self._arrays:
            require(
                NAME.fullmatch(name) is not None,
                f"A metric that is an array names a file, so call it by letters, digits and _, not {name!r}.",
            )
            self._arrays[name] = AppendedFile(array_path(self.path, name))
        file, data = self._arrays[name], values.astype(values.dtype.newbyteorder("<"), order="C")
        if file.empty:
            header = {"format": FORMAT, "dtype": data.dtype.str, "shape": data.shape}
            file.write(json.dumps(header).encode() + b"\n")
        file.write(data.tobytes())

    def _is_metrics_file(self, name: str) -> bool:
        return name == self.path.name or is_array(self.path, name)


def in_every_step(shape: Sequence[int]) -> bool:
    """True if a metric is recorded in every outer step, not only at the end.

    Args:
        shape: shape of the metric, [seed, ...]: up to 4096 numbers per seed are recorded.

    >>> in_every_step((32,)), in_every_step((32, 64, 64)), in_every_step((32, 65, 65))
    (True, True, False)
    """
    return math.prod(shape[1:]) <= MAX_IN_EVERY_STEP


def array_path(path: Path, name: str) -> Path:
    """Name the file of a metric that is an array, beside the CSV file of all others.

    Args:
        path: path of the CSV file.
        name: name of the metric.

    >>> from pathlib import Path
    >>> array_path(Path("run/metrics.csv"), "share").as_posix()
    'run/metrics.share.array'
    """
    return path.with_name(f"{path.stem}.{name}.array")


def is_array(path: Path, name: str) -> bool:
    """True if a file name is that of an array metric, for the path of the CSV file.

    >>> is_array(Path("run/metrics.csv"), "metrics.share.array"), is_array(Path("metrics.csv"), "../x.array")
    (True, False)
    """
    first, _, rest = name.partition(".")
    metric, _, ending = rest.partition(".")
    return first == path.stem and ending == "array" and NAME.fullmatch(metric) is not None


def read_array(path: Path) -> np.ndarray:
    """Memory-map metrics.NAME.array, [outer step, seed, ...]; ValueError if it is invalid."""
    try:
        with path.open("rb") as file:
            line = file.readline(1000)
            size = path.stat().st_size - len(line)
        header: dict[str, Any] = parse_json(line)
        dtype, shape = np.dtype(header["dtype"]), tuple(map(int, header["shape"]))
        step = dtype.itemsize * int(np.prod(shape))
        whole = (
            header["format"] == FORMAT and dtype.kind == "f" and step > 0 and size > 0 and size % step == 0
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not an array of metrics: {error}.") from error
    require(whole, f"{path} is not a whole array of metrics of the form {FORMAT}.")
    array: np.ndarray = np.memmap(path, dtype, "r", offset=len(line), shape=(size // step, *shape))
    return array


def read_metrics_so_far(path: Path) -> dict[str, np.ndarray]:
    """Read the whole outer steps of a CSV file that may be incomplete: metric -> [outer step, seed].

    Returns:
        The metrics; none if there is no whole step, or no file yet.

    >>> _ = Path("metrics.csv").write_text("outer_step,seed,welfare\\n0,0,1.5\\n0,1,2.5\\n1,0,3.5\\n1,")
    >>> read_metrics_so_far(Path("metrics.csv"))
    {'welfare': array([[1.5, 2.5]])}
    """
    try:
        text = path.read_text(encoding="utf-8")
        header, _, body = text[: text.rfind("\n") + 1].partition("\n")
        if not body:
            return {}
        table = np.loadtxt(io.StringIO(body), delimiter=",", ndmin=2)
    except (OSError, ValueError):
        return {}
    columns = header.split(",")
    if tuple(columns[:2]) != KEYS or table.shape[1:] != (len(columns),):
        return {}
    seeds = int(table[:, 1].max(initial=-1)) + 1
    steps = len(table) // seeds if seeds else 0
    whole = table[: steps * seeds]
    if not steps or not np.array_equal(whole[:, 1], np.tile(np.arange(seeds), steps)):
        return {}
    return {
        name: whole[:, column].reshape(steps, seeds) for column, name in enumerate(columns) if column >= 2
    }


def read_metrics(path: Path, arrays: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Read metrics from a CSV file, [outer step, seed], and from array files.

    Raises:
        ValueError: a file is missing or empty, or rows are missing or out of order.
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
    scalars = {
        name: table[:, column].reshape(-1, seeds) for column, name in enumerate(columns) if column >= 2
    }
    return scalars | {name.split(".")[1]: read_array(path.with_name(name)) for name in arrays}
