"""What is learned follows the losses to their device; meta tensors stand in where there is no accelerator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bilevel.loss_weights import (
    DynamicAverage,
    GradNorm,
    HyperParameter,
    LossNetwork,
    LossWeights,
    LossWeightTuner,
    SampleWeights,
    ScheduledLossWeights,
    Uncertainty,
    Weighting,
)

NAMES = ("one", "other")


def of_names() -> dict[str, Tensor]:
    return {name: torch.zeros((), device="meta") for name in NAMES}


@pytest.mark.parametrize(
    ("make", "losses"),
    [
        (lambda: LossWeights(NAMES), of_names),
        (lambda: ScheduledLossWeights(NAMES, (0, 5)), of_names),
        (lambda: LossNetwork(NAMES, generator=torch.Generator()), of_names),
        (lambda: SampleWeights((3,)), lambda: torch.zeros(5, device="meta")),
        (lambda: SampleWeights((3,), normalize=False), lambda: torch.zeros(5, device="meta")),
    ],
)
def test_weights_follow_the_losses(make: Callable[[], nn.Module], losses: Callable[[], Any]) -> None:
    weights = make()
    total = weights(losses())
    assert total.device.type == "meta"
    assert total.requires_grad
    assert all(p.device.type == "cpu" for p in weights.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "estimator", ["unrolled", "directional", "finite-difference", "implicit", "one-step"]
)
@pytest.mark.parametrize(
    "make",
    [lambda: LossWeights(NAMES), lambda: SampleWeights((3,)), lambda: ScheduledLossWeights(NAMES, (0, 5))],
)
def test_steps_on_cuda_with_weights_on_the_cpu(make: Callable[[], nn.Module], estimator: str) -> None:
    torch.manual_seed(0)
    model, weights, rate = nn.Linear(3, 2).cuda(), make(), HyperParameter("rate", 0.1)
    x, y = torch.randn(8, 3, device="cuda"), torch.randn(8, 2, device="cuda")
    learns = [] if estimator == "implicit" else [rate]
    outer = [*weights.parameters(), *(p for module in learns for p in module.parameters())]
    tuner = LossWeightTuner(
        model,
        torch.optim.Adam(model.parameters()),
        weights,
        torch.optim.SGD(outer, lr=1.0),
        learning_rate=rate if learns else None,
        estimator=estimator,
    )
    each = lambda: (model(x) - y).square().mean(-1)  # noqa: E731
    losses = (
        each
        if isinstance(weights, SampleWeights)
        else lambda: {"one": each().mean(), "other": model(x).mean()}
    )
    before = [p.detach().clone() for p in outer]
    tuner.step(losses, lambda: (model(x[:4]) - y[:4]).square().mean())
    assert any((a != b).any() for a, b in zip(before, outer, strict=True))
    assert all(p.device.type == "cpu" for p in outer)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "make",
    [
        lambda shared: Uncertainty(NAMES),
        lambda shared: DynamicAverage(NAMES, epoch=1),
        lambda shared: GradNorm(NAMES, shared),
    ],
)
def test_rules_on_cuda(make: Callable[[list[Tensor]], Weighting]) -> None:
    model = nn.Linear(3, 2).cuda()
    rule, x = make(list(model.parameters())), torch.randn(8, 3, device="cuda")
    for _ in range(3):
        rule.descend({name: model(x).square().mean() for name in NAMES}, list(model.parameters()))
        rule.advance()
