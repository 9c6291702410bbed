"""The check of `00_start_here`."""

from __future__ import annotations

from collections.abc import Callable

from bilevel.lessons import close, expect, graded


@graded("Exercise 1")
def check_1(kept: Callable[[int], float]) -> str:
    """Of N equal shares one is the agent's own."""
    expect(close(kept(2), 0.5), "Two agents share evenly: each of them gets the same share of every reward.")
    expect(
        close(kept(5), 0.2), "Right for two agents, not for five. How many agents get a share of your reward?"
    )
    expect(
        close(kept(10), 0.1),
        "Right for two agents and for five, not for ten. Among how many agents is a reward divided?",
    )
    return "Each agent keeps 1/N; the other agents get the rest."
