"""Bootstrapped targets and meta-gradients of reinforcement learning, against closed forms and differences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bilevel.agents import divergence
from bilevel.core import inner_step
from bilevel.hypergradient import (
    BilevelProblem,
    Forward,
    RecordedData,
    Truncated,
    Unrolled,
    bootstrapped,
    check_hypergradient,
    half_square,
)
from bilevel.optimizers import momentum, sgd

from .conftest import network_setting


def double(number):
    return torch.tensor(number, dtype=torch.float64)


def shrinking():
    """x <- (1 - w) x."""
    return BilevelProblem(
        step=lambda theta, opt_state, phi, data: ((1 - phi) * theta, opt_state),
        outer_loss=lambda theta, phi, data: theta,
    )


def test_shrinking_in_numbers():
    """x_K = 0.81, target 0.59049, dF/dw = (x_K - target) dx_K/dw = 0.21951 (-1.8)."""
    problem = bootstrapped(shrinking(), steps=3)
    estimate = Unrolled()(problem, double(1.0), None, double(0.1), steps=2)
    torch.testing.assert_close(estimate.theta, double(0.81))
    torch.testing.assert_close(estimate.outer_data.target, double(0.59049))
    torch.testing.assert_close(estimate.outer_data.theta, double(0.6561))
    torch.testing.assert_close(estimate.gradient, double(-0.395118), rtol=1e-12, atol=0)


@given(w=st.floats(0.05, 0.9), start=st.floats(0.1, 3), k=st.integers(1, 5), more=st.integers(1, 5))
@settings(max_examples=25)
def test_shrinking(w, start, k, more):
    """The target is constant: dF/dw = -K (1 - w)^(K - 1) x_0 (x_K - x_K+L)."""
    problem = bootstrapped(shrinking(), steps=more)
    end, target = start * (1 - w) ** k, start * (1 - w) ** (k + more)
    expected = double(-k * (1 - w) ** (k - 1) * start * (end - target))
    for estimator in (Unrolled(), Forward(), Truncated(steps=k)):
        estimate = estimator(problem, double(start), None, double(w), steps=k)
        torch.testing.assert_close(estimate.gradient, expected, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(
            estimate.outer_loss, double((end - target) ** 2 / 2), rtol=1e-9, atol=1e-12
        )


def test_last_further_step_follows_the_target_objective():
    """Two further steps from 0.5 to phi = 1: the first halfway to phi, the second to 10."""
    problem = BilevelProblem(
        step=lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state),
        outer_loss=lambda theta, phi, data: theta,
    )
    to_ten = bootstrapped(
        problem, steps=2, target_step=lambda theta, opt_state, phi, data: (double(10.0), opt_state)
    )
    estimate = Unrolled()(to_ten, double(0.0), None, double(1.0), steps=1)
    assert estimate.outer_data.target == 10
    assert estimate.outer_data.theta == 0.75
    assert estimate.gradient == (0.5 - 10) * 0.5


def test_further_steps_continue_the_state_of_the_optimizer_and_their_data():
    """K + L - 1 steps of momentum in one go are the steps before and after the bootstrap."""
    setting, optimizer = network_setting(), momentum(0.05)
    problem = setting.problem(optimizer)
    start = setting.theta, optimizer.init(setting.theta), setting.phi
    later = bootstrapped(problem, steps=3, data=lambda theta, phi, place: setting.data[4 + place])
    found = Unrolled()(later, *start, steps=4).outer_data
    for steps, name in ((6, "theta"), (7, "target")):
        whole = Unrolled()(problem, *start, steps=steps)
        for key, leaf in whole.theta.items():
            torch.testing.assert_close(getattr(found, name)[key], leaf, rtol=1e-12, atol=1e-14)
    assert found.data == tuple(setting.data[4:7])
    assert found.opt_state[1].steps == 6


@pytest.mark.parametrize("optimizer", [sgd(0.05), momentum(0.05)])
def test_finite_differences(optimizer):
    setting = network_setting()
    problem = bootstrapped(
        setting.problem(optimizer), steps=3, data=lambda theta, phi, place: setting.data[4 + place]
    )
    start = setting.theta, optimizer.init(setting.theta), setting.phi
    check = check_hypergradient(problem, *start, steps=4)
    assert check.passed, str(check)


@given(st.lists(st.floats(-2, 2), min_size=6, max_size=6), st.floats(0.05, 1))
@settings(max_examples=20)
def test_divergence_of_policies_as_distance(numbers, weight):
    """Softmax policies: d KL(target || policy) / d logits = policy - target."""
    gains, logits = torch.tensor(numbers, dtype=torch.float64).reshape(2, 3)
    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: -phi * (theta.softmax(-1) * gains).sum(), sgd(1.0)),
        outer_loss=lambda theta, phi, data: theta.sum(),
    )
    problem = bootstrapped(problem, steps=2, matching=lambda target, theta, data: divergence(target, theta))
    estimate = Unrolled()(problem, logits, sgd(1.0).init(logits), double(weight), steps=1)
    policy = logits.softmax(-1)
    slope = policy * (gains - (policy * gains).sum())  # the step is weight times this
    torch.testing.assert_close(estimate.theta, logits + weight * slope)
    expected = ((estimate.theta.softmax(-1) - estimate.outer_data.target.softmax(-1)) * slope).sum()
    torch.testing.assert_close(estimate.gradient, expected, rtol=1e-9, atol=1e-12)


def temporal_difference(reward, next_value, rate, reference):
    """theta moves to r + g v1; the value of the next sample should be the reference return."""
    return BilevelProblem(
        step=lambda theta, opt_state, phi, data: (
            theta + rate * (reward + phi * next_value - theta),
            opt_state,
        ),
        outer_loss=lambda theta, phi, data: (reference - theta) ** 2 / 2,
    )


def test_meta_gradient_of_a_discount_in_numbers():
    """Xu et al., arXiv 1805.09801: dJ'/dg = -(G - theta') a v1; theta' = 0.2."""
    problem = temporal_difference(1.0, 2.0, 0.1, 3.0)
    estimate = Unrolled()(problem, double(0.0), None, double(0.5), steps=1)
    torch.testing.assert_close(estimate.theta, double(0.2))
    torch.testing.assert_close(estimate.gradient, double(-0.56), rtol=1e-12, atol=0)


