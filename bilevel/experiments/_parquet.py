"""Parquet copies of large metrics files, which load in a fraction of the time of CSV.

A copy belongs to a CSV file of one checksum; it is made again where the checksum has changed.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np

SMALLEST = 1 << 20
"""Bytes of a CSV file from which on a copy saves time."""
SUMS, SOURCE = b"bilevel.crc32", b"bilevel.sha256"
"""Entries of the copy's metadata: checksums of its columns, and that of the CSV file."""


def parquet_path(path: Path) -> Path:
    """Name the copy of a CSV file.

    >>> parquet_path(Path("run/metrics.csv")).as_posix()
    'run/metrics.parquet'
    """
    return path.with_suffix(".parquet")


def write_parquet(path: Path, metrics: Mapping[str, np.ndarray], digest: str) -> None:
    """Write the copy of a large CSV file, where pyarrow is installed.

    Args:
        path: the CSV file.
        metrics: its columns, name -> [outer step, seed]; arrays per seed, in other files, are left out.
        digest: its checksum.

    Raises:
        OSError: the copy cannot be written.
    """
    if path.stat().st_size < SMALLEST or find_spec("pyarrow") is None:
        return
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    columns = {name: np.ascontiguousarray(values) for name, values in metrics.items() if values.ndim == 2}
    sums = {name: zlib.crc32(values.data) for name, values in columns.items()}
    table = pa.table({name: values.reshape(-1) for name, values in columns.items()})
    table = table.replace_schema_metadata({SUMS: json.dumps(sums), SOURCE: digest})
    whole = parquet_path(path)
    part = whole.with_name(f"{whole.name}.{os.getpid()}.part")
    try:
        parquet.write_table(
            table,
            part,
            compression="lz4",
            use_dictionary=False,
            write_page_checksum=True,
            write_statistics=False,
        )
        part.replace(whole)
    finally:
        part.unlink(missing_ok=True)


def read_parquet(
    path: Path, digest: str, seeds: int, names: Iterable[str] | None = None
) -> dict[str, np.ndarray] | None:
    """Read columns from the copy of a CSV file.

    Args:
        path: the CSV file.
        digest: its checksum.
        seeds: number of seeds.
        names: names of columns, of which those that are missing are left out; None: all.

    Returns:
        Name -> [outer step, seed]; None if there is no copy of a file of this checksum, it is damaged, or
        pyarrow is not installed.
    """
    if not parquet_path(path).exists() or find_spec("pyarrow") is None:
        return None
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    try:
        with parquet.ParquetFile(parquet_path(path)) as file:
            metadata = file.schema_arrow.metadata or {}
            if metadata[SOURCE].decode() != digest:
                return None
            sums = json.loads(metadata[SUMS])
            columns = list(sums) if names is None else [name for name in names if name in sums]
            table = file.read(columns, use_threads=False)  # runs are read side by side
        found = {name: table[name].to_numpy() for name in columns}
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return None  # the CSV file has everything
    whole = all(zlib.crc32(values.data) == sums[name] for name, values in found.items())
    return {name: values.reshape(-1, seeds) for name, values in found.items()} if whole else None
