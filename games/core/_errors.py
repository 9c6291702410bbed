"""Errors of bad input: one sentence, raised early."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def require(condition: bool, sentence: str) -> None:
    """Raise ValueError with this sentence unless the condition holds.

    >>> require(2 < 1, "steps must be at least 1, not 0.")
    Traceback (most recent call last):
    ValueError: steps must be at least 1, not 0.
    """
    if not condition:
        raise ValueError(sentence)


def require_name(name: str, known: Iterable[str], kind: str) -> None:
    """Raise ValueError, suggesting the nearest names (ignoring case), unless `name` is known.

    >>> require_name("adm", ["adam", "sgd"], "optimizer")
    Traceback (most recent call last):
    ValueError: There is no optimizer 'adm'. Did you mean 'adam'? Known: adam, sgd.
    """
    names = list(known)
    if name in names:
        return
    folded = {each.lower(): each for each in reversed(names)}
    exact = folded.get(name.lower())
    close = difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.5)
    near = [exact] if exact else [folded[each] for each in close]
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ValueError(f"There is no {kind} {name!r}.{hint} Known: {', '.join(names)}.")


class CopyError(RuntimeError):
    """The code of a foreign environment failed; the message says in which copy."""
