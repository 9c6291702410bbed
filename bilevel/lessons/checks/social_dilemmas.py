"""Checks of `03_social_dilemmas`, and the strategies of its strangers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bilevel.lessons import close, expect, graded, parts

Four = tuple[float, float, float, float]


@graded("Exercise 1")
def check_1(greed_and_fear: Callable[[float, float, float, float], tuple[bool, bool]]) -> str:
    """Greed is T > R, fear is P > S."""

    def pair(*payoffs: float) -> list[bool]:
        return list(map(bool, parts(greed_and_fear(*payoffs), 2, "Give a pair, (greed, fear).")))

    expect(pair(3.0, 0.0, 5.0, 1.0) == [True, True], "The prisoner's dilemma (3, 0, 5, 1) has both.")
    expect(
        pair(3.0, 0.0, 2.0, 1.0) == [False, True],
        "The stag hunt (3, 0, 2, 1): would you defect if the other hunts the stag? If it does not?",
    )
    expect(
        pair(0.0, -1.0, 1.0, -10.0) == [True, False],
        "Chicken (0, -1, 1, -10): would you drive on if the other swerves? If it drives on?",
    )
    expect(
        pair(2.0, 1.0, 2.0, 1.0) == [False, False],
        "Ties do not count: without a gain nobody deviates.",
    )
    return "Greed is about a partner who cooperates, fear about one who does not."


@graded("Exercise 2")
def check_2(dilemma_between: Callable[[int], tuple[float, float]]) -> str:
    """Cooperation is good for k > 1; keeping pays for k < N."""

    def ends(n: int) -> list[Any]:
        return parts(dilemma_between(n), 2, "Give two numbers, the ends of an interval.")

    low, high = ends(4)
    expect(
        close(low, 1.0),
        "The lower end: if all contribute, each gets k N / N. When is that more than the unit that it had?",
    )
    expect(
        close(high, 4.0),
        "The upper end: a contributed unit returns k / N to its owner. From which k on does that pay?",
    )
    expect(
        all(close(ends(n)[0], 1.0) and close(ends(n)[1], n) for n in (2, 7)),
        "Right for 4 agents, not for 2 or 7.",
    )
    return "Between 1 and N contributing is good for all together, and bad for each alone."


@graded("Exercise 3")
def check_3(after_sharing: Callable[[float, float, float, float, float], Four]) -> str:
    """R and P stay; S and T move toward each other."""

    def four(*given: float) -> list[Any]:
        return parts(after_sharing(*given), 4, "Give four numbers, (R, S, T, P).")

    expect(
        close(four(-1.0, -3.0, 0.0, -2.0, 0.0), [-1.0, -3.0, 0.0, -2.0]),
        "With s = 0 the payoffs do not change.",
    )
    R, S, T, P = four(-1.0, -3.0, 0.0, -2.0, 0.5)
    expect(
        close(R, -1.0) and close(P, -2.0),
        "Where both payoffs are equal, each gives as much as it receives: what happens to R and P?",
    )
    expect(close(S, T), "With s = 1/2 each has half of the total: S and T should be equal then.")
    expect(
        close(four(-1.0, -3.0, 0.0, -2.0, 0.2), [-1.0, -2.4, -0.6, -2.0]),
        "Right for s = 0 and s = 1/2, not between. Keep 1 - s of your own, and add s of the other's.",
    )
    R, S, T, P = four(-1.0, -3.0, 0.0, -2.0, 1 / 3)
    expect(close(T, R) and close(S, P), "Something is off at s = 1/3.")
    expect(
        close(four(3.0, 0.0, 5.0, 1.0, 0.2), [3.0, 1.0, 4.0, 1.0]),
        "Right for the prisoner's dilemma in years, not for the payoffs (3, 0, 5, 1): use all four letters.",
    )
    return "From s = 1/3 on neither greed nor fear is left in the prisoner's dilemma in years."


@graded("Exercise 4")
def check_4(
    strategy: Callable[[str, str], str],
    play_match: Callable[..., Any],
    always_defect: Callable[[str, str], str],
    sorry: Callable[[str, str], str],
) -> str:
    """Nice, not exploited twice, and forgiving."""
    moves = {strategy(own, others) for own in ("", "CCC", "CDC") for others in (own, "C" * len(own))}
    expect(moves <= {"C", "D"}, 'Return "C" or "D", one letter.')
    expect(
        play_match(strategy, strategy)[0] == "C" * 10,
        "(a) fails: your strategy does not always cooperate with itself.",
    )
    exploited = play_match(strategy, always_defect)[0]
    expect(
        exploited.count("C") <= 1,
        f"(b) fails: against always_defect yours plays {exploited}, and is exploited at each C.",
    )
    one, two, _ = play_match(strategy, sorry)
    expect(
        one[5:] == "CCCCC" and two[5:] == "CCCCC",
        f"(c) fails: against sorry yours plays {one}. For how long should it respond to a defection?",
    )
    return "Nice, quick to retaliate, quick to forgive."


def stranger_1(own: str, others: str) -> str:
    """Never forgives: defects from the round after the first defection on."""
    return "D" if "D" in others else "C"


def stranger_2(own: str, others: str) -> str:
    """Tit for tat: cooperates first, then copies the other's last move."""
    return others[-1] if others else "C"


def stranger_3(own: str, others: str) -> str:
    """Repeats its move if the other cooperated, and changes it if not: win-stay, lose-shift."""
    if not own:
        return "C"
    return own[-1] if others[-1] == "C" else {"C": "D", "D": "C"}[own[-1]]


STRANGERS = (stranger_1, stranger_2, stranger_3)
"""Strategies: own past moves and the other's, as strings of C and D -> the next move."""
