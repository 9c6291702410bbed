"""Two columns of text."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping


def print_rows(rows: Mapping[str, str]) -> None:
    """Print two columns, the second folded to the terminal; one line each where no terminal is."""
    margin = max(map(len, rows)) + 2
    for name, text in rows.items():
        line = f"{name:<{margin}}{text}"
        if sys.stdout.isatty():
            columns = max(shutil.get_terminal_size().columns, margin + 20)
            line = textwrap.fill(line, columns, subsequent_indent=" " * margin, break_on_hyphens=False)
        print(line)
