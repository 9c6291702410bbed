"""Checks of `06_incentives_and_empathy`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bilevel.lessons import close, expect, graded

GAMES = ((4.0, 0.0, 5.0, 1.0), (3.0, 0.0, 5.0, 1.0), (5.0, 1.0, 6.0, 2.0), (6.0, 0.0, 7.0, 3.0))
"""Dilemmas (R, S, T, P) in which LASE has a fixed point between 0 and 1."""


@graded("Exercise 1")
def check_1(minimal_payment: Callable[[float, float, float, float], float]) -> str:
    """The larger of greed T - R and fear P - S."""
    expect(close(minimal_payment(4, 0, 5, 1), 1.0), "In the dilemma of this lesson defecting always gains 1.")
    expect(
        close(minimal_payment(-1, -3, 0, -2), 1.0),
        "In (-1, -3, 0, -2) defecting gains 1, too.",
    )
    expect(
        close(minimal_payment(6, 0, 7, 3), 3.0),
        "In (6, 0, 7, 3) defecting gains more against a defector: the payment must suffice in both cases.",
    )
    expect(
        close(minimal_payment(3, 1, 5, 2), 2.0), "In (3, 1, 5, 2) defecting gains more against a cooperator."
    )
    return "The larger of greed and fear."


@graded("Exercise 2")
def check_2(share_given: Callable[[Tensor, Tensor, int], Any]) -> str:
    """max(w, 0), and 0 where the action makes no difference."""

    def given(values: list[float], assumed: list[float], action: int) -> Any:
        as_tensors = partial(torch.tensor, dtype=torch.float64)
        return share_given(as_tensors(values), as_tensors(assumed), action)

    expect(
        close(given([4.0, 0.0], [0.25, 0.75], 0), 0.75),
        "The reward exceeds the expected one, 1, by 3, and the range of rewards is 4.",
    )
    expect(
        close(given([4.0, 0.0], [0.25, 0.75], 1), 0.0),
        "The action was worse than expected, so the share must be 0. What is the result of your formula?",
    )
    expect(
        close(given([5.0, 5.0], [0.5, 0.5], 0), 0.0),
        "If the action makes no difference, the share is 0.",
    )
    expect(
        close(given([5.0, 1.0], [0.5, 0.5], 0), 0.5),
        "Values from 1 to 5: divide by their range, not by the largest value.",
    )
    expect(
        close(given([2.0, -1.0, 5.0], [0.2, 0.5, 0.3], 2), 0.6),
        "Right with two actions, not with three.",
    )
    return "An expected action earns no gratitude."


@graded("Exercise 3")
def check_3(hypergradient: Callable[..., Any]) -> str:
    """The rate times the value of the other's cooperation to the giver, and minus that."""
    answer = hypergradient(-1.0, -3.0, 0.0, -2.0, 0.5, 0.1)
    expect(torch.as_tensor(answer).shape == (2,), "Give a pair: by eta_C, by eta_D.")
    expect(
        close(float(answer[0]), -float(answer[1])),
        "The effective reward contains eta_C q + eta_D (1 - q). What is its derivative in q?",
    )
    for (R, S, T, P), p in zip(GAMES, (0.0, 0.3, 0.8, 1.0), strict=True):
        found = list(hypergradient(R, S, T, P, p, 0.1))
        expect(
            not close(found, _differences(R, S, T, P, p, 1.0)),
            "An incentive acts through the step: where is the rate?",
        )
        expect(
            close(found, _differences(R, S, T, P, p, 0.1)),
            f"Wrong for (R, S, T, P) = {(R, S, T, P)}, p = {p}: what is the value of the other's cooperation "
            "to a giver that cooperates, and to one that defects?",
        )
    return "The hypergradient is the value of the change of behavior that an incentive causes."


@graded("Exercise 4")
def check_4(
    fixed_point: Callable[[float, float, float, float], float],
    with_gratitude: Callable[..., Tensor],
    learn_step: Callable[..., Tensor],
) -> str:
    """p = (T + S - P) / (2T + S - P - R)."""
    for R, S, T, P in GAMES:
        p = float(fixed_point(R, S, T, P))
        expect(0 < p < 1, f"In (R, S, T, P) = {(R, S, T, P)} your p is {p:.3f}, not between 0 and 1.")
        own = torch.tensor([[R, S], [T, P]], dtype=torch.float64)
        chance = torch.tensor([[p, 1 - p], [p, 1 - p]], dtype=torch.float64)
        logits = chance.log() - chance.log()[:, 1:]
        effective = with_gratitude(torch.stack((own, own.T), -1), chance, "true")
        change = float((learn_step(logits, effective) - logits)[0, 0]) / (p * (1 - p))
        direction = "more" if change > 0 else "less"
        expect(
            abs(change) < 1e-4,
            f"In {(R, S, T, P)} at p = {p:.6g} both would still learn to cooperate {direction}.",
        )
    return "Agents that cooperate more often than that earn less gratitude: the other expects it."


def _differences(R: float, S: float, T: float, P: float, p: float, rate: float) -> list[float]:
    """Differences by payments of 1: exact, as the giver's reward is linear in the other's probability."""

    def reward(price_c: float, price_d: float) -> float:
        q = 0.4 + rate * (p * (R - T) + (1 - p) * (S - P) + price_c - price_d)
        return p * (q * R + (1 - q) * S) + (1 - p) * (q * T + (1 - q) * P)

    return [reward(1.0, 0.0) - reward(0.0, 0.0), reward(0.0, 1.0) - reward(0.0, 0.0)]
