"""Checks of `01_two_levels`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bilevel.lessons import close, expect, graded


@graded("Exercise 1")
def check_1(fraction_of_last: Callable[[float, float, int], float]) -> str:
    """At the fixed point, k steps account for 1 - (1 - r m)^k of the derivative."""
    expect(
        close(fraction_of_last(0.7, 0.5, 0), 0.0),
        "With k = 0 no step counts, so the fraction must be 0; yours is not.",
    )
    expect(
        close(fraction_of_last(0.5, 0.4, 1), 0.2),
        "Try k = 1: one step is theta - r m (theta - phi). How much does theta change if phi changes by 1?",
    )
    expect(
        close(fraction_of_last(0.5, 0.4, 2), 0.36),
        "Right for one step, not for two. How much of the previous step's effect does the last one keep?",
    )
    cases = [(0.5, 0.4, 7), (0.1, 1.0, 30), (1.5, 1.0, 3)]
    expect(
        all(close(fraction_of_last(m, r, k), 1 - (1 - r * m) ** k) for m, r, k in cases),
        "Right for few steps, not for many.",
    )
    return "The missing fraction shrinks by the same factor with every further step."


@graded("Exercise 2")
def check_2(reverse_sweep: Callable[[Tensor, int], Tensor], unrolled: Callable[[Tensor, int], Tensor]) -> str:
    """The reverse sweep gives the unrolled gradient."""
    phi = torch.tensor(0.4)
    expect(
        close(reverse_sweep(phi, 1), unrolled(phi, 1), within=1e-9),
        "Wrong even for one step: add the second value of vjp(a) to total, and only then replace a.",
    )
    expect(
        close(reverse_sweep(phi, 2), unrolled(phi, 2), within=1e-9),
        "Right for one step, wrong for two. Are all terms summed? Is a replaced by the first value?",
    )
    cases = [(phi, 9), (torch.tensor(0.8), 30)]
    expect(
        all(close(reverse_sweep(p, k), unrolled(p, k), within=1e-9) for p, k in cases),
        "Right for two steps, not for many.",
    )
    return "The same as unrolled, and only the trajectory was stored."


@graded("Exercise 3")
def check_3(
    neumann: Callable[[Tensor, Tensor, int], Tensor],
    implicit: Callable[[Tensor, int], Tensor],
    truncated: Callable[[Tensor, int, int], Tensor],
    learn: Callable[[Tensor, int], Tensor],
) -> str:
    """The Neumann series converges to implicit, and its first terms are the truncated gradient."""
    phi = torch.tensor(0.3)
    fixed = learn(phi, 600)[-1]
    expect(
        close(neumann(fixed, phi, 1), truncated(phi, 600, 1), within=1e-9),
        "With one term v is the outer gradient itself: add the term first, then multiply it.",
    )
    expect(
        close(neumann(fixed, phi, 2), truncated(phi, 600, 2), within=1e-9),
        "Right with one term, not with two. Does v sum the terms? Is each J transposed times the one before?",
    )
    expect(
        close(neumann(fixed, phi, 600), implicit(phi, 600), within=1e-9),
        "With many terms it should equal the implicit gradient, and it does not.",
    )
    return (
        "At the fixed point, n terms are `truncated` to n steps, and the whole series is `implicit`. "
        "(Here x and y do not interact, so that J is symmetric; where they do, only J.T is right.)"
    )
