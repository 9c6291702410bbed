"""Checks of `08_zero_sum`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bilevel.lessons import close, expect, graded


@graded("Exercise 1")
def check_1(factor: Callable[[int, float], float]) -> str:
    """(N s - 1) / (N - 1)."""
    expect(
        close(factor(5, 1.0), 1.0), "An agent that keeps everything plays the original game: the factor is 1."
    )
    expect(close(factor(2, 0.3), -0.4), "For two agents the factor is kappa, with g = 1 - s.")
    expect(
        close(factor(3, 1 / 3), 0.0),
        "Three agents that share evenly get a third of the total each. What is the total?",
    )
    expect(
        all(close(factor(n, s), (n * s - 1) / (n - 1)) for n in (3, 4, 9) for s in (0.0, 0.2, 0.7)),
        "Right in the special cases. In general: what do the others' rewards sum to, if mine is r?",
    )
    return "With more agents it is closer to s; it is zero at s = 1/N, where all get the same."


@graded("Exercise 2")
def check_2(
    smallest_share: Callable[[Tensor], float],
    cafes: Callable[[float], Tensor],
    share: Callable[[Tensor, float], Tensor],
) -> str:
    """kappa = |a_common / a_opposed|."""
    expect(
        close(smallest_share(cafes(0.0)), 0.5, within=1e-4),
        "In a zero-sum game only a share of 1/2 ends the cycles.",
    )
    expect(
        close(smallest_share(cafes(0.5)), 0.25, within=1e-4),
        "With b = 0.5: the hider's shared reward is b - kappa times 1 or -1. When does it change sign?",
    )
    expect(close(smallest_share(cafes(0.9)), 0.05, within=1e-4), "Right for b = 0.5, not for 0.9.")
    expect(
        close(smallest_share(cafes(1.5)), 0.0, within=1e-4),
        "With b = 1.5 even the hider wants to meet: there are no cycles, and no sharing is needed.",
    )
    generator = torch.Generator().manual_seed(0)
    for payoffs in torch.randn(20, 2, 2, 2, generator=generator, dtype=torch.float64):
        part = float(smallest_share(payoffs))
        expect(
            -1e-6 <= part <= 0.5 + 1e-6,
            f"The share lies between 0 and 1/2; for a random game yours is {part:g}.",
        )
        agree = [_signs(share(payoffs, value)).prod() > 0 for value in (part + 1e-4, max(part - 1e-4, 0.0))]
        expect(agree[0], "In a random game they are still opposed above your share.")
        expect(part < 1e-4 or not agree[1], "In a random game less than your share would be enough.")
    return "The common part must outweigh the scaled opposed part."


@graded("Exercise 3")
def check_3(
    push: Callable[[Tensor, Tensor], Tensor],
    action_values: Callable[[Tensor, Tensor], Tensor],
    exploitability: Callable[[Tensor, Tensor], Tensor],
) -> str:
    """2 now - before."""
    same = torch.tensor([0.3, -1.2])
    expect(
        close(push(same.clone(), same.clone()), same),
        "If the values did not change, predict the same values.",
    )
    rising = torch.as_tensor(push(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0])))
    expect(rising.shape == (2,), "Give one number for each action.")
    expect(float(rising[0]) > 1, "A value that has just risen from 0 to 1 is predicted to rise further.")
    expect(
        close(rising, [2.0, 0.0]),
        f"A value rose from 0 to 1, and you predict {float(rising[0]):g}. Predict the same change again, no "
        "more and no less.",
    )
    drawn = 0.5 + torch.rand(10, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    signed = drawn * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])  # no pure equilibrium
    games = torch.stack((signed, -signed), -1)
    logits = torch.randn(10, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    before = action_values(games, logits.softmax(-1))
    for _ in range(1500):
        now = action_values(games, logits.softmax(-1))
        logits, before = logits + 0.3 * torch.as_tensor(push(now.clone(), before)), now
    remaining = float(exploitability(games, logits.softmax(-1)).max())
    expect(remaining < 0.05, f"After 1500 steps the exploitability is still {remaining:.2f}.")
    return "The final policy itself is hardly exploitable: no averaging is needed."


@graded("Exercise 4")
def check_4(minimal_shares: Callable[[float], Any], cafes: Callable[[float], Tensor]) -> str:
    """The seeker gives (1 - b) / (1 + b), the hider nothing."""
    for b in (0.5, 0.2, 0.8):
        answer = minimal_shares(b)
        expect(torch.as_tensor(answer).shape == (2,), "Give a pair, (x, y).")
        x, y = (float(part) for part in answer)
        expect(
            all(-1e-6 <= part <= 1 + 1e-6 for part in (x, y)),
            f"Shares lie between 0 and 1; for b = {b} they are {x:g} and {y:g}.",
        )
        matrix = torch.tensor([[1 - x, x], [y, 1 - y]], dtype=torch.float64)
        signs = _signs(cafes(b).double() @ matrix)
        expect(
            float(signs.min()) > -1e-4,
            f"For b = {b} {('the seeker', 'the hider')[int(signs.argmin())]} prefers not to meet.",
        )
        least = (1 - b) / (1 + b)
        expect(
            x + y < least + 1e-4,
            f"For b = {b} they meet, but x + y is {x + y:.3f}: not minimal. Who gains more from meeting?",
        )
    return "The agent that wants to meet pays for it: the hider's share has a smaller effect."


def _signs(payoffs: Tensor) -> Tensor:
    """a_i of both agents, [agent]."""
    return payoffs[0, 0] - payoffs[0, 1] - payoffs[1, 0] + payoffs[1, 1]
