"""Metrics on the disk: a CSV file of numbers, and beside it a file for each metric that is an array.

metrics.csv has one row per outer step and seed. A metric with more than one number per seed, as the sharing
matrix of many agents, goes to metrics.NAME.array: one line of JSON with the type and the shape of one outer
step, [seed, ...], then these arrays, one after the other, in C order.
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
from torch import Tensor

from bilevel.experiments._files import AppendedFile, FilePosition, parse_json
from games.core import require

KEYS = ("outer_step", "seed")
FORMAT = "bilevel-array/1"
NAME = re.compile(r"\w+", re.ASCII)
"""The name of a metric that is an array, which is part of a file's name."""
MAX_IN_EVERY_STEP = 64 * 64
"""Most numbers per seed of a metric that is recorded in every outer step."""

Positions = Mapping[str, FilePosition]
"""Name of a file -> its position."""


class MetricsFile:
    """A buffered writer of metrics to a CSV file and arrays beside it; numbers are read back bit-for-bit."""

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
    def positions(self) -> dict[str, FilePosition]:
        return {file.path.name: file.position for file in (self._table, *self._arrays.values())}

    def flush(self) -> None:
        """Write everything to the disk; after an OSError `truncate_to` removes what was written in part."""
        for file in (self._table, *self._arrays.values()):
            file.flush()

    def truncate_to(self, positions: Positions) -> None:
        """Drop everything after the positions, or all of it if there are none.

        Raises:
            ValueError: a file has other content up to its position (says which), or a position is of a file
                of another name; then nothing is lost.
        """
        for name in positions:
            require(self._ours(name), f"{name!r} is no file of metrics beside {self.path}.")
        self._table.truncate_to(positions.get(self.path.name))
        self._arrays = {}
        for name in sorted(positions.keys() - {self.path.name}):
            file = AppendedFile(self.path.with_name(name))
            file.truncate_to(positions[name])
            self._arrays[name.split(".")[1]] = file
        for path in self.path.parent.glob(f"{self.path.stem}.*.array"):
            if path.name not in positions and self._ours(path.name):
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

    def _ours(self, name: str) -> bool:
        return name == self.path.name or is_array(self.path, name)


def in_every_step(shape: Sequence[int]) -> bool:
    """Whether a metric, [seed, ...], is recorded in every outer step, not of the final policies alone.

    >>> in_every_step((32,)), in_every_step((32, 64, 64)), in_every_step((32, 65, 65))
    (True, True, False)
    """
    return math.prod(shape[1:]) <= MAX_IN_EVERY_STEP


def array_path(path: Path, name: str) -> Path:
    """The file of a metric that is an array, beside a CSV file."""
    return path.with_name(f"{path.stem}.{name}.array")


def is_array(path: Path, name: str) -> bool:
    """Whether a name is that of an array's file beside a CSV file.

    >>> is_array(Path("run/metrics.csv"), "metrics.share.array"), is_array(Path("metrics.csv"), "../x.array")
    (True, False)
    """
    first, _, rest = name.partition(".")
    metric, _, ending = rest.partition(".")
    return first == path.stem and ending == "array" and NAME.fullmatch(metric) is not None


def read_array(path: Path) -> np.ndarray:
    """Map metrics.NAME.array, [outer step, seed, ...], from the disk; ValueError if it is no such file."""
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
    found: np.ndarray = np.memmap(path, dtype, "r", offset=len(line), shape=(size // step, *shape))
    return found


def read_metrics(path: Path, arrays: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Read metrics from a CSV file, [outer step, seed], and from files of arrays beside it.

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
    found = {name: table[:, place].reshape(-1, seeds) for place, name in enumerate(columns) if place >= 2}
    return found | {name.split(".")[1]: read_array(path.with_name(name)) for name in arrays}
