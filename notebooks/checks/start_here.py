"""The check of `00_start_here`."""

from __future__ import annotations

from collections.abc import Callable

from grading import close, expect, graded


@graded("Exercise 1")
def check_1(kept: Callable[[int], float]) -> str:
    """Of N equal parts one is one's own."""
    expect(
        close(kept(2), 0.5), "Two agents who share evenly: each of them gets the same part of every reward."
    )
    expect(close(kept(5), 0.2), "Right for two agents, not for five. How many get a part of your reward?")
    expect(
        close(kept(10), 0.1),
        "Right for two agents and for five, not for ten. Among how many is a reward divided?",
    )
    return "One part of N is one's own; the others get the rest."
