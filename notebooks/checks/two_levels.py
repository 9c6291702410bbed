"""Checks of `01_two_levels`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from grading import close, expect, graded
from torch import Tensor


@graded("Exercise 1")
def check_1(share_left: Callable[[float, float, int], float]) -> str:
    """Of one skill at rest, k lessons hold 1 - (1 - r m)^k of the slope."""
    expect(
        close(share_left(0.7, 0.5, 0), 0.0), "Walking back no lesson at all finds nothing; yours finds more."
    )
    expect(
        close(share_left(0.5, 0.4, 1), 0.2),
        "Try k = 1: one lesson is theta - r m (theta - phi). How far does it move theta if phi moves by 1?",
    )
    expect(
        close(share_left(0.5, 0.4, 2), 0.36),
        "Right for one lesson, not for two. What does the last lesson leave of what the one before it did?",
    )
    cases = [(0.5, 0.4, 7), (0.1, 1.0, 30), (1.5, 1.0, 3)]
    expect(
        all(close(share_left(m, r, k), 1 - (1 - r * m) ** k) for m, r, k in cases),
        "Right for few lessons, not for many.",
    )
    return "What is missing shrinks by the same factor with every lesson walked back."


@graded("Exercise 2")
def check_2(walk_back: Callable[[Tensor, int], Tensor], unrolled: Callable[[Tensor, int], Tensor]) -> str:
    """The walk back is the unrolled gradient."""
    phi = torch.tensor(0.4)
    expect(
        close(walk_back(phi, 1), unrolled(phi, 1), within=1e-9),
        "Not even one lesson is right: total takes the second of the two things that pull(a) gives.",
    )
    expect(
        close(walk_back(phi, 2), unrolled(phi, 2), within=1e-9),
        "One lesson is right, two are not. Are all terms summed, and does a move on by the first of the two?",
    )
    cases = [(phi, 9), (torch.tensor(0.8), 30)]
    expect(
        all(close(walk_back(p, k), unrolled(p, k), within=1e-9) for p, k in cases),
        "Right for two lessons, not for many.",
    )
    return "The same as unrolled, and all it kept was the path."


@graded("Exercise 3")
def check_3(
    neumann: Callable[[Tensor, Tensor, int], Tensor],
    implicit: Callable[[Tensor, int], Tensor],
    truncated: Callable[[Tensor, int, int], Tensor],
    learn: Callable[[Tensor, int], Tensor],
) -> str:
    """The Neumann series tends to implicit, and its first terms are the truncated walk back."""
    phi = torch.tensor(0.3)
    rest = learn(phi, 600)[-1]
    expect(
        close(neumann(rest, phi, 1), truncated(phi, 600, 1), within=1e-9),
        "With one term v is the outer gradient itself: add the term first, then move it on.",
    )
    expect(
        close(neumann(rest, phi, 2), truncated(phi, 600, 2), within=1e-9),
        "The first term is right, the second is not. Each is J transposed (J.T) times the one before.",
    )
    expect(
        close(neumann(rest, phi, 600), implicit(phi, 600), within=1e-9),
        "With many terms it should be the implicit slope, and it is not.",
    )
    return (
        "At rest, n terms are truncated to n lessons, and all of them are implicit. "
        "(Here x and y do not mix, so that J is its own transpose; where they do, only J.T is right.)"
    )
