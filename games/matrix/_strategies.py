"""Fixed memory-one strategies of repeated two-action games, by name; also those of the axelrod library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from games.core import require, require_name

AXELROD = "axelrod:"
"""Prefix of the names of strategies from the axelrod library."""


class MemoryOneStrategy(NamedTuple):
    """Probabilities of the first action (cooperation), by what an agent observes.

    >>> STRATEGIES["tit-for-tat"].after_cd
    0.0
    """

    start: float
    """In the first round."""
    after_cc: float
    """After both cooperated."""
    after_cd: float
    """After this agent cooperated, and the other defected."""
    after_dc: float
    """After this agent defected, and the other cooperated."""
    after_dd: float
    """After both defected."""


STRATEGIES: Mapping[str, MemoryOneStrategy] = {
    "always-cooperate": MemoryOneStrategy(1.0, 1.0, 1.0, 1.0, 1.0),
    "always-defect": MemoryOneStrategy(0.0, 0.0, 0.0, 0.0, 0.0),
    "tit-for-tat": MemoryOneStrategy(1.0, 1.0, 0.0, 1.0, 0.0),
    "suspicious-tit-for-tat": MemoryOneStrategy(0.0, 1.0, 0.0, 1.0, 0.0),
    "generous-tit-for-tat": MemoryOneStrategy(1.0, 1.0, 1 / 3, 1.0, 1 / 3),
    "win-stay-lose-shift": MemoryOneStrategy(1.0, 1.0, 0.0, 0.0, 1.0),
    "grim": MemoryOneStrategy(1.0, 1.0, 0.0, 0.0, 0.0),
    "extort-2": MemoryOneStrategy(1.0, 8 / 9, 1 / 2, 1 / 3, 0.0),
    "random": MemoryOneStrategy(0.5, 0.5, 0.5, 0.5, 0.5),
}
"""Strategies by name. extort-2 is the zero-determinant strategy for payoffs (3, 0, 5, 1) of Press and Dyson,
Iterated prisoner's dilemma contains strategies that dominate any evolutionary opponent, 2012; generous
tit-for-tat forgives with the probability 1/3, the largest that is stable at these payoffs."""


def memory_one_strategy(name: str) -> MemoryOneStrategy:
    """Find a strategy by its name.

    Args:
        name: one of `STRATEGIES`; or axelrod: and the name of a class of the axelrod library (an extra),
            such as axelrod:GTFT, if its choices depend on the last round alone.

    Raises:
        ValueError: there is no such strategy (names the nearest), or it remembers more than a round.
        ModuleNotFoundError: the axelrod library is not installed (says how to install it).

    Source:
        Knight et al., An open framework for the reproducible study of the iterated prisoner's dilemma,
        J. Open Research Software 4, 2016, for the axelrod library.

    >>> memory_one_strategy("win-stay-lose-shift")
    MemoryOneStrategy(start=1.0, after_cc=1.0, after_cd=0.0, after_dc=0.0, after_dd=1.0)
    """
    if not name.startswith(AXELROD):
        require_name(name, STRATEGIES, "strategy")
        return STRATEGIES[name]
    try:
        import axelrod  # noqa: PLC0415  # an extra, slow to import
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{name} needs the axelrod library: pip install 'bilevel[axelrod]'"
        ) from None
    library: Any = axelrod
    classes = {kind.__name__: kind for kind in library.strategies}
    require_name(name.removeprefix(AXELROD), classes, "strategy of axelrod")
    return _read_player(library, name, classes[name.removeprefix(AXELROD)]())


def _read_player(library: Any, name: str, player: Any) -> MemoryOneStrategy:
    """Probabilities of a player of axelrod: its own, or its replies where it does not draw."""
    cooperate, defect = library.Action.C, library.Action.D
    vector = getattr(player, "_four_vector", None)
    if vector is not None:
        first = player._initial if hasattr(player, "_initial") else cooperate
        start = 1.0 if first == cooperate else 0.0
        pairs = ((cooperate, cooperate), (cooperate, defect), (defect, cooperate), (defect, defect))
        return MemoryOneStrategy(start, *(float(vector[pair]) for pair in pairs))
    depth = library.Classifiers["memory_depth"](player)
    require(
        depth <= 1 and not library.Classifiers["stochastic"](player),
        f"{name} remembers more than the last round, or draws without stating its probabilities, and only "
        "memory-one strategies can be played here: choose another, such as axelrod:GTFT.",
    )

    def reply(*rounds: tuple[Any, Any]) -> float:
        me, other = player.clone(), library.Cooperator()
        for own, opposed in rounds:
            me.history.append(own, opposed)
            other.history.append(opposed, own)
        return 1.0 if me.strategy(other) == cooperate else 0.0

    return MemoryOneStrategy(
        reply(),
        reply((cooperate, cooperate)),
        reply((cooperate, defect)),
        reply((defect, cooperate)),
        reply((defect, defect)),
    )
