"""Checks of `18_capstone`."""

from __future__ import annotations

import math
from collections.abc import Callable

from bilevel.lessons import close, expect, graded

WORDS = ("reproduced", "not reproduced", "undecided")


@graded("Exercise 1")
def check_1(verdict: Callable[[float, float, float, float], str]) -> str:
    """Inside the margin, apart from it, or neither."""

    def found(*case: float) -> str:
        word = verdict(*case)
        expect(isinstance(word, str) and word in WORDS, f"Return one of the words {', '.join(WORDS)}.")
        return word

    expect(found(8.75, 9.25, 9.0, 0.5) == "reproduced", "From 8.75 to 9.25 is inside 9 ± 0.5.")
    expect(found(5.0, 6.0, 9.0, 0.5) == "not reproduced", "From 5 to 6 is apart from 9 ± 0.5.")
    expect(
        found(3.0, 15.0, 9.0, 0.5) == "undecided",
        "From 3 to 15 contains the published value, and much else: with few seeds that is almost always so.",
    )
    expect(
        found(10.0, 11.0, 9.0, 0.5) == "not reproduced", "Values that are too high do not reproduce either."
    )
    expect(
        found(8.0, 8.75, 9.0, 0.5) == "undecided" and found(9.25, 10.0, 9.0, 0.5) == "undecided",
        "An interval that reaches across one edge of the margin decides nothing.",
    )
    expect(
        found(9.125, 9.25, 9.0, 0.5) == "reproduced",
        "The interval need not contain the published value: it must lie inside the margin.",
    )
    expect(
        found(8.5, 9.5, 9.0, 0.5) == "reproduced" and found(8.0, 8.5, 9.0, 0.5) == "undecided",
        "An end exactly at the edge of the margin is inside.",
    )
    cases = {
        (-1.25, -0.75, -1.0, 0.25): "reproduced",
        (-2.0, -1.5, -1.0, 0.25): "not reproduced",
        (-1.5, -1.0, -1.0, 0.25): "undecided",
        (-0.5, 0.5, 0.0, 1.0): "reproduced",
        (60.0, 70.0, 65.0, 2.0): "undecided",
    }
    expect(
        all(found(*case) == word for case, word in cases.items()),
        "Right for 9 ± 0.5, not for all. The margin is absolute, and values may be negative.",
    )
    return "Inside, apart, or undecided: few seeds can no longer pass for a reproduction."


@graded("Exercise 2")
def check_2(seeds_needed: Callable[[float, float], int]) -> str:
    """(1.96 + 0.84)^2 s^2 / d^2, rounded up."""

    def right(s: float, d: float) -> bool:
        answer = seeds_needed(s, d)
        truths = {math.ceil(square * s**2 / d**2 - 1e-9) for square in (2.8**2, 7.848879734)}
        return any(close(answer, float(truth)) for truth in truths)

    expect(
        not close(seeds_needed(1.0, 0.5), 63.0),
        "That is for the difference of two methods. The published value does not vary.",
    )
    expect(
        not close(seeds_needed(1.0, 0.5), 42.0),
        "That is for the verdict 'reproduced'. Which quantile belongs to a truth on one known side?",
    )
    expect(right(1.0, 0.5), "For s = 1 and d = 0.5 it is 2.8^2 * 4, rounded up.")
    cases = [(1.0, 1.0), (2.5, 0.45), (0.3, 1.0), (11.0, 2.0), (4.0, 3.0)]
    expect(
        all(right(*case) for case in cases),
        "Right for s = 1 and d = 0.5, not for all. Are s and d squared? Is the number rounded up?",
    )
    return "Half the distance needs four times as many seeds: plan before you train."
