"""The model's own forward pass serves the look ahead, and nothing else changes by that."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from tests.bilevel.loss_weights.loops import OPTIMIZERS, Regression, regression
from tests.bilevel.loss_weights.test_tuner import tuner_of, two_weights


@pytest.mark.parametrize("estimator", ["unrolled", "directional", "finite-difference"])
def test_losses_are_called_once_for_the_look_ahead_and_the_step(estimator: str) -> None:
    task, calls = regression(), []

    def losses() -> dict[str, Tensor]:
        calls.append(None)
        return task.losses()

    tuner = tuner_of(task, two_weights(), estimator=estimator)
    tuner.step(task.losses, task.validation)  # the first step also compares repeated calls
    tuner.step(losses, task.validation)
    assert len(calls) == (3 if estimator == "finite-difference" else 2 if estimator == "directional" else 1)


def test_losses_that_read_the_weights_are_computed_anew_with_the_new_ones() -> None:
    """Even where nobody said so: the model's step is the plain loop's, with the weights as they then are."""
    task, weights = regression(nn.BatchNorm1d(4)), two_weights()
    plain = copy.deepcopy(task)
    tuner = tuner_of(task, weights, rate=1.0)

    def read(of: Regression) -> dict[str, Tensor]:
        return {name: loss * weights.values()[0] for name, loss in of.losses().items()}

    tuner.step(lambda: read(task), task.validation)
    own = OPTIMIZERS["sgd"](list(plain.model.parameters()))
    weights(read(plain)).backward()
    own.step()
    for ours, theirs in zip(task.model.state_dict().values(), plain.model.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-15)


def test_a_failed_look_ahead_leaves_buffers_and_draws_as_they_were() -> None:
    task = regression(nn.BatchNorm1d(4), nn.Dropout(0.5))
    tuner, before = tuner_of(task, two_weights()), copy.deepcopy(task.model.state_dict())
    torch.manual_seed(3)
    with pytest.raises(FloatingPointError, match="is not finite"):
        tuner.step(task.losses, lambda: task.validation() * torch.inf)
    drawn = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(3))
    for name, now in task.model.state_dict().items():
        assert torch.equal(now, before[name]), name
