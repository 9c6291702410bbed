"""The way in for existing loops agrees with the functional way: the same step, one by higher, one ours."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from bilevel.core import inner_step
from bilevel.hypergradient import BilevelProblem, FixedData, RecordedData, Unrolled
from bilevel.loss_weights import LossWeights, LossWeightTuner
from bilevel.optimizers import GradientTransformation, adam, adamw, momentum, rmsprop, sgd
from tests.bilevel.loss_weights.loops import OPTIMIZERS, regression

OURS: dict[str, Callable[[], GradientTransformation]] = {
    "sgd": lambda: sgd(0.1),
    "momentum": lambda: momentum(0.1, 0.9, dampening=0.3, weight_decay=0.1),
    "nesterov": lambda: momentum(0.1, 0.9, nesterov=True),
    "adam": lambda: adam(0.05, epsilon=1e-3),
    "adamw": lambda: adamw(0.05, weight_decay=0.1, epsilon=1e-3),
    "rmsprop": lambda: rmsprop(0.05, epsilon=1e-3),
    "rmsprop centered": lambda: rmsprop(0.05, epsilon=1e-3, centered=True, momentum=0.5, weight_decay=0.1),
}
NAMES = ("square", "large")
STEPS = 3


@pytest.mark.parametrize("name", OURS)
def test_both_ways_agree(name: str) -> None:
    task, weights = regression(), LossWeights(NAMES, {"square": 0.7, "large": 1.3}).double()
    theta = {key: value.detach().clone() for key, value in task.model.named_parameters()}
    free = weights.free.detach().clone()

    def square(theta: dict[str, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        return (functional_call(task.model, theta, (data[0],)) - data[1]).square().mean()

    def training(theta: dict[str, Tensor], phi: Tensor, data: tuple[Tensor, Tensor]) -> Tensor:
        out = functional_call(task.model, theta, (data[0],))
        large = torch.nn.functional.huber_loss(out, data[1].roll(1, 0))
        losses = {"square": square(theta, data), "large": large}
        return functional_call(weights, {"free": phi}, (losses,))

    optimizer = OURS[name]()
    problem = BilevelProblem(
        step=inner_step(training, optimizer),
        outer_loss=lambda theta, phi, data: square(theta, data),
        inner_data=RecordedData(tuple(task.batches[:STEPS])),
        outer_data=FixedData(task.held_out),
    )
    expected = Unrolled()(problem, theta, optimizer.init(theta), free, steps=STEPS).gradient

    tuner = LossWeightTuner(
        task.model,
        OPTIMIZERS[name](list(task.model.parameters())),
        weights,
        torch.optim.SGD(weights.parameters(), lr=1.0),
        virtual_steps=STEPS,
    )
    tuner.step([task.loss_of(index) for index in range(STEPS)], task.validation)
    torch.testing.assert_close(free - weights.free.detach(), expected, rtol=1e-8, atol=1e-12)
