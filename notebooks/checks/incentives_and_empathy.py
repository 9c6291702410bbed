"""Checks of `06_incentives_and_empathy`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from grading import close, expect, graded
from torch import Tensor

GAMES = ((4.0, 0.0, 5.0, 1.0), (3.0, 0.0, 5.0, 1.0), (5.0, 1.0, 6.0, 2.0), (6.0, 0.0, 7.0, 3.0))
"""Dilemmas (R, S, T, P) in which gratitude comes to rest between 0 and 1."""


@graded("Exercise 1")
def check_1(least_payment: Callable[[float, float, float, float], float]) -> str:
    """The greater of greed T - R and fear P - S."""
    expect(close(least_payment(4, 0, 5, 1), 1.0), "In the dilemma of this lesson defecting always gains 1.")
    expect(
        close(least_payment(-1, -3, 0, -2), 1.0), "In (-1, -3, 0, -2) defecting gains 1, too. Mind the signs."
    )
    expect(
        close(least_payment(6, 0, 7, 3), 3.0),
        "In (6, 0, 7, 3) more is at stake beside a defector: it must be enough whatever the other does.",
    )
    expect(close(least_payment(3, 1, 5, 2), 2.0), "In (3, 1, 5, 2) more is at stake beside a cooperator.")
    return "The greater of greed and fear."


@graded("Exercise 2")
def check_2(part_given: Callable[[Sequence[float], Sequence[float], int], float]) -> str:
    """max(w, 0), and 0 where nothing matters."""
    expect(
        close(part_given([4.0, 0.0], [0.25, 0.75], 0), 0.75),
        "Expected were 1 and came 4, of 0 to 4 that the other could do: three quarters better.",
    )
    expect(
        close(part_given([4.0, 0.0], [0.25, 0.75], 1), 0.0),
        "The other did harm, and nothing should be given then. What does your formula say?",
    )
    expect(
        close(part_given([5.0, 5.0], [0.5, 0.5], 0), 0.0),
        "Where nothing makes a difference nothing is given.",
    )
    expect(
        close(part_given([5.0, 1.0], [0.5, 0.5], 0), 0.5),
        "Values from 1 to 5: divide by how much the other can do, not by the greatest value.",
    )
    expect(
        close(part_given([2.0, -1.0, 5.0], [0.2, 0.5, 0.3], 2), 0.6),
        "Right with two actions, not with three.",
    )
    return "Who did what was expected earns no thanks."


@graded("Exercise 3")
def check_3(meta_gradient: Callable[..., Any]) -> str:
    """The rate times what the other's cooperating is worth to the giver, and minus that."""
    answer = meta_gradient(-1.0, -3.0, 0.0, -2.0, 0.5, 0.1)
    expect(torch.as_tensor(answer).shape == (2,), "Give a pair: by eta_C, by eta_D.")
    expect(
        close(float(answer[0]), -float(answer[1])),
        "What is felt has eta_C q + eta_D (1 - q) in it. What is its derivative by q?",
    )
    for (R, S, T, P), p in zip(GAMES, (0.0, 0.3, 0.8, 1.0), strict=True):
        found = list(meta_gradient(R, S, T, P, p, 0.1))
        expect(
            not close(found, _nudged(R, S, T, P, p, 1.0)),
            "A price acts through the step: where is the rate?",
        )
        expect(
            close(found, _nudged(R, S, T, P, p, 0.1)),
            f"Something is off for (R, S, T, P) = {(R, S, T, P)}, p = {p}: what is it worth to the "
            "giver that the other cooperates, where the giver itself cooperates, and where it defects?",
        )
    return "A price is worth what the change that it buys is worth."


@graded("Exercise 4")
def check_4(
    resting_chance: Callable[[float, float, float, float], float],
    with_thanks: Callable[..., Tensor],
    learn_step: Callable[..., Tensor],
) -> str:
    """p = (T + S - P) / (2T + S - P - R)."""
    for R, S, T, P in GAMES:
        p = float(resting_chance(R, S, T, P))
        expect(0 < p < 1, f"In (R, S, T, P) = {(R, S, T, P)} your p is {p:.3f}, not between 0 and 1.")
        own = torch.tensor([[R, S], [T, P]], dtype=torch.float64)
        chance = torch.tensor([[p, 1 - p], [p, 1 - p]], dtype=torch.float64)
        logits = chance.log() - chance.log()[:, 1:]
        felt = with_thanks(torch.stack((own, own.T), -1), chance, "true")
        moved = float((learn_step(logits, felt) - logits)[0, 0]) / (p * (1 - p))  # certain agents move slowly
        way = "more" if moved > 0 else "less"
        expect(
            abs(moved) < 1e-6, f"In {(R, S, T, P)} at p = {p:.3f} both would still learn to cooperate {way}."
        )
    return "Any kinder, and kindness is taken for granted."


def _nudged(R: float, S: float, T: float, P: float, p: float, rate: float) -> list[float]:
    """By prices of 1: the giver's reward is linear in the other's chance, so that this is exact."""

    def reward(price_c: float, price_d: float) -> float:
        q = 0.4 + rate * (p * (R - T) + (1 - p) * (S - P) + price_c - price_d)
        return p * (q * R + (1 - q) * S) + (1 - p) * (q * T + (1 - q) * P)

    return [reward(1.0, 0.0) - reward(0.0, 0.0), reward(0.0, 1.0) - reward(0.0, 0.0)]
