"""Checks of `06_incentives`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bilevel.lessons import close, expect, graded

GAMES = ((4.0, 0.0, 5.0, 1.0), (3.0, 0.0, 5.0, 1.0), (5.0, 1.0, 6.0, 2.0), (6.0, 0.0, 7.0, 3.0))
"""Dilemmas (R, S, T, P)."""


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
def check_2(hypergradient: Callable[..., Any]) -> str:
    """The rate times the value of the other's cooperation to the giver, and minus that."""
    answer = hypergradient(-1.0, -3.0, 0.0, -2.0, 0.5, 0.1)
    expect(torch.as_tensor(answer).shape == (2,), "Give a pair: by eta_C, by eta_D.")
    expect(
        close(float(answer[0]), -float(answer[1])),
        "The effective reward contains eta_C q + eta_D (1 - q). What is its derivative with respect to q?",
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


@graded("Exercise 3")
def check_3(best_incentive: Callable[[float, float, float, float], Any]) -> str:
    """max(0, (worth / cost - q / rate) / 2)."""
    expect(
        not close(best_incentive(4.0, 0.2, 0.1, 1.0), 4.0, within=1e-4),
        "That is the whole value of the other's cooperation: then the giver gains nothing.",
    )
    for worth, q, rate, cost in ((4.0, 0.2, 0.1, 1.0), (3.0, 0.0, 0.2, 1.0), (4.0, 0.1, 0.2, 0.5)):
        found, truth = best_incentive(worth, q, rate, cost), (worth / cost - q / rate) / 2
        expect(
            not close(found, worth / cost / 2, within=1e-4) or q == 0,
            "The giver also pays for cooperation that it would have had without paying.",
        )
        expect(
            cost == 1 or not close(found, (worth - q / rate) / 2, within=1e-4),
            "Right for cost 1. Where does the cost enter?",
        )
        expect(
            close(found, truth, within=1e-4),
            f"Wrong for worth {worth}, q {q}, rate {rate}, cost {cost}: the payment is made with probability "
            "q', which depends on eta, too.",
        )
    expect(
        close(best_incentive(4.0, 0.9, 0.1, 1.0), 0.0, within=1e-4),
        "With worth 4, q 0.9, rate 0.1, cost 1: an incentive cannot be negative.",
    )
    return "The more likely cooperation is anyway, and the slower it is learned, the less is worth paying."


def _differences(R: float, S: float, T: float, P: float, p: float, rate: float) -> list[float]:
    """Differences by payments of 1: exact, as the giver's reward is linear in the other's probability."""

    def reward(price_c: float, price_d: float) -> float:
        q = 0.4 + rate * (p * (R - T) + (1 - p) * (S - P) + price_c - price_d)
        return p * (q * R + (1 - q) * S) + (1 - p) * (q * T + (1 - q) * P)

    return [reward(1.0, 0.0) - reward(0.0, 0.0), reward(0.0, 1.0) - reward(0.0, 0.0)]
