"""Checks of `07_empathy_and_mixing`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bilevel.lessons import close, expect, graded

GAMES = ((4.0, 0.0, 5.0, 1.0), (3.0, 0.0, 5.0, 1.0), (5.0, 1.0, 6.0, 2.0), (6.0, 0.0, 7.0, 3.0))
"""Dilemmas (R, S, T, P) in which LASE has a fixed point between 0 and 1."""
ROWS = (
    ([0.8, 0.2], [6.0, 9.0], [1.5, -0.5]),
    ([0.5, 0.5], [4.0, 2.0], [-1.0, 0.4]),
    ([0.2, 0.5, 0.3], [3.0, 5.0, 2.0], [0.6, -0.1, 0.9]),
)
"""A row of weights, losses, and rates of change; in the second the mixed loss decreases."""


@graded("Exercise 1")
def check_1(share_given: Callable[[Tensor, Tensor, int], Any]) -> str:
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


@graded("Exercise 2")
def check_2(row_slope: Callable[[Tensor, Tensor, Tensor], Any]) -> str:
    """(change_j - growth f_j) / f_i^A if the growth rate is above 0, and 0 otherwise."""
    for row, loss, change in ROWS:
        tensors = [torch.tensor(each, dtype=torch.float64) for each in (row, loss, change)]
        truth = _slope(*tensors)
        found = torch.as_tensor(row_slope(*(each.clone() for each in tensors)), dtype=torch.float64)
        expect(found.shape == truth.shape, "Return one derivative for each weight of the row.")
        mixed, rate = tensors[0] @ tensors[1], tensors[0] @ tensors[2]
        if rate <= 0:
            expect(
                close(found, truth, within=1e-5),
                "If the mixed loss does not grow, rho is 1 whatever the weights are: win, stay.",
            )
        expect(
            not close(found, tensors[2] / mixed, within=1e-5) or close(found, truth, within=1e-5),
            "The weights are in the denominator, too.",
        )
        expect(
            close(found, truth, within=1e-5),
            f"Wrong for the weights {row}, losses {loss}, rates {change}: use the quotient rule.",
        )
    return "A weight increases if that loss grows more slowly than the mixed loss."


def _slope(row: Tensor, loss: Tensor, change: Tensor) -> Tensor:
    """The derivative by automatic differentiation."""

    def bound(row: Tensor) -> Tensor:
        return 1 + ((row @ change) / (row @ loss)).relu()

    slope: Tensor = torch.func.grad(bound)(row)
    return slope


@graded("Exercise 3")
def check_3(
    fixed_point: Callable[[float, float, float, float], float],
    with_gratitude: Callable[..., Tensor],
    learn_step: Callable[..., Tensor],
) -> str:
    """p = (T + S - P) / (2T + S - P - R)."""
    for R, S, T, P in GAMES:
        p = float(fixed_point(R, S, T, P))
        expect(0 < p < 1, f"In (R, S, T, P) = {(R, S, T, P)} your p is {p:.3f}, not between 0 and 1.")
        own = torch.tensor([[R, S], [T, P]], dtype=torch.float64)
        policy = torch.tensor([[p, 1 - p], [p, 1 - p]], dtype=torch.float64)
        logits = policy.log() - policy.log()[:, 1:]
        effective = with_gratitude(torch.stack((own, own.T), -1), policy, "true")
        change = float((learn_step(logits, effective) - logits)[0, 0]) / (p * (1 - p))
        direction = "more" if change > 0 else "less"
        expect(
            abs(change) < 1e-4,
            f"In {(R, S, T, P)} at p = {p:.6g} both would still learn to cooperate {direction}.",
        )
    return "Agents that cooperate more often than that earn less gratitude: the other expects it."
