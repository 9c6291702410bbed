"""Records as the text of a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any


def csv_text(records: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Write a line for the columns' names, then one for each record; lines end in a line feed alone.

    Args:
        records: column -> value, the same columns in each; one or more, unless `columns` says which.
        columns: their order; None: that of the first record.

    Raises:
        ValueError: a record has a column that is not among them.

    >>> csv_text([{"method": "tos", "welfare": 8.5}, {"method": "a, b", "welfare": None}])
    'method,welfare\\ntos,8.5\\n"a, b",\\n'
    >>> csv_text([], ["method", "welfare"])
    'method,welfare\\n'
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]) if columns is None else columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()
