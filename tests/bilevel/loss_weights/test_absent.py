"""A loss that a batch lacks: the sum is that of the others, and its weight stays where it is."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bilevel.loss_weights import (
    LossNetwork,
    LossWeights,
    LossWeightTuner,
    SampleWeights,
    ScheduledLossWeights,
)
from tests.bilevel.loss_weights.loops import Regression, regression
from tests.bilevel.loss_weights.test_tuner import NAMES, two_weights

OUTER: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "adam": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
}


def tuner_of(
    task: Regression, weights: nn.Module, outer: str = "adam", **settings: object
) -> LossWeightTuner:
    optimizer = torch.optim.SGD(task.model.parameters(), lr=0.1)
    return LossWeightTuner(
        task.model, optimizer, weights, OUTER[outer](list(weights.parameters())), **settings
    )  # type: ignore[arg-type]


def only(task: Regression, *names: str) -> Callable[[], dict[str, Tensor]]:
    return lambda: {name: loss for name, loss in task.losses().items() if name in names}


def test_the_sum_is_that_of_the_losses_that_are_there() -> None:
    weights = LossWeights(["a", "b", "c"], {"a": 2.0, "b": 3.0, "c": 5.0}, "free")
    losses = {"c": torch.tensor(7.0), "a": torch.tensor(11.0)}
    total = weights(losses)
    assert total.item() == 2 * 11 + 5 * 7
    total.backward()
    assert weights.free.grad is not None
    assert weights.free.grad.tolist() == [11, 0, 7]


@pytest.mark.parametrize("estimator", ["unrolled", "directional", "truncated(steps=1)", "implicit"])
@pytest.mark.parametrize("outer", OUTER)
def test_the_weight_of_an_absent_loss_is_left_alone(outer: str, estimator: str) -> None:
    """With momentum and decay above, too, and so is what these remember; the other weight moves."""
    task, weights = regression(), two_weights()
    tuner = tuner_of(task, weights, outer, estimator=estimator)
    for _ in range(2):
        tuner.step(task.losses, task.validation)
    before = weights.free.detach().clone()
    remembered = copy.deepcopy(tuner.outer_optimizer.state[weights.free])
    tuner.step(only(task, "large"), task.validation)
    assert weights.free[0] == before[0]
    assert weights.free[1] != before[1]
    averages = {k: v for k, v in tuner.outer_optimizer.state[weights.free].items() if v.ndim}
    assert averages
    for name, average in averages.items():
        assert average[0] == remembered[name][0]
        assert average[1] != remembered[name][1]
    tuner.step(task.losses, task.validation)
    assert (weights.free != before).all()


def test_the_model_takes_the_step_of_the_losses_that_are_there() -> None:
    tuned, plain = regression(), regression()
    tuner = tuner_of(tuned, two_weights())
    tuner.step(only(tuned, "square"), tuned.validation)
    learned = tuner.weights.values()[0].detach()  # type: ignore[operator]
    (learned * plain.losses()["square"]).backward()
    torch.optim.SGD(plain.model.parameters(), lr=0.1).step()
    for ours, theirs in zip(tuned.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_loss_that_any_virtual_step_has_is_there() -> None:
    task, weights = regression(), two_weights()
    tuner = tuner_of(task, weights, virtual_steps=2)
    before = weights.free.detach().clone()
    tuner.step([only(task, "square"), only(task, "large")], task.validation)
    assert (weights.free != before).all()


def test_schedules_leave_every_knot_of_an_absent_loss_alone() -> None:
    task, weights = regression(), ScheduledLossWeights(NAMES, knots=(0, 4)).double()
    tuner = tuner_of(task, weights)
    tuner.step(only(task, "square"), task.validation)
    tuner.step(only(task, "square"), task.validation)
    assert torch.equal(weights.free[:, 1], ScheduledLossWeights(NAMES, knots=(0, 4)).double().free[:, 1])
    assert (weights.free[:, 0] != weights.free[:, 1]).all()


def test_a_network_of_losses_needs_all_of_them() -> None:
    network = LossNetwork(NAMES, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="each loss needs a weight, and each weight a loss"):
        network({"square": torch.tensor(1.0)})


def test_samples_of_several_tasks_are_one_batch() -> None:
    weights, losses = SampleWeights((5,)), {"a": torch.rand(4), "b": torch.rand(7)}
    with pytest.raises(
        ValueError, match=r"the losses are a dict: use torch\.cat\(list\(losses\.values\(\)\)\)"
    ):
        weights(losses)
    assert weights(torch.cat(list(losses.values()))).ndim == 0
