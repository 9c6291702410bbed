"""How often losses are called, and what is refused where a second call gives something else."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bilevel.loss_weights import HyperParameter
from tests.bilevel.loss_weights.loops import Regression, regression
from tests.bilevel.loss_weights.test_tuner import parameters, tuner_of, two_weights

ONCE = ["unrolled", "implicit"]
SEVERAL = [
    "directional",
    "finite-difference",
    "truncated(steps=1)",
    "forward",
    "one-step",
    "finite-difference()",
]


def from_iterator(task: Regression) -> Callable[[], dict[str, Tensor]]:
    """Losses of the next batch, whichever that is."""

    def batches() -> Iterator[int]:
        while True:
            yield from range(4)

    order = batches()
    return lambda: task.losses(next(order))


def from_generator(task: Regression) -> Callable[[], dict[str, Tensor]]:
    """Losses of a batch that an own generator draws."""
    generator = torch.Generator().manual_seed(0)
    noise = lambda: 1 + torch.rand((), generator=generator).double()  # noqa: E731
    return lambda: {name: noise() * loss for name, loss in task.losses().items()}


@pytest.mark.parametrize("draw", [from_iterator, from_generator])
@pytest.mark.parametrize("estimator", SEVERAL)
def test_losses_that_draw_for_themselves_are_refused(estimator: str, draw: Any) -> None:
    task, weights = regression(), two_weights()
    before = copy.deepcopy([task.model.state_dict(), weights.state_dict()])
    with pytest.raises(
        ValueError,
        match=r"The training loss differs when it is called again .* several times a step: .* `batch = next",
    ):
        tuner_of(task, weights, estimator=estimator).step(draw(task), task.validation)
    for old, new in zip(before, [task.model.state_dict(), weights.state_dict()], strict=True):
        assert all(torch.equal(old[name], new[name]) for name in old)


@pytest.mark.parametrize("estimator", ONCE)
def test_where_each_loss_is_called_once_nothing_is_lost(estimator: str) -> None:
    """The weights and the model learn what they learn from batches drawn before the step."""
    found = []
    for own in (True, False):
        task, weights = regression(), two_weights()
        tuner, losses = tuner_of(task, weights, estimator=estimator), from_iterator(task)
        for index in (0, 1, 2, 3, 0):
            tuner.step(losses if own else task.loss_of(index), task.validation)
        found.append((parameters(task.model), parameters(weights)))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_drawing_functions_for_several_virtual_steps_are_refused() -> None:
    """One function stands for the same batch in every step; and several are compared in the first step."""
    task = regression()
    losses = from_iterator(task)
    each: list[Callable[[], dict[str, Tensor]]] = [lambda: losses() for _ in range(3)]
    for drawing in (losses, each):
        with pytest.raises(ValueError, match="The training loss differs when it is called again"):
            tuner_of(task, two_weights(), virtual_steps=3).step(drawing, task.validation)
    tuner_of(task, two_weights(), virtual_steps=3).step(task.losses, task.validation)


def test_losses_that_read_what_is_learned_are_called_again() -> None:
    task, weights, knob = regression(), two_weights(), HyperParameter("scale", 1.0).double()
    outer = torch.optim.SGD([*weights.parameters(), *knob.parameters()], lr=0.1)
    tuner = tuner_of(task, weights)
    tuner = type(tuner)(task.model, tuner.optimizer, weights, outer, also=[knob])
    losses = from_iterator(task)
    with pytest.raises(ValueError, match="The training loss differs when it is called again"):
        tuner.step(lambda: {n: loss * knob() for n, loss in losses().items()}, task.validation)
    with pytest.raises(ValueError, match="The training loss differs when it is called again"):
        tuner_of(task, weights).step(
            lambda: {n: loss * weights.values().sum() for n, loss in losses().items()}, task.validation
        )


def test_a_validation_loss_that_draws_for_itself() -> None:
    for estimator in (*ONCE, "directional", "finite-difference"):
        task, order = regression(), iter(range(1, 100))
        validation = lambda: task.validation() * next(order)  # noqa: B023, E731
        tuner = tuner_of(task, two_weights(), estimator=estimator)
        for step in (1, 2):
            result = tuner.step(task.losses, validation)
            assert next(order) == 2 * step  # called once a step
            assert result.validation_loss is not None
    task, order = regression(), iter(range(1, 100))
    with pytest.raises(ValueError, match="The validation loss differs when it is called again"):
        tuner_of(task, two_weights(), estimator="forward").step(
            task.losses, lambda: task.validation() * next(order)
        )


@pytest.mark.parametrize("estimator", [*ONCE, *SEVERAL[:3]])
def test_dropout_and_batch_norm_do_not_make_losses_differ(estimator: str) -> None:
    model = [nn.Dropout(0.5)] if "(" in estimator else [nn.BatchNorm1d(4), nn.Dropout(0.5)]
    task = regression(*model)
    tuner = tuner_of(task, two_weights(), estimator=estimator)
    for _ in range(2):
        tuner.step(task.losses, task.validation)
