"""How tables look in a terminal, and how numbers of things read."""

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


def counted(count: int, noun: str) -> str:
    """A number and what it counts, in the plural unless it is 1.

    Args:
        count: how many.
        noun: in the singular, one whose plural ends in s.

    >>> [counted(count, "inner step") for count in (0, 1, 2)]
    ['0 inner steps', '1 inner step', '2 inner steps']
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"
