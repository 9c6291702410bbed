"""Look ahead and move the weights, where somebody else takes the model's step."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from bilevel.loss_weights import HyperParameter, LossWeightTuner, ScheduledLossWeights
from tests.bilevel.loss_weights.loops import regression
from tests.bilevel.loss_weights.test_tuner import NAMES, parameters, tuner_of, two_weights


@pytest.mark.parametrize("estimator", ["unrolled", "directional", "finite-difference"])
def test_with_ones_own_step_it_is_the_tuners_step(estimator: str) -> None:
    """Dropout, batch norm, a schedule of weights, and steps in which the weights stand still, too."""
    ends = []
    for by_hand in (False, True):
        task = regression(nn.BatchNorm1d(4), nn.Dropout(0.3))
        weights = ScheduledLossWeights(NAMES, knots=(0, 3)).double()
        tuner = tuner_of(task, weights, "adam", estimator=estimator, every=2, max_norm=0.5)
        torch.manual_seed(1)
        seen = []
        for index in range(4):
            if by_hand:
                seen.append(tuner.look_ahead(task.loss_of(index), task.validation))
                tuner.optimizer.zero_grad()
                weights(task.losses(index)).backward()
                nn.utils.clip_grad_norm_(task.model.parameters(), 0.5)
                tuner.optimizer.step()
                tuner.advance()
            else:
                seen.append(tuner.step(task.loss_of(index), task.validation).validation_loss)
        assert [loss is None for loss in seen] == [False, True, False, True]
        ends.append((parameters(task.model), parameters(weights), tuner.history.state_dict(), tuner.steps))
    (model, learned, history, steps), (own_model, own_learned, own_history, own_steps) = ends
    torch.testing.assert_close(own_model, model, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(own_learned, learned, rtol=1e-9, atol=1e-12)
    assert (own_history["steps"], own_steps) == (history["steps"], steps) == ([1, 3], 4)


def test_nothing_but_what_is_learned_changes() -> None:
    task = regression(nn.BatchNorm1d(4), nn.Dropout(0.3))
    tuner = tuner_of(task, two_weights(), "adam", virtual_steps=2)
    model, stream = copy.deepcopy(task.model.state_dict()), torch.get_rng_state()
    before = parameters(tuner.weights)
    tuner.look_ahead(task.losses, task.validation)
    assert all(
        torch.equal(a, b) for a, b in zip(model.values(), task.model.state_dict().values(), strict=True)
    )
    assert torch.equal(torch.get_rng_state(), stream)
    assert not tuner.optimizer.state
    assert (parameters(tuner.weights) != before).all()
    with pytest.raises(FloatingPointError, match="is not finite"):
        tuner.look_ahead(task.losses, lambda: task.validation() * torch.inf)
    assert all(
        torch.equal(a, b) for a, b in zip(model.values(), task.model.state_dict().values(), strict=True)
    )


def test_attention_needs_nothing_of_the_caller() -> None:
    """Torch has no second derivative of its fused kernel; the look ahead does without it by itself."""
    task = regression()

    def losses() -> dict[str, Tensor]:
        rows = task.model(task.batches[0][0]).view(1, 1, 6, 2)
        attended = scaled_dot_product_attention(rows, rows, rows)
        return {"square": attended.square().mean(), "large": (attended - 1).square().mean()}

    tuner = tuner_of(task, two_weights())
    before = parameters(tuner.weights)
    tuner.look_ahead(losses, task.validation)
    assert (parameters(tuner.weights) != before).all()


def test_a_learned_rate_is_there_for_the_step() -> None:
    task, weights, rate = regression(), two_weights(), HyperParameter("rate", 0.1).double()
    outer = torch.optim.SGD([*weights.parameters(), *rate.parameters()], lr=0.1)
    own = torch.optim.SGD(task.model.parameters(), lr=0.7)
    tuner = LossWeightTuner(task.model, own, weights, outer, learning_rate=rate)  # type: ignore[arg-type]
    tuner.look_ahead(task.losses, task.validation)
    assert own.param_groups[0]["lr"] == float(rate().detach()) != 0.1


def test_who_moves_first_is_the_callers_to_say() -> None:
    task = regression()
    with pytest.raises(
        ValueError, match=r'look_ahead leaves the model.s step to you.*leave out first="model"'
    ):
        tuner_of(task, two_weights(), first="model").look_ahead(task.losses, task.validation)
