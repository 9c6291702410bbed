"""Learning rate schedulers beside the tuner: followed, or refused where the rate is learned."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch.optim import lr_scheduler

from bilevel.loss_weights import HyperParameter, LossWeightTuner
from tests.bilevel.loss_weights.loops import Regression, regression
from tests.bilevel.loss_weights.test_tuner import parameters, tuner_of, two_weights

SCHEDULERS: list[Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]] = [
    lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.5),
    lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step)),
    lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10),
]


def learning(task: Regression) -> tuple[LossWeightTuner, HyperParameter]:
    rate, weights = HyperParameter("rate", 0.1).double(), two_weights()
    outer = torch.optim.SGD([*weights.parameters(), *rate.parameters()], lr=0.1)
    optimizer = torch.optim.SGD(task.model.parameters(), lr=0.7, momentum=0.9)
    return LossWeightTuner(task.model, optimizer, weights, outer, learning_rate=rate), rate


@pytest.mark.parametrize("schedule", SCHEDULERS)
def test_a_scheduler_beside_a_learned_rate_is_refused(
    schedule: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler],
) -> None:
    task = regression()
    tuner, _ = learning(task)
    scheduler = schedule(tuner.optimizer)
    tuner.step(task.losses, task.validation)
    scheduler.step()
    before = copy.deepcopy([parameters(task.model), parameters(tuner.learned)])
    with pytest.raises(
        ValueError, match=r"that of group 0 was changed from .*, as schedulers do, .* leave out"
    ):
        tuner.step(task.losses, task.validation)
    assert all(map(torch.equal, before, [parameters(task.model), parameters(tuner.learned)]))


@pytest.mark.parametrize("schedule", SCHEDULERS)
def test_a_scheduler_without_a_learned_rate_is_followed(
    schedule: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler],
) -> None:
    tuned, weights = regression(), two_weights()
    plain = copy.deepcopy(tuned)
    tuner = tuner_of(tuned, weights, "momentum", rate=0.0)
    scheduler = schedule(tuner.optimizer)
    own = torch.optim.SGD(plain.model.parameters(), lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.1)
    other = schedule(own)
    for _ in range(3):
        tuner.step(tuned.losses, tuned.validation)
        scheduler.step()
        own.zero_grad()
        weights(plain.losses()).backward()
        own.step()
        other.step()
    assert torch.equal(parameters(tuned.model), parameters(plain.model))


def test_a_learned_rate_is_resumed() -> None:
    task = regression()
    tuner, _ = learning(task)
    tuner.step(task.losses, task.validation)
    saved = copy.deepcopy((task.model.state_dict(), tuner.optimizer.state_dict(), tuner.state_dict()))
    tuner.step(task.losses, task.validation)
    again = regression()
    for resumed, of in ((tuner, task), (learning(again)[0], again)):
        of.model.load_state_dict(saved[0])
        resumed.optimizer.load_state_dict(copy.deepcopy(saved[1]))
        resumed.load_state_dict(copy.deepcopy(saved[2]))
        resumed.step(of.losses, of.validation)
    assert torch.equal(parameters(task.model), parameters(again.model))
