"""The model takes the step that was looked at, and the weights move after it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bilevel.loss_weights import HyperParameter, LossWeightTuner, gradient_evaluations
from tests.bilevel.loss_weights.loops import OPTIMIZERS, regression
from tests.bilevel.loss_weights.test_tuner import hypergradient, parameters, tuner_of, two_weights

ESTIMATORS = ("unrolled", "directional", "finite-difference")


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_model_goes_where_the_plain_loop_goes_with_the_weights_of_before(
    optimizer: str, estimator: str
) -> None:
    """Dropout, batch norm, clipping, parts of a batch, and a frozen parameter, too."""
    tuned = regression(nn.BatchNorm1d(4), nn.Dropout(0.3))
    next(tuned.model.parameters()).requires_grad_(False)
    plain, weights = copy.deepcopy(tuned), two_weights()
    tuner = tuner_of(
        tuned, weights, optimizer, first="model", estimator=estimator, max_norm=0.5, accumulate=2
    )
    own = OPTIMIZERS[optimizer](list(plain.model.parameters()))
    for step in range(3):
        before = copy.deepcopy(weights)
        torch.manual_seed(step)
        result = tuner.step([tuned.loss_of(0), tuned.loss_of(1)], tuned.validation)
        torch.manual_seed(step)
        own.zero_grad()
        loss = torch.zeros(())
        for index in (0, 1):
            part = before(plain.losses(index)) / 2
            part.backward()
            loss = loss + part.detach()
        nn.utils.clip_grad_norm_(plain.model.parameters(), 0.5)
        own.step()
        torch.testing.assert_close(result.loss, loss, rtol=1e-12, atol=0)
        states = zip(tuned.model.state_dict().values(), plain.model.state_dict().values(), strict=True)
        for ours, theirs in states:
            assert torch.equal(ours, theirs)
        assert not torch.equal(parameters(weights), parameters(before))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_weights_move_by_the_same_gradient_and_by_that_at_the_models_new_place(estimator: str) -> None:
    moved = {}
    for first in ("weights", "model"):
        task, weights = regression(), two_weights()
        moved[first] = hypergradient(
            tuner_of(task, weights, "adam", first=first, estimator=estimator), task.losses, task.validation
        )
    assert moved["model"].abs().max() > 1e-4
    torch.testing.assert_close(moved["model"], moved["weights"], rtol=1e-12, atol=0)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_validation_loss_is_that_of_the_model_after_its_step(estimator: str) -> None:
    task = regression()
    result = tuner_of(task, two_weights(), "momentum", first="model", estimator=estimator).step(
        task.losses, task.validation
    )
    assert result.validation_loss is not None
    torch.testing.assert_close(result.validation_loss, task.validation().detach(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_losses_are_called_as_often_as_otherwise(estimator: str) -> None:
    task, calls = regression(), []

    def losses() -> dict[str, Tensor]:
        calls.append(None)
        return task.losses()

    tuner = tuner_of(task, two_weights(), first="model", estimator=estimator)
    tuner.step(task.losses, task.validation)  # the first step also compares repeated calls
    tuner.step(losses, task.validation)
    assert len(calls) == {"unrolled": 1, "directional": 2, "finite-difference": 3}[estimator]


@pytest.mark.parametrize("estimator", ["unrolled", "finite-difference"])
def test_learned_rates_and_what_losses_read_count_as_they_were_before(estimator: str) -> None:
    """And move by the gradient that they have where the weights move first."""

    def known() -> tuple[HyperParameter, HyperParameter]:
        return HyperParameter("rate", 0.1).double(), HyperParameter("scale", 1.5).double()

    def stepped(first: str) -> tuple[Tensor, Tensor, float]:
        task, weights, (rate, scale) = regression(), two_weights(), known()
        learned = [*weights.parameters(), *rate.parameters(), *scale.parameters()]
        start = torch.stack([p.detach().clone().sum() for p in learned])
        own = torch.optim.SGD(task.model.parameters(), lr=0.7)
        outer = torch.optim.SGD(learned, lr=0.1)
        tuner = LossWeightTuner(
            task.model, own, weights, outer, also=[scale], learning_rate=rate, estimator=estimator,
            first=first,  # type: ignore[arg-type]
        )  # fmt: skip

        def losses() -> dict[str, Tensor]:
            return {name: loss * scale() for name, loss in task.losses().items()}

        tuner.step(losses, task.validation)
        now = torch.stack([p.detach().sum() for p in learned])
        return parameters(task.model), now - start, own.param_groups[0]["lr"]

    model, change, taken = stepped("model")
    plain, weights, (rate, scale) = regression(), two_weights(), known()
    (scale() * weights(plain.losses())).backward()
    torch.optim.SGD(plain.model.parameters(), lr=rate().item()).step()
    torch.testing.assert_close(model, parameters(plain.model), rtol=0, atol=1e-12)
    assert taken == rate().item()
    assert (change.abs() > 1e-6).all()
    torch.testing.assert_close(change, stepped("weights")[1], rtol=1e-9, atol=0)


def test_between_outer_steps_the_weights_stand_still() -> None:
    task, weights = regression(), two_weights()
    tuner = tuner_of(task, weights, first="model", every=2)
    tuner.step(task.losses, task.validation)
    before = parameters(weights)
    assert tuner.step(task.losses, task.validation).validation_loss is None
    assert torch.equal(parameters(weights), before)


def test_a_step_of_which_nothing_can_be_learned_moves_nothing() -> None:
    task, weights = regression(nn.BatchNorm1d(4)), two_weights()
    tuner, before = tuner_of(task, weights, first="model"), copy.deepcopy(task.model.state_dict())
    with pytest.raises(FloatingPointError, match="is not finite"):
        tuner.step(task.losses, lambda: task.validation() * torch.inf)
    for name, now in task.model.state_dict().items():
        assert torch.equal(now, before[name]), name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"first": "model", "estimator": "implicit"}, "is kept, which unrolled, directional and finite-diff"),
        ({"first": "model", "estimator": "truncated(steps=1)"}, r'and truncated.* does not.*first="weights"'),
        ({"first": "both"}, "There is no value of first, 'both'. Known: weights, model"),
    ],
)
def test_what_cannot_move_first_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tuner_of(regression(), two_weights(), **settings)


def test_one_gradient_less_is_counted() -> None:
    assert gradient_evaluations(10, every=2) - gradient_evaluations(10, every=2, first="model") == 5
    with pytest.raises(ValueError, match="value of first"):
        gradient_evaluations(10, first="both")
