"""Errors of bad input: one sentence, raised early."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def require(condition: bool, sentence: str) -> None:
    """Raise ValueError unless a condition holds.

    Args:
        condition: requirement on an argument or a setting.
        sentence: text of the error: the fault and the remedy, in one sentence.
    Raises:
        ValueError: the condition does not hold.

    >>> require(2 < 1, "steps must be at least 1, not 0.")
    Traceback (most recent call last):
    ValueError: steps must be at least 1, not 0.
    """
    if not condition:
        raise ValueError(sentence)


def require_name(name: str, known: Iterable[str], kind: str, listed_by: str | None = None) -> None:
    """Raise ValueError, suggesting the nearest names, unless a name is known.

    Args:
        name: from user input.
        known: all names.
        kind: noun for the named things, in the singular.
        listed_by: command that lists the names, if they are too many for the message; None: list them there.
    Raises:
        ValueError: the name is unknown; upper and lower case differ.

    >>> require_name("adm", ["adam", "sgd"], "optimizer")
    Traceback (most recent call last):
    ValueError: There is no optimizer 'adm'. Did you mean 'adam'? Known: adam, sgd.
    >>> require_name("chickn", ["chicken", "jungle"], "game", listed_by="bilevel games")
    Traceback (most recent call last):
    ValueError: There is no game 'chickn'; did you mean 'chicken' (`bilevel games` lists all names)?
    """
    names = list(known)
    if name in names:
        return
    folded = {each.lower(): each for each in reversed(names)}
    text = str(name).lower()
    exact = folded.get(text)
    close = difflib.get_close_matches(text, folded, n=3, cutoff=0.5)
    near = " or ".join(map(repr, [exact] if exact else [folded[each] for each in close]))
    if listed_by is not None:
        where = f"`{listed_by}` lists all names"
        advice = f"did you mean {near} ({where})?" if near else f"{where}."
        raise ValueError(f"There is no {kind} {name!r}; {advice}")
    hint = f" Did you mean {near}?" if near else ""
    raise ValueError(f"There is no {kind} {name!r}.{hint} Known: {', '.join(names)}.")


class CopyError(RuntimeError):
    """Raised when a foreign environment's own code fails; the message names the copy.

    >>> import gymnasium
    >>> from games import from_gymnasium
    >>> class Broken(gymnasium.Env):
    ...     observation_space, action_space = gymnasium.spaces.Discrete(1), gymnasium.spaces.Discrete(99)
    ...     def reset(self, *, seed=None, options=None):
    ...         return 0, {}
    ...     def step(self, action):
    ...         return 0, 1 / (98 - action), False, False, {}
    >>> game, generator = from_gymnasium(Broken, horizon=5), torch.Generator()
    >>> state, rewards, done = game.step(game.reset(1, generator), torch.tensor([[98]]), generator)
    Traceback (most recent call last):
    games.core._errors.CopyError: ...
    """
