"""Checks of `02_differentiable_optimizers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bilevel import BilevelProblem, Unrolled
from bilevel.lessons import close, expect, graded
from bilevel.optimizers import momentum


@graded("Exercise 1")
def check_1(slope: Callable[[float, float, float], float]) -> str:
    """The derivative of g / (sqrt(1 - beta) |g| + epsilon) is epsilon over the squared denominator."""

    def truth(g: float, beta: float, epsilon: float) -> float:
        return float(epsilon / ((1 - beta) ** 0.5 * abs(g) + epsilon) ** 2)

    expect(
        close(slope(0.0, 0.99, 0.5), 2.0),
        "At g = 0 the update is g / epsilon to first order: what is its slope there?",
    )
    expect(
        close(slope(3.0, 0.99, 0.5), truth(3.0, 0.99, 0.5)),
        "Right at 0, wrong at g = 3. The denominator depends on g, too: use the quotient rule. "
        "And what is the root of (1 - beta) g^2?",
    )
    expect(
        close(slope(-3.0, 0.99, 0.5), truth(-3.0, 0.99, 0.5)),
        "Right for g > 0, wrong for g < 0. The root of g^2 is |g|, and the update is odd: its slope is even.",
    )
    expect(close(slope(0.7, 0.9, 0.01), truth(0.7, 0.9, 0.01)), "Right for beta = 0.99 only.")
    return "Steep only where the gradient is as small as epsilon over the root of 1 - beta."


@graded("Exercise 2")
def check_2(step: Callable[..., Any], start: dict[str, Tensor], problem_of: Callable[..., Any]) -> str:
    """Ten steps give the library's weights and its derivative in phi."""
    rate, mu, half = 0.05, 0.8, torch.tensor(0.5)
    library = momentum(rate, mu)
    problem: BilevelProblem = problem_of(library)
    true = Unrolled()(problem, start, library.init(start), half, steps=10)

    def first_of_all() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        weights = {name: weight.clone() for name, weight in start.items()}
        return weights, {name: torch.zeros_like(weight) for name, weight in start.items()}

    def ten(phi: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        theta, trace = first_of_all()
        for _ in range(10):
            theta, trace = step(theta, trace, phi, rate, mu)
        return problem.outer_loss(theta, phi, None), theta

    weights, trace = first_of_all()
    first, _ = step(weights, trace, half, rate, mu)
    expect(
        all(torch.equal(start[name], weight) for name, weight in weights.items()),
        "Your step changes its input weights in place. Build new ones.",
    )
    expect(
        all(not weight.any() for weight in trace.values()),
        "Your step changes its input trace in place. Build a new one.",
    )
    slope, theta = torch.func.grad(ten, has_aux=True)(half)
    expect(
        all(not torch.equal(start[name], weight) for name, weight in first.items()),
        "After the first step some weights are unchanged: does the update of theta use the new trace?",
    )
    expect(
        all(close(theta[name], true.theta[name], within=1e-9) for name in start),
        "The weights after ten steps are not those of momentum. Is mu on the trace, the rate on the update?",
    )
    expect(
        close(slope, true.gradient, within=1e-9),
        "The weights are right, the derivative is not: something is detached from the graph.",
    )
    return "The weights are right, and so is the derivative through all steps."


@graded("Exercise 3")
def check_3(
    segmented: Callable[[Tensor, int, int], Tensor], unrolled: Callable[[Tensor, int], Tensor]
) -> str:
    """The same gradient, whichever states are stored."""
    phi = torch.tensor(0.3)
    expect(
        close(segmented(phi, 4, 1), unrolled(phi, 4), within=1e-9),
        "With every = 1 each segment holds just the stored weights, and even that is wrong.",
    )
    expect(
        close(segmented(phi, 6, 3), unrolled(phi, 6), within=1e-9),
        "Right for every = 1, not for every = 3: is each entry one sgd_step after the one before?",
    )
    expect(
        close(segmented(phi, 7, 3), unrolled(phi, 7), within=1e-9),
        "Right for 6 steps in threes, not for 7: the last segment ends where learning ends.",
    )
    return "The same gradient, with a fraction of the memory."
