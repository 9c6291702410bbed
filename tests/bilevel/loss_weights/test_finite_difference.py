"""The estimator finite-difference: kinks, precision, autocast, and what it does where differences fail."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bilevel.loss_weights import LossWeights, LossWeightTuner, SampleWeights
from tests.bilevel.loss_weights.loops import regression
from tests.bilevel.loss_weights.test_tuner import hypergradient, tuner_of, two_weights


def rectified(dtype: torch.dtype, seed: int) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    return model.to(dtype), torch.randn(96, 10).to(dtype), torch.randn(96, 3).to(dtype)


def of_samples(estimator: str, dtype: torch.dtype, seed: int, *, autocast: bool = False) -> Tensor:
    """The hypergradient after 5 steps of Adam, with its small epsilon, on a ReLU network."""
    model, x, y = rectified(dtype, seed)
    weights = SampleWeights((8,), normalize=False).to(dtype)
    tuner = LossWeightTuner(
        model,
        torch.optim.Adam(model.parameters(), lr=1e-3),
        weights,
        torch.optim.SGD(weights.parameters(), lr=0.0),
        estimator="unrolled",
    )

    def each() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return (model(x[:64]) - y[:64]).square().mean(-1)

    def validation() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return (model(x[64:]) - y[64:]).square().mean()

    for _ in range(5):
        tuner.step(each, validation)
    again = LossWeightTuner(model, tuner.optimizer, weights, tuner.outer_optimizer, estimator=estimator)
    return hypergradient(again, each, validation)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=8)
def test_kinks_are_not_crossed_in_float64(seed: int) -> None:
    """The report: 17 to 42 % off with ReLU and Adam, when the parameters moved by 0.01."""
    expected, found = (of_samples(e, torch.float64, seed) for e in ("directional", "finite-difference"))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_float32_is_good_to_a_few_percent() -> None:
    for seed in range(4):
        expected, found = (of_samples(e, torch.float32, seed) for e in ("directional", "finite-difference"))
        torch.testing.assert_close(found, expected, rtol=0, atol=0.05 * float(expected.abs().max()))


def test_autocast_and_short_floats_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"torch.bfloat16, in which autocast computes them, has too few digits: use dir"
    ):
        of_samples("finite-difference", torch.float32, 0, autocast=True)
    with pytest.raises(ValueError, match=r"torch.bfloat16 has too few digits: use directional or unrolled"):
        of_samples("finite-difference", torch.bfloat16, 0)
    exact = of_samples("unrolled", torch.float32, 0, autocast=True)
    forward = of_samples("directional", torch.float32, 0, autocast=True)
    torch.testing.assert_close(forward, exact, rtol=0, atol=0.05 * float(exact.abs().max()))


def test_autocast_around_the_step_is_refused_too() -> None:
    task = regression()
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(ValueError, match="in which autocast computes them"),
    ):
        tuner_of(task, two_weights(), estimator="finite-difference").step(task.losses, task.validation)


class Steps(nn.Module):
    """Rounds on the way forward, and passes gradients on: a straight-through estimator."""

    def forward(self, x: Tensor) -> Tensor:
        return x + (x.mul(8).round().div(8) - x).detach()


def test_where_differences_fail_forward_mode_is_asked() -> None:
    """Of a rounded network differences are 0; forward mode passes its gradients on, as reverse mode does."""
    found = []
    for estimator in ("directional", "finite-difference"):
        task = regression(Steps())
        found.append(
            hypergradient(tuner_of(task, two_weights(), estimator=estimator), task.losses, task.validation)
        )
    assert found[0].abs().max() > 1e-6
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)


class Rounded(torch.autograd.Function):
    """The same as an autograd function without a forward mode."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.mul(8).round().div(8)

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        return gradients[0]


class NoForwardMode(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = Rounded.apply(x)
        return found


def test_where_forward_mode_fails_too_it_is_refused() -> None:
    task, weights = regression(NoForwardMode()), two_weights()
    before = copy.deepcopy(task.model.state_dict())
    with pytest.raises(
        ValueError, match=r"off by an estimated \d+% at every length .* use unrolled, or float64\.$"
    ):
        tuner_of(task, weights, estimator="finite-difference").step(task.losses, task.validation)
    assert all(torch.equal(v, before[name]) for name, v in task.model.state_dict().items())


def test_two_differences_are_enough_where_the_losses_are_smooth() -> None:
    task, calls = regression(), []
    weights = LossWeights(["square", "large"]).double()
    tuner = tuner_of(task, weights, estimator="finite-difference")
    tuner.step(task.losses, task.validation)

    def losses() -> dict[str, Tensor]:
        calls.append(None)
        return task.losses()

    tuner.step(losses, task.validation)
    assert len(calls) == 3
