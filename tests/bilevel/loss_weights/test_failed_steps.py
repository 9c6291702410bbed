"""A step that fails, whenever and wherever it does, leaves everything as it was."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bilevel.loss_weights import HyperParameter, LossWeightTuner
from tests.bilevel.loss_weights.loops import OPTIMIZERS, Regression, regression
from tests.bilevel.loss_weights.test_tuner import two_weights


class NoisyGradient(torch.autograd.Function):
    """A finite value with a gradient that is not a number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * torch.nan


def everything(task: Regression, tuner: LossWeightTuner) -> list[Any]:
    """Copies of all that a step may change."""
    return copy.deepcopy(
        [
            task.model.state_dict(),
            tuner.optimizer.state_dict(),
            tuner.learned.state_dict(),
            tuner.outer_optimizer.state_dict(),
            tuner.steps,
            torch.get_rng_state(),
        ]
    )


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list):
        for each, its in zip(one, other, strict=True):
            assert_same(each, its)
    else:
        assert one == other


def nan_loss(task: Regression) -> dict[str, Tensor]:
    return {name: loss * torch.nan for name, loss in task.losses().items()}


def nan_gradient(task: Regression) -> dict[str, Tensor]:
    losses = task.losses()
    return {**losses, "large": NoisyGradient.apply(losses["large"])}


def lost(task: Regression) -> dict[str, Tensor]:
    task.losses()
    raise KeyError("lost")


@pytest.mark.parametrize("losses", [nan_loss, nan_gradient, lost])
@pytest.mark.parametrize("first", ["weights", "model"])
@pytest.mark.parametrize("steps_before", [0, 1])
def test_a_step_that_fails_changes_nothing(
    losses: Callable[[Regression], Any], first: str, steps_before: int
) -> None:
    """In an outer step, and in one between two of them."""
    task, weights = regression(nn.BatchNorm1d(4), nn.Dropout(0.3)), two_weights()
    tuner = LossWeightTuner(
        task.model,
        OPTIMIZERS["adam"](list(task.model.parameters())),
        weights,
        torch.optim.Adam(weights.parameters(), lr=0.1),
        every=2,
        first=first,  # type: ignore[arg-type]
    )
    for _ in range(steps_before):
        tuner.step(task.losses, task.validation)
    before = everything(task, tuner)
    with pytest.raises((FloatingPointError, KeyError), match=f"is not finite in step {steps_before}|lost"):
        tuner.step(lambda: losses(task), task.validation)
    assert_same(everything(task, tuner), before)
    tuner.step(task.losses, task.validation)
    assert tuner.steps == steps_before + 1


def test_parts_of_a_batch_are_checked_together() -> None:
    task, weights = regression(), two_weights()
    tuner = LossWeightTuner(
        task.model,
        OPTIMIZERS["sgd"](list(task.model.parameters())),
        weights,
        torch.optim.SGD(weights.parameters(), lr=0.1),
        every=3,
        accumulate=2,
    )
    tuner.step([task.losses, task.losses], task.validation)
    before = everything(task, tuner)
    with pytest.raises(FloatingPointError, match="The training loss or its gradient is not finite in step 1"):
        tuner.step([task.losses, lambda: nan_loss(task)], task.validation)
    assert_same(everything(task, tuner), before)


def test_a_loss_that_fails_with_the_new_weights_alone_takes_them_back() -> None:
    """Losses that read a learned number are called again once it has moved."""
    task, weights = regression(), two_weights()
    knob = HyperParameter("temperature", 1.0, "free").double()
    tuner = LossWeightTuner(
        task.model,
        OPTIMIZERS["sgd"](list(task.model.parameters())),
        weights,
        torch.optim.Adam([*weights.parameters(), *knob.parameters()], lr=0.5),
        also=[knob],
    )

    def losses() -> dict[str, Tensor]:
        moved = bool(knob.free.detach() != 1.0)
        return {n: loss * knob() * (torch.nan if moved else 1.0) for n, loss in task.losses().items()}

    before = everything(task, tuner)
    with pytest.raises(FloatingPointError, match="is not finite in step 0"):
        tuner.step(losses, task.validation)
    assert_same(everything(task, tuner), before)
