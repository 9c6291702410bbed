"""Checks of `15_experts_routers_and_curricula`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bilevel.lessons import close, expect, graded, parts, single


@graded("Exercise 1")
def check_1(smallest_lead: Callable[[float], float], entmax: Callable[[Tensor, float], Tensor]) -> str:
    """The second gate is 0 from a lead of 1 / (alpha - 1) on."""
    expect(
        close(single(smallest_lead(2.0)), 1.0, within=1e-4),
        "Try sparsemax, alpha = 2: gates are z - tau where positive. Which tau gives the gates 1 and 0?",
    )
    expect(
        close(single(smallest_lead(1.5)), 2.0, within=1e-4),
        "Right for sparsemax, not for alpha = 1.5. The scores are multiplied by alpha - 1 before tau.",
    )
    for alpha in (1.1, 1.25, 1.8):
        lead = float(single(smallest_lead(alpha)))
        expect(close(lead, 1 / (alpha - 1), within=1e-4), "Right for two values of alpha, not for others.")
        inside = entmax(torch.tensor([lead - 0.3, 0.0], dtype=torch.float64), alpha)
        expect(float(inside[1]) > 0, "With a smaller lead the gate is already 0.")
    return "As alpha approaches 1 (softmax), the lead becomes infinite: softmax gates are never 0."


@graded("Exercise 2")
def check_2(partial_collapse: Callable[[int, int], Any]) -> str:
    """(used, N / used - 1, N / used, N / used - 1)."""
    ask = "Return four numbers: effective experts, MaxVio, Switch, importance."
    names = ("effective number of experts", "MaxVio", "Switch loss", "importance loss")
    hints = (
        "is the exponential of an entropy: of equal shares of the experts in use.",
        "compares the largest load, 1 / used, with the mean load, 1 / N.",
        "is N times a sum over the experts in use, each with f = P = 1 / used.",
        "is a variance over all N experts: some have 0, the others N / used times the mean.",
    )
    for count, used in ((4, 4), (4, 1), (4, 2), (12, 3)):
        truth = (used, count / used - 1, count / used, count / used - 1)
        answer = parts(partial_collapse(count, used), 4, ask)
        for name, hint, value, right in zip(names, hints, answer, truth, strict=True):
            wrong = f"N = {count} and used = {used}: the {name} {hint}"
            expect(close(value, float(right)), wrong)
    return "All four measure the same collapse here; with unequal loads they differ."


@graded("Exercise 3")
def check_3(
    router_slopes: Callable[[Tensor, Tensor, float, float], Any],
    entmax: Callable[[Tensor, float], Tensor],
) -> str:
    """(y - t) s_e (y_e - mean of outputs weighted by s)."""
    generator = torch.Generator().manual_seed(0)
    for alpha in (1.0, 2.0, 1.5):
        for _ in range(3):
            z, outputs = torch.randn(2, 5, generator=generator, dtype=torch.float64)
            t = 0.7

            def loss(z: Tensor, outputs: Tensor = outputs, t: float = t, alpha: float = alpha) -> Tensor:
                return (entmax(z, alpha) @ outputs - t) ** 2 / 2

            p, truth = entmax(z, alpha), torch.func.grad(loss)(z)
            answer = torch.as_tensor(router_slopes(p, outputs, t, alpha))
            expect(answer.shape == (5,), "Five experts have five slopes.")
            opposite = bool(truth.abs().max() > 1e-3) and close(answer, -truth, within=1e-5)
            expect(not opposite, "The signs are wrong: the derivative of L, not of -L.")
            by_gate = (p @ outputs - t) * outputs
            expect(
                not close(answer, by_gate, within=1e-5),
                "That is the derivative in the gates. Multiply by the boxed Jacobian.",
            )
            expect(
                bool((answer[p == 0] == 0).all()),
                "An expert with the gate 0 has the slope 0: s is 0 there (and 0 ** 0 is 1).",
            )
            expect(
                close(answer, truth, within=1e-5),
                f"Wrong for alpha = {alpha:g}: the chain rule is (y - t) times outputs times Jacobian.",
            )
    one = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    single = router_slopes(one, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), 0.0, 2.0)
    expect(close(single, [0.0, 0.0, 0.0]), "With a single active expert the router learns nothing.")
    return (
        "A score rises where the expert's output would correct the error more than the active experts' mean."
    )


@graded("Exercise 4")
def check_4(
    fair_difference: Callable[[Tensor, Tensor, int], Any], curriculum: Tensor, balanced: Tensor
) -> str:
    """Each router's own best setting on the tuning seeds; the difference on the others."""
    first = torch.tensor([[0.9, 0.9, 0.1, 0.2], [0.5, 0.6, 0.7, 0.9]], dtype=torch.float64)
    second = torch.tensor([[0.1, 0.2, 0.9, 0.9], [0.8, 0.8, 0.4, 0.2]], dtype=torch.float64)
    answer = single(
        fair_difference(first, second, 2), "Return one number: the mean over the remaining seeds."
    )
    expect(not close(answer, 0.15), "The sign: first minus second.")
    expect(
        not close(answer, 0.15 - 0.9) and not close(answer, 0.8 - 0.3) and not close(answer, 0.8 - 0.9),
        "Each router's rate must be chosen on the tuning seeds, and each router has its own best rate.",
    )
    expect(
        not close(answer, 0.1), "That is the difference on the tuning seeds: the best of several is too high."
    )
    expect(
        close(answer, -0.15),
        "Choose a row by the mean of the first `tuning` columns; compare them in the other columns.",
    )
    generator = torch.Generator().manual_seed(0)
    for tuning in (1, 3, 6):
        one, two = torch.rand(2, 4, 9, generator=generator, dtype=torch.float64)
        rows = [values[values[:, :tuning].mean(1).argmax(), tuning:] for values in (one, two)]
        wrong = "Right for two rates and two tuning seeds, not for others."
        expect(close(single(fair_difference(one, two, tuning)), float((rows[0] - rows[1]).mean())), wrong)
    tuning = curriculum.shape[1] // 2
    points = 100 * float(single(fair_difference(curriculum, balanced, tuning)))
    return f"Here, with {tuning} tuning seeds: curriculum minus sparsemax + Switch is {points:+.1f} points."
