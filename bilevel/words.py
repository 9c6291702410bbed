"""How numbers of things read."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """A number and what it counts, in the plural unless it is 1.

    Args:
        count: how many.
        noun: in the singular, one whose plural ends in s.

    >>> [counted(count, "inner step") for count in (0, 1, 2)]
    ['0 inner steps', '1 inner step', '2 inner steps']
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"
