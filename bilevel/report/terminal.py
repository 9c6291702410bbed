"""How tables look in a terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table

WIDTH = 80
"""Sentences are folded to this many signs, and tables fit into them."""


def empty_table(title: str = "") -> Table:
    """A table without rows or columns yet, a rule under its head and no edges.

    Args:
        title: what stands above it; nothing if it is empty.
    """
    return Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
