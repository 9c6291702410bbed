"""Checks of `17_how_sure_is_that`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bilevel.lessons import close, expect, graded, parts


@graded("Exercise 1")
def check_1(pairs_needed: Callable[[float, float, float], int]) -> str:
    """The boxed formula, rounded up."""

    def truth(d: float, s: float, rho: float) -> int:
        return math.ceil(2.8**2 * 2 * s**2 * (1 - rho) / d**2 - 1e-9)

    expect(
        not close(pairs_needed(0.5, 1.0, 0.0), truth(0.5, 1.0, 0.5)),
        "That is enough for one method with a known opponent. What is the variance of the difference of two?",
    )
    expect(
        close(pairs_needed(0.5, 1.0, 0.0), 63.0),
        "For d = 0.5, s = 1 and rho = 0 it is the first number of the table's third row, rounded up.",
    )
    expect(
        close(pairs_needed(0.5, 1.0, 0.8), truth(0.5, 1.0, 0.8)),
        "Right without correlation, wrong for rho = 0.8.",
    )
    cases = [(1.0, 3.0, 0.5), (25.0, 88.0, 0.6), (0.1, 1.0, 0.95), (3.0, 1.0, 0.3)]
    expect(
        all(close(pairs_needed(*case), float(truth(*case))) for case in cases),
        "Right for s = 1 and d = 0.5, not for all others. Are s and d squared? Is the number rounded up?",
    )
    return "Half the difference needs four times as many pairs; a correlation of 0.8 saves four of five."


@graded("Exercise 2")
def check_2(holm: Callable[[list[float], float], Sequence[Any]]) -> str:
    """Holm's step-down method."""

    def found(p_values: list[float], alpha: float) -> list[bool]:
        sentence = f"Return a boolean for each of the {len(p_values)} p-values."
        return [bool(each) for each in parts(holm(list(p_values), alpha), len(p_values), sentence)]

    expect(found([0.04], 0.05) == [True], "A single p-value of 0.04 counts at the level 0.05.")
    expect(
        found([0.04, 0.04], 0.05) == [False, False],
        "Two p-values of 0.04: the smallest must be at most 0.05 / 2, and it is not.",
    )
    expect(
        found([0.01, 0.04], 0.05) == [True, True],
        "0.01 and 0.04: the first is below 0.05 / 2, the second below 0.05 / 1. Both count.",
    )
    expect(
        found([0.04, 0.01], 0.05) == [True, True] and found([0.5, 0.01], 0.05) == [False, True],
        "The answers must be in the order in which the p-values were given.",
    )
    expect(
        found([0.001, 0.03, 0.03, 0.04], 0.05) == [True, False, False, False],
        "0.001, 0.03, 0.03, 0.04: the second fails, so all after it fail, even one below its own threshold.",
    )
    cases = {
        (0.2, 0.004, 0.03, 0.011, 0.9): [False, True, False, True, False],
        (0.025, 0.05): [True, True],
        (0.9, 0.8, 0.7): [False, False, False],
    }
    expect(
        all(found(list(given), 0.05) == truth for given, truth in cases.items())
        and found([0.04, 0.01], 0.01) == [False, False],
        "Right for small examples, not for all. A p-value equal to its threshold counts, and alpha varies.",
    )
    return (
        "The probability of any false discovery is at most alpha, however the results depend on each other."
    )


@graded("Exercise 3")
def check_3(
    repaired: Callable[[Tensor, Tensor, Tensor], Any],
    iqm: Callable[[Tensor], Tensor],
) -> str:
    """The percentile interval of the paired difference."""
    generator = torch.Generator().manual_seed(5)
    base = 10 * torch.randn(24, generator=generator, dtype=torch.float64)
    picks = torch.randint(24, (500, 24), generator=generator)
    sentence = "Return two numbers: the lower and the upper bound."
    low, high = parts(repaired(base + 0.5, base, picks), 2, sentence)
    expect(
        close(low, 0.5) and close(high, 0.5),
        "If every seed is better by exactly 0.5, every paired resample is, too: the interval is a point.",
    )
    for size in (24, 7):
        one = base[:size]
        other = 0.7 * one + torch.randn(size, generator=generator, dtype=torch.float64)
        chosen = torch.randint(size, (500, size), generator=generator)
        estimates = iqm(one[chosen]) - iqm(other[chosen])
        bounds = estimates.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
        low, high = parts(repaired(one, other, chosen), 2, sentence)
        expect(
            close(low, bounds[0], within=1e-4) and close(high, bounds[1], within=1e-4),
            "Right for a constant difference, not in general: take the difference of the two interquartile "
            "means in each resample, then its percentiles 2.5 and 97.5.",
        )
    return "What the seed does to both methods cancels in every resample."


@graded("Exercise 4")
def check_4(sign_flip_p: Callable[[Tensor], float]) -> str:
    """The exact two-sided p-value of the sign-flip test."""

    def truth(differences: Tensor) -> float:
        n = len(differences)
        bits = (torch.arange(2**n)[:, None] >> torch.arange(n)) & 1
        means = (1.0 - 2.0 * bits.double()) @ differences / n
        return float((means.abs() >= differences.mean().abs() - 1e-9).double().mean())

    def case(*numbers: float) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64)

    five = case(1.0, 2.0, 0.5, 0.1, 3.0)
    answer = sign_flip_p(five)
    expect(
        not close(answer, 1 / 32),
        "Five positive differences: with all signs reversed, the mean is as extreme as the observed one.",
    )
    expect(
        close(answer, 2 / 32),
        "Five positive differences: of the 32 assignments only two are as extreme as the observed one.",
    )
    expect(
        close(sign_flip_p(-five), 2 / 32),
        "If all differences change their sign, the p-value stays the same: use absolute values.",
    )
    expect(
        close(sign_flip_p(case(1.0, -1.0)), 1.0),
        "If the observed mean is 0, every assignment is at least as extreme, and p is 1.",
    )
    generator = torch.Generator().manual_seed(6)
    cases = [torch.randn(n, generator=generator, dtype=torch.float64) + 0.5 for n in (3, 6, 10)]
    cases.append(case(0.3, 0.1, 0.2, -0.1))
    expect(
        all(close(sign_flip_p(numbers), truth(numbers)) for numbers in cases),
        "Right for differences of one sign, not for mixed ones. Are ties counted as extreme?",
    )
    return "With five pairs p is at least 0.0625: no result at all can reach the level 5 %. Six can."
