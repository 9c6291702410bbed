"""How far the estimators are from finite differences, from closed forms, and from their own claims."""

from __future__ import annotations

from typing import Any

import torch

from bilevel.core import inner_step
from bilevel.hypergradient import (
    BilevelProblem,
    Evolution,
    Forward,
    Implicit,
    Truncated,
    Unrolled,
    check_hypergradient,
)
from bilevel.optimizers import GradientTransformation, make_optimizer, sgd
from tests.benchmarks.case import Case
from tests.benchmarks.peers.ours import bilevel_problem
from tests.benchmarks.problems import dilemma

STEPS = 10
RATES = {"sgd": 0.1, "momentum": 0.05, "adam": 0.05, "adamw": 0.05, "rmsprop": 0.02}
WIDTH = 2e-3
"""Of the differences, at this and at half of it, from which the error of order WIDTH^2 is then removed: Adam
amplifies rounding so much that narrower ones of second order would not see 1e-7."""
SEEDS = 256
"""Members whose gradients evolution's intervals are held against."""


def measure_accuracy() -> list[dict[str, Any]]:
    """Measure every estimator: rows of "estimator", "against", "error" and the "most" it may be."""
    exact = [_against_differences(f"unrolled, {name}", Unrolled(), name) for name in RATES]
    return [
        *exact,
        _against_differences("forward, sgd", Forward(batch_dims=1), "sgd"),
        _against_differences(f"truncated, k = K = {STEPS}, sgd", Truncated(steps=STEPS), "sgd"),
        _implicit_on_quadratic(),
        _evolution_within_interval(),
    ]


def _against_differences(name: str, estimator: Any, optimizer: str) -> dict[str, Any]:
    problem, inner, setting = _dilemma(2, make_optimizer(optimizer, learning_rate=RATES[optimizer]))
    start = setting.theta, inner.init(setting.theta), setting.phi
    wide, narrow = (
        check_hypergradient(problem, *start, steps=STEPS, estimator=estimator, epsilon=epsilon)
        for epsilon in (WIDTH, WIDTH / 2)
    )
    expected = (4 * narrow.differences - wide.differences) / 3
    error = float((wide.estimated - expected).norm() / expected.norm())
    return {"estimator": name, "against": "finite differences, float64", "error": error, "most": 1e-7}


def _dilemma(seeds: int, inner: GradientTransformation) -> tuple[BilevelProblem, GradientTransformation, Any]:
    setting = dilemma.setting(Case(problem="dilemma", size=seeds, steps=STEPS))
    return bilevel_problem(setting, inner, STEPS), inner, setting


def _implicit_on_quadratic() -> dict[str, Any]:
    """theta* = A^-1 phi for the loss theta' A theta / 2 - phi' theta; the outer loss is |theta - t|^2 / 2."""
    generator = torch.Generator().manual_seed(0)
    root, phi, target = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((5, 5), (5,), (5,))
    )
    matrix = root @ root.T + 5 * torch.eye(5, dtype=torch.float64)
    inner = sgd(0.05)
    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: 0.5 * theta @ matrix @ theta - phi @ theta, inner),
        outer_loss=lambda theta, phi, data: 0.5 * (theta - target).square().sum(),
    )
    theta = torch.zeros(5, dtype=torch.float64)
    found = Implicit()(problem, theta, inner.init(theta), phi, steps=500).gradient
    expected = torch.linalg.solve(matrix, torch.linalg.solve(matrix, phi) - target)
    error = float((found - expected).norm() / expected.norm())
    return {"estimator": "implicit, gmres", "against": "closed form, quadratic", "error": error, "most": 1e-8}


def _evolution_within_interval() -> dict[str, Any]:
    """Count the exact entries outside 1.96 standard errors: 5 % is what the interval promises."""
    problem, inner, setting = _dilemma(SEEDS, sgd(RATES["sgd"]))
    start = setting.theta, inner.init(setting.theta), setting.phi
    estimate = Evolution(samples=512, sigma=0.01, members=True)(problem, *start, steps=STEPS)
    exact = Unrolled()(problem, *start, steps=STEPS).gradient
    outside = (estimate.gradient - exact).abs() > 1.96 * estimate.standard_error
    return {
        "estimator": "evolution, 512 samples",
        "against": "entries outside its own 95 % interval",
        "error": float(outside.double().mean()),
        "most": 0.08,
    }
