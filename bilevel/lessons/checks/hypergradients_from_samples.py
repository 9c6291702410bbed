"""Checks of `13_hypergradients_from_samples`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bilevel.lessons import close, expect, graded, parts, single


def _second_derivatives(theta: float, heads: float, tails: float) -> tuple[float, float]:
    p = 1 / (1 + math.exp(-theta))
    return p * (1 - p) * (1 - 2 * p) * (heads - tails), -p * (1 - p) * (p * heads + (1 - p) * tails)


@graded("Exercise 1")
def check_1(second_derivatives: Callable[[float, float, float], Any]) -> str:
    """The second derivatives of a coin's expected reward and of its surrogate."""

    def both(*case: float) -> list[Any]:
        return parts(second_derivatives(*case), 2, "Return two numbers: the true one, then the surrogate's.")

    expect(
        close(both(0.0, 2.0, 0.0)[0], 0.0),
        "At theta = 0 the logistic function is steepest: what is the second derivative of the expected "
        "reward there?",
    )
    expect(
        close(both(-1.0, 3.0, 3.0)[0], 0.0),
        "If heads and tails pay the same, theta has no effect at all, and the first number must be 0.",
    )
    cases = [(-1.0, 4.0, 1.0), (0.7, -2.0, 1.5), (2.0, 14.0, 11.0)]
    expect(
        all(close(both(*case)[0], _second_derivatives(*case)[0]) for case in cases),
        "The first number is not right everywhere: differentiate p (1 - p) (heads - tails) once more.",
    )
    expect(
        all(close(both(*case)[1], _second_derivatives(*case)[1]) for case in cases),
        "The first number is right, the second is not. Here only the scores are differentiated, and the two "
        "probabilities are constant weights.",
    )
    return (
        "The surrogate's second derivative contains the mean reward, so a constant added to all rewards "
        "changes it."
    )


@graded("Exercise 2")
def check_2(crossover: Callable[[float, float, float], float]) -> str:
    """The number of episodes with equal mean squared errors."""
    expect(
        close(crossover(0.1, 1.0, 1.0), 0.0) and close(crossover(0.1, 2.0, 1.0), 0.0),
        "Without more noise the unbiased one is never worse: the answer must be 0.",
    )
    expect(
        close(crossover(0.5, 0.0, 1.0), 4.0),
        "Try bias 0.5 and noise 0: the errors are 0.25 and 1 / n. At which n are they equal?",
    )
    cases = [(0.2, 1.4, 1.9), (-0.2, 1.4, 1.9), (0.05, 2.0, 10.0), (3.0, 1.0, 1.5)]
    expect(
        all(close(crossover(b, s, t), (t * t - s * s) / b**2) for b, s, t in cases),
        "Right without noise, wrong with it. Add squared bias and variance of each estimator, and set the "
        "sums equal.",
    )
    return (
        "With fewer episodes the bias costs less than the noise; with more the unbiased estimator is better."
    )


@graded("Exercise 3")
def check_3(best_baseline: Callable[[Tensor, Tensor, Tensor], float]) -> str:
    """The baseline of minimal variance is the mean reward weighted by the squared score."""
    generator = torch.Generator().manual_seed(0)

    def case(actions: int) -> tuple[Tensor, Tensor, Tensor]:
        probs = torch.rand(actions, generator=generator, dtype=torch.float64)
        probs = probs / probs.sum()
        scores = torch.randn(actions, generator=generator, dtype=torch.float64)
        rewards = torch.randn(actions, generator=generator, dtype=torch.float64) + 3
        return probs, scores - probs @ scores, rewards

    def variance(b: Any, probs: Tensor, scores: Tensor, rewards: Tensor) -> Tensor:
        return torch.as_tensor(probs @ (scores * (rewards - b)) ** 2 - (probs @ (scores * rewards)) ** 2)

    for actions in (2, 3, 7):
        probs, scores, rewards = case(actions)
        weights = probs * scores**2
        truth = weights @ rewards / weights.sum()
        answer = best_baseline(probs, scores, rewards)
        number = single(answer, "Return one number, the same baseline for all actions.")
        if close(number, truth, within=1e-4):
            continue
        expect(
            not close(number, probs @ rewards),
            "This is the mean reward. Its variance is lower than without a baseline, but not minimal: "
            "actions with a large score contribute more to it.",
        )
        expect(
            abs(float(number)) < 1e6,
            "The mean of the scores is 0 up to rounding, so it cannot be a denominator. "
            "Set the derivative of E[g^2] in b to 0.",
        )
        expect(
            False,
            f"With {actions} actions the variance is {float(variance(number, probs, scores, rewards)):.4f}; "
            "there is a baseline with less. Set the derivative of E[g^2] in b to 0.",
        )
    return "The mean reward, weighted by the squared score: it protects the estimate from large scores."


@graded("Exercise 4")
def check_4(
    evolution_common: Callable[[Callable[[Tensor, int], Tensor], Tensor, float, int, int], Tensor],
) -> str:
    """Antithetic pairs with a common seed, other pairs with other seeds."""
    phi = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    slope = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    seen: list[tuple[Any, Tensor]] = []

    def record(at: Tensor, seed: int) -> Tensor:
        seen.append((int(seed), at.detach().clone()))
        return slope @ at

    found = evolution_common(record, phi, 0.1, 2000, 0)
    expect(len(seen) == 4000, f"2000 pairs are 4000 calls of F, but there were {len(seen)}.")
    seeds = [seed for seed, _ in seen]
    counts = Counter(seeds)
    expect(
        all(count % 2 == 0 for count in counts.values()),
        "Some seed has no partner: the two members of a pair must share theirs.",
    )
    expect(
        len(counts) > 1900,
        "Several pairs share a seed: then the noise of F does not average out over pairs.",
    )
    by_seed: dict[int, list[Tensor]] = {}
    for seed, at in seen:
        by_seed.setdefault(seed, []).append(at)
    expect(
        all(close(torch.stack(both).mean(0), phi) for both in by_seed.values()),
        "The two calls with the same seed must be at phi + sigma noise and phi - sigma noise.",
    )
    expect(
        len({tuple(at.tolist()) for _, at in seen}) > 3800,
        "Several pairs have the same perturbation: draw new noise for each pair.",
    )
    spread = torch.stack([at - phi for _, at in seen]).std(0)
    expect(
        close(spread, torch.full((3,), 0.1), within=0.02),
        "The perturbations have the wrong size: they are sigma times noise.",
    )
    expect(
        close(found, slope, within=0.3),
        "For a linear F the mean over many pairs must be its slope, and yours is not. Look at the "
        "denominator 2 sigma, at the sign, at the factor noise, and at the sum over all pairs.",
    )

    def noisy(at: Tensor, seed: int) -> Tensor:
        noise = torch.randn((), generator=torch.Generator().manual_seed(int(seed)), dtype=torch.float64)
        return slope @ at + 1000 * noise

    expect(
        close(evolution_common(noisy, phi, 0.1, 2000, 1), slope, within=0.3),
        "With noise that depends on the seed alone the estimate changes: it should cancel within a pair.",
    )
    return (
        "What both members of a pair have in common cancels. With sampled actions most of them are then "
        "the same in both, and only those that the perturbation changes make a difference."
    )