@given(*[st.floats(-2, 2)] * 4, st.floats(0.01, 0.5), st.floats(0, 1), st.integers(1, 4))
@settings(max_examples=25)
def test_meta_gradient_of_a_discount(theta, reward, next_value, reference, rate, discount, steps):
    """After K steps the target's weight is 1 - (1 - a)^K."""
    problem = temporal_difference(reward, next_value, rate, reference)
    estimate = Unrolled()(problem, double(theta), None, double(discount), steps=steps)
    weight = 1 - (1 - rate) ** steps
    end = theta + weight * (reward + discount * next_value - theta)
    torch.testing.assert_close(
        estimate.gradient, double(-(reference - end) * weight * next_value), rtol=1e-9, atol=1e-12
    )


def test_half_square_sums_over_floating_leaves():
    target = {"weights": double([1.0, 2.0]), "count": torch.tensor(3)}
    theta = {"weights": double([0.0, 0.0]), "count": torch.tensor(1)}
    assert half_square(target, theta) == 2.5


def test_bad_input():
    with pytest.raises(ValueError, match="steps of at least 1, not 0"):
        bootstrapped(shrinking(), steps=0)
    problem = BilevelProblem(
        step=shrinking().step, outer_loss=shrinking().outer_loss, inner_data=RecordedData((None, None))
    )
    with pytest.raises(ValueError, match=r"give those of the further steps, too \(data=\.\.\.\)"):
        bootstrapped(problem, steps=1)
