"""Validation draws from a stream of its own, and training what it draws without a tuner."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from bilevel.loss_weights import Reweighter, SampleWeights
from tests.bilevel.loss_weights.loops import regression
from tests.bilevel.loss_weights.test_tuner import parameters, tuner_of, two_weights

POOL = torch.arange(1000)


def from_torch() -> list[int]:
    return torch.randint(1000, (6,)).tolist()


def from_loader() -> list[int]:
    return next(iter(DataLoader(TensorDataset(POOL), 6, shuffle=True)))[0].tolist()


def from_numpy() -> list[int]:
    return np.random.randint(1000, size=6).tolist()


def from_python() -> list[int]:
    return [random.randrange(1000) for _ in range(6)]


DRAWS: list[Callable[[], list[int]]] = [from_torch, from_loader, from_numpy, from_python]
ESTIMATORS = ["unrolled", "directional", "finite-difference", "implicit", "truncated(steps=1)"]


def minibatches(draw: Callable[[], list[int]], step: Callable[..., Any], task: Any, seen: list[Any]) -> None:
    def validation() -> Tensor:
        seen.append(tuple(draw()))
        return task.validation() * (1 + sum(seen[-1]) / 6000)

    step(task.losses, validation)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_each_outer_step_validates_on_another_minibatch(
    draw: Callable[[], list[int]], estimator: str
) -> None:
    task, batches = regression(), []
    tuner = tuner_of(task, two_weights(), estimator=estimator)
    for _ in range(4):
        seen: list[Any] = []
        minibatches(draw, tuner.step, task, seen)
        assert len(set(seen)) == 1  # every evaluation of one outer step draws the same
        batches.append(seen[0])
    assert len(set(batches)) == 4


@pytest.mark.parametrize("draw", DRAWS)
def test_training_draws_what_it_draws_in_the_plain_loop(draw: Callable[[], list[int]]) -> None:
    def seeded() -> None:
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)

    def drawn(task: Any) -> dict[str, Tensor]:
        factor = 1 + sum(draw()) / 6000
        return {name: factor * loss for name, loss in task.losses().items()}

    tuned = regression()
    plain, weights = copy.deepcopy(tuned), two_weights()
    before = np.random.get_state(), random.getstate()
    for estimator in ESTIMATORS:
        of = copy.deepcopy(tuned)
        tuner = tuner_of(of, copy.deepcopy(weights), "adam", rate=0.0, estimator=estimator)
        seeded()
        for _ in range(3):
            tuner.step(lambda of=of: drawn(of), lambda of=of: of.validation() * (1 + sum(draw())))
        after = torch.rand(3), np.random.rand(3).tolist(), random.random()
        own_task = copy.deepcopy(plain)
        own = torch.optim.Adam(own_task.model.parameters(), lr=0.05, eps=1e-3)
        seeded()
        for _ in range(3):
            own.zero_grad()
            weights(drawn(own_task)).backward()
            own.step()
        assert torch.equal(after[0], torch.rand(3))
        assert after[1:] == (np.random.rand(3).tolist(), random.random())
        assert torch.equal(parameters(of.model), parameters(own_task.model)), estimator
    np.random.set_state(before[0])
    random.setstate(before[1])


def test_the_validation_stream_is_saved_and_resumed() -> None:
    task, seen = regression(), []
    tuner = tuner_of(task, two_weights())
    minibatches(from_torch, tuner.step, task, seen)
    saved = copy.deepcopy(tuner.state_dict())
    torch.manual_seed(5)
    again = tuner_of(task, two_weights())
    again.load_state_dict(saved)
    for each in (tuner, again):
        minibatches(from_torch, each.step, task, seen)
    assert seen[1] == seen[2] != seen[0]
    del saved["validation_seed"]  # as saved by earlier versions
    again.load_state_dict(saved)
    minibatches(from_torch, again.step, task, seen)


def test_the_validation_stream_follows_torchs_seed() -> None:
    seen: list[Any] = []
    for seed in (3, 3, 4):
        task = regression()
        torch.manual_seed(seed)
        minibatches(from_torch, tuner_of(task, two_weights()).step, task, seen)
    assert seen[0] == seen[1] != seen[2]


@pytest.mark.parametrize("draw", DRAWS)
def test_the_reweighter_validates_on_other_minibatches_too(draw: Callable[[], list[int]]) -> None:
    task, seen = regression(), []
    task.losses = task.each  # type: ignore[assignment,method-assign]
    reweighter = Reweighter(task.model, torch.optim.SGD(task.model.parameters(), lr=0.1))
    for _ in range(3):
        minibatches(draw, reweighter.step, task, seen)
    assert len(set(seen)) == 3
    resumed = Reweighter(task.model, torch.optim.SGD(task.model.parameters(), lr=0.1))
    resumed.load_state_dict(reweighter.state_dict())
    for each in (reweighter, resumed):
        minibatches(draw, each.step, task, seen)
    assert seen[3] == seen[4]


def test_sample_weights_meet_many_validation_samples() -> None:
    """The report: 20 steps that draw 8 of 1000 samples saw one minibatch."""
    task, seen = regression(), set()
    tuner = tuner_of(task, SampleWeights((3,)).double())

    def validation() -> Tensor:
        seen.update(torch.randint(1000, (8,)).tolist())
        return task.validation()

    for _ in range(20):
        tuner.step(task.each, validation)
    assert len(seen) > 120
