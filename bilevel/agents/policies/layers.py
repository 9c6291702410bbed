"""What the networks of policies have in common."""

from __future__ import annotations

from bilevel.errors import require


def require_layers(whose: str, hidden: tuple[int, ...]) -> None:
    """Raise ValueError unless there is a hidden layer, and each has units.

    >>> require_layers("An MLP's", ())
    Traceback (most recent call last):
    ValueError: An MLP's hidden layers need 1 unit or more each, but hidden is ().
    """
    require(
        bool(hidden) and min(hidden) > 0,
        f"{whose} hidden layers need 1 unit or more each, but hidden is {hidden}.",
    )
