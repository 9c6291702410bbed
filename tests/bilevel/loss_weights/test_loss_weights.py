"""Weights of losses, of samples, and learned numbers: what they are, and what they refuse."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bilevel.core import Constraint
from bilevel.core._constraints import CONSTRAINTS
from bilevel.loss_weights import HyperParameter, LossWeights, SampleWeights, ScheduledLossWeights

BOUNDS = {"bounded": (-1.0, 2.0)}


def constraint(name: str) -> Constraint:
    return Constraint(name, BOUNDS.get(name))


@given(
    free=st.lists(st.floats(-10, 10), min_size=1, max_size=5),
    name=st.sampled_from(sorted(CONSTRAINTS)),
)
def test_values_are_allowed_and_lead_back(free: list[float], name: str) -> None:
    rule, numbers = constraint(name), torch.tensor(free, dtype=torch.float64)
    rule.project_(numbers)
    values = rule.values(numbers)
    again = rule.values(rule.free(values))
    torch.testing.assert_close(again, values, rtol=1e-8, atol=1e-12)
    if name in ("softplus", "projected", "simplex"):
        assert (values >= 0).all()
    if name == "simplex":
        assert float(values.sum()) == pytest.approx(1)
    if name == "bounded":
        assert ((values >= -1) & (values <= 2)).all()


@pytest.mark.parametrize(
    ("name", "init", "sentence"),
    [
        ("softplus", 0.0, r"Softplus weights start above 0, but they are \[0\.0"),
        ("softplus", -1.0, "Softplus weights start above 0"),
        ("projected", -0.5, r"Projected weights are 0 or more, but they are \[-0\.5"),
        ("simplex", 1.0, "Weights on the simplex start above 0 and sum to 1"),
        ("bounded", 2.0, "Bounded weights start strictly between -1 and 2"),
        ("free", math.nan, "Weights must be finite numbers"),
        ("softplus", math.inf, "Weights must be finite numbers"),
        ("soft", 1.0, r"There is no constraint 'soft'\. Did you mean 'softplus'"),
    ],
)
def test_first_weights_that_are_not_allowed_are_refused(name: str, init: float, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        LossWeights(["a", "b"], init, name, bounds=BOUNDS.get(name))


@pytest.mark.parametrize("bounds", [None, (1.0, 1.0), (2.0, 1.0), (0.0, math.inf)])
def test_bounds_are_two_numbers_in_order(bounds: tuple[float, float] | None) -> None:
    with pytest.raises(ValueError, match="A bounded weight needs bounds"):
        Constraint("bounded", bounds)


def test_only_bounded_weights_have_bounds() -> None:
    with pytest.raises(ValueError, match="Only bounded weights have bounds, and these are free"):
        Constraint("free", (0.0, 1.0))


def test_many_learners_are_weighed_at_once() -> None:
    weights = LossWeights(["a", "b"], batch=(3,))
    with torch.no_grad():
        weights.free += torch.randn(3, 2)
    losses = {"a": torch.randn(3), "b": torch.randn(3)}
    together = weights(losses)
    for member in range(3):
        alone = LossWeights(["a", "b"])
        alone.load_state_dict({"free": weights.free[member]})
        torch.testing.assert_close(together[member], alone({n: v[member] for n, v in losses.items()}))


@pytest.mark.parametrize("batch", [(), (2,)])
def test_fixed_weights_keep_their_value_under_any_outer_step(batch: tuple[int, ...]) -> None:
    """Momentum and decay included; the learned weights move as they do alone."""
    init = {"main": 2.0, "a": 1.0, "b": 0.5}
    weights = LossWeights(list(init), init, batch=batch, fixed=["main"])
    alone = LossWeights(["a", "b"], {"a": 1.0, "b": 0.5}, batch=batch)
    losses = {name: torch.full(batch, number) for name, number in (("main", 3.0), ("a", -1.0), ("b", 2.0))}
    others = {name: losses[name] for name in ("a", "b")}
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    optimizers = [torch.optim.SGD(each.parameters(), **settings) for each in (weights, alone)]
    for _ in range(3):
        for optimizer in optimizers:
            optimizer.zero_grad()
        weights(losses).sum().backward()
        alone(others).sum().backward()
        for optimizer in optimizers:
            optimizer.step()
    assert weights.as_dict()["main"] == 2.0
    assert alone.as_dict()["a"] > 1.01
    torch.testing.assert_close(weights.values()[..., 1:], alone.values(), rtol=0, atol=0)
    assert list(weights.state_dict()) == ["free"]


def test_fixed_weights_that_do_not_fit_are_refused() -> None:
    for fixed, constraint_name, sentence in (
        (["c"], "softplus", "There is no loss to keep fixed 'c'"),
        (["a", "b"], "softplus", "fixed holds every loss, so that no weight is learned"),
        (["a"], "simplex", "Weights on the simplex sum to 1, so that none is fixed"),
    ):
        with pytest.raises(ValueError, match=sentence):
            LossWeights(["a", "b"], 0.5, constraint_name, fixed=fixed)


@pytest.mark.parametrize(
    ("losses", "sentence"),
    [
        ({}, "There are weights for 'a', 'b', but losses for nothing"),
        (
            {n: torch.tensor(1.0) for n in "abc"},
            "There are weights for 'a', 'b', but losses for 'a', 'b', 'c'",
        ),
        (
            {"a": torch.ones(3), "b": torch.tensor(1.0)},
            r"The loss 'a' must have the shape \[\], but it has \[3\]",
        ),
        (torch.ones(2), "Losses are a dictionary, name -> loss, for 'a', 'b'; these are a Tensor"),
    ],
)
def test_losses_that_do_not_fit_are_refused(losses: object, sentence: str) -> None:
    for weights in (LossWeights(["a", "b"]), ScheduledLossWeights(["a", "b"], knots=(0, 5))):
        with pytest.raises(ValueError, match=sentence):
            weights(losses)


def test_names_that_do_not_fit_are_refused() -> None:
    for names, sentence in (
        (["a", "a"], "Every loss has one weight, but 'a' comes twice"),
        ([], "names is empty"),
        ("label", r"names is a list of names, not one: write \['label'\]"),
    ):
        with pytest.raises(ValueError, match=sentence):
            LossWeights(names)
    with pytest.raises(ValueError, match="init is for 'a', but the losses are 'a', 'b'"):
        LossWeights(["a", "b"], {"a": 1.0})


def test_projected_weights_can_be_0() -> None:
    weights = LossWeights(["a", "b"], {"a": 0.1, "b": 0.5}, "projected")
    with torch.no_grad():
        weights.free -= 0.3
    weights.project_()
    assert weights.as_dict() == {"a": 0.0, "b": pytest.approx(0.2)}


def test_a_schedule_is_linear_between_its_knots_and_stays_after_the_last() -> None:
    weights = ScheduledLossWeights(["a"], knots=(0, 10, 30), constraint="free")
    with torch.no_grad():
        weights.free.copy_(torch.tensor([[0.0], [1.0], [5.0]]))
    seen = []
    for _ in range(41):
        seen.append(weights.as_dict()["a"])
        weights.advance()
    expected = [k / 10 if k <= 10 else 1 + 4 * (k - 10) / 20 if k <= 30 else 5.0 for k in range(41)]
    assert seen == pytest.approx(expected)


@pytest.mark.parametrize("knots", [(), (0,), (1, 5), (0, 5, 5), (0, 7, 3)])
def test_knots_increase_from_0(knots: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="Knots are two steps or more, increasing from 0"):
        ScheduledLossWeights(["a"], knots=knots)


def test_weights_of_samples_are_a_network_of_their_losses() -> None:
    torch.manual_seed(0)
    weights, losses = SampleWeights((4,), init=0.3, normalize=False), torch.tensor([0.0, 1.0, 5.0])
    torch.testing.assert_close(weights.values(losses), torch.full((3,), 0.3))
    assert weights(losses).item() == pytest.approx(0.3 * 2)
    with torch.no_grad():
        weights.theta.copy_(torch.linspace(-1, 1, len(weights.theta)))
    network = nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 1), nn.Sigmoid())
    first, bias, last, last_bias = weights.theta.detach().split([4, 4, 4, 1])
    state = {
        "0.weight": first.reshape(4, 1),
        "0.bias": bias,
        "2.weight": last.reshape(1, 4),
        "2.bias": last_bias,
    }
    network.load_state_dict(state)
    torch.testing.assert_close(weights.values(losses), network(losses[:, None])[:, 0])


def test_normalized_weights_of_samples_sum_to_1() -> None:
    weights, losses = SampleWeights(), torch.tensor([1.0, 2.0, 6.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(weights(losses), losses)
    torch.testing.assert_close(gradient, torch.full((3,), 1 / 3))


def test_samples_are_not_weighed_after_their_mean_was_taken() -> None:
    with pytest.raises(ValueError, match='use reduction="none"'):
        SampleWeights()(torch.tensor(1.0))
    with pytest.raises(ValueError, match="lies strictly between 0 and 1, and init is 1"):
        SampleWeights(init=1.0)


def test_a_number_within_bounds() -> None:
    smoothing = HyperParameter("smoothing", 0.1, "bounded", bounds=(0.0, 0.5))
    assert smoothing.as_dict() == {"smoothing": pytest.approx(0.1)}
    with torch.no_grad():
        smoothing.free.fill_(50.0)
    assert smoothing().item() == pytest.approx(0.5)
