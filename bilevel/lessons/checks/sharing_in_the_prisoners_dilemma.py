"""Checks of `04_sharing_in_the_prisoners_dilemma`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bilevel.lessons import close, expect, graded, single

DILEMMAS = [
    (-1.0, -3.0, 0.0, -2.0),
    (3.0, 0.0, 4.0, 1.0),
    (3.0, 0.0, 5.0, 1.0),
    (4.0, 0.0, 5.0, 3.0),
    (2.0, -1.0, 2.5, 0.0),
]
"""Reward, sucker, temptation, punishment."""


@graded("Exercise 1")
def check_1(minimal_w: Callable[[float, float, float, float], float]) -> str:
    """1 - w is the minimum of (R - S) / (T - S) and (T - P) / (T - S)."""
    expect(
        close(minimal_w(-1.0, -3.0, 0.0, -2.0), 1 / 3, within=1e-4),
        "The kitchen has reward -1, sucker -3, temptation 0, punishment -2; its minimal share is a third.",
    )
    greed, fear = [], []
    for case in DILEMMAS:
        reward, sucker, temptation, punishment = case
        greed.append(close(minimal_w(*case), (temptation - reward) / (temptation - sucker), within=1e-4))
        fear.append(close(minimal_w(*case), (punishment - sucker) / (temptation - sucker), within=1e-4))
    expect(
        not all(greed),
        "Right if the other agent cooperates. What if it defects? In the kitchen both cases coincide.",
    )
    expect(
        not all(fear),
        "Right if the other agent defects. What if it cooperates? In the kitchen both cases coincide.",
    )
    expect(
        all(one or two for one, two in zip(greed, fear, strict=True)),
        "Right for the kitchen, not in general. Write down the gain from defecting in each of the two cases.",
    )
    for case in DILEMMAS:
        reward, sucker, temptation, punishment = case
        both = max(temptation - reward, punishment - sucker) / (temptation - sucker)
        expect(
            close(minimal_w(*case), both, within=1e-4),
            f"For {case} your share is enough in one of the two cases, but not in the other.",
        )
    return "There is one case for each action of the other agent, and the larger share is needed."


@graded("Exercise 2")
def check_2(matrix: Callable[[int, float], Tensor], largest_s: Callable[[int], float]) -> str:
    """T_ii = s, T_ij = (1 - s) / (n - 1); s* = 2 / 3 whatever n is."""
    for n, s in ((2, 0.7), (5, 0.6)):
        T = matrix(n, s)
        T = torch.as_tensor(T)
        expect(tuple(T.shape) == (n, n), f"For {n} agents the matrix must have {n} rows and {n} columns.")
        expect(close(T.sum(-1), torch.ones(n)), "Every row must sum to 1, to conserve the total reward.")
        expect(close(T.diagonal(), torch.full((n,), s)), "Everybody keeps s: that is the diagonal.")
        even = torch.full((n, n), (1 - s) / (n - 1)).fill_diagonal_(s)
        expect(close(T, even), "The rest is divided evenly among the others.")
    expect(
        close(largest_s(2), 2 / 3),
        "The matrix is right. With two agents the largest share kept must agree with theory above.",
    )
    expect(
        not close(largest_s(5), 2 / 6) and not close(largest_s(5), 2 / 18),
        "Right for two. From how many others does the cleaner get a share back, and how much in total?",
    )
    expect(
        all(close(largest_s(n), 2 / 3) for n in (3, 5, 50)),
        "Right for two, not for more. Add up what cleaning does to the cleaner: a cost, and n - 1 shares.",
    )
    return "Each agent gives me a smaller share, but there are more of them: it does not get harder."


@graded("Exercise 3")
def check_3(slope: Callable[[Tensor, Tensor, float], Tensor]) -> str:
    """Alpha [p0' (1 - p0') p0 (1 - p0) + 2 p1' (1 - p1') p1 (1 - p1)]."""
    generator = torch.Generator().manual_seed(4)
    cases = [
        (torch.randn(2, generator=generator), torch.rand(2, generator=generator), alpha)
        for alpha in (0.1, 1.0, 5.0)
    ]

    def parts(theta: Tensor, w: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        spread = theta.sigmoid() * (1 - theta.sigmoid())
        after = (theta + alpha * spread * (2 * w.flip(0) - (1 - w))).sigmoid()
        return alpha * after * (1 - after) * spread, alpha * spread

    ask = "One number is asked for: the derivative in w[0] alone, the share that agent 0 gives."
    answers = [single(slope(*case), ask) for case in cases]
    truths = [parts(*case) for case in cases]

    def all_close(expected: list[Tensor]) -> bool:
        return all(close(one, two, within=1e-8) for one, two in zip(answers, expected, strict=True))

    expect(
        not all_close([full[0] for full, _ in truths]),
        "That is the effect on agent 0. Agent 1 receives the share: what is the effect on it?",
    )
    expect(
        not all_close([full.sum() for full, _ in truths]),
        "Nearly. Agent 0 bears less of its cost of 1. A larger share of which benefit does agent 1 receive?",
    )
    expect(
        not all_close([bare[0] + 2 * bare[1] for _, bare in truths]),
        "That is the change of the log-odds. F depends on probabilities, at the new log-odds.",
    )
    expect(
        all_close([full[0] + 2 * full[1] for full, _ in truths]),
        "Not the derivative. Chain rule: the slope of F at the new log-odds, times their slope in w[0].",
    )
    return "All factors are positive: for all policies, giving more increases F."
