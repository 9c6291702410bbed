"""The check finds wrong gradients and lets right ones pass."""

import dataclasses
from dataclasses import dataclass

import pytest
import torch
import torchopt

from bilevel.core import inner_step, tree_map
from bilevel.hypergradient import BilevelProblem, Estimator, Unrolled, check_hypergradient
from bilevel.optimizers import OPTIMIZERS, adam, chain, clip_by_norm, make_optimizer, sgd


@dataclass(frozen=True)
class Scaled(Estimator):
    """A wrong estimator: the right gradient times a factor."""

    factor: float

    def estimate(self, problem, theta, opt_state, phi, state=None, *, steps):
        estimate = Unrolled()(problem, theta, opt_state, phi, steps=steps)
        gradient = tree_map(lambda g: g * self.factor, estimate.gradient)
        return dataclasses.replace(estimate, gradient=gradient), None


@dataclass(frozen=True)
class LastStepOnly(Estimator):
    """A wrong estimator: it forgets what earlier steps did."""

    def estimate(self, problem, theta, opt_state, phi, state=None, *, steps):
        whole = Unrolled()(problem, theta, opt_state, phi, steps=steps)
        before = Unrolled()(problem, theta, opt_state, phi, steps=steps - 1)
        replay = problem.replay(whole.inner_data[-1:], whole.outer_data)
        last = Unrolled()(replay, before.theta, before.opt_state, phi, steps=1)
        return dataclasses.replace(whole, gradient=last.gradient), None


def check(setting, optimizer, steps=3, **more):
    per_agent_objective = more.pop("per_agent_objective", False)
    state = optimizer.init(setting.theta)
    problem = setting.problem(optimizer, per_agent_objective=per_agent_objective)
    return check_hypergradient(problem, setting.theta, state, setting.phi, steps=steps, **more)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_walk_back_passes(setting, name):
    settings = {"epsilon": 1e-3} if name in ("adam", "adamw", "rmsprop") else {}
    # smooth steps allow wider differences, with less rounding; those of adaptive optimizers bend at epsilon
    result = check(
        setting,
        make_optimizer(name, learning_rate=0.05, **settings),
        **({"epsilon": 1e-4} if name == "optimistic" else {}),
    )
    assert result.passed, str(result)
    assert result.relative_error < 1e-7
    assert result.cosine > 1 - 1e-12


WRONG = [Scaled(1.001), Scaled(-1.0), Scaled(0.0), Scaled(float("nan")), LastStepOnly()]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_a_wrong_estimator_is_found(setting, wrong):
    result = check(setting, sgd(0.1), estimator=wrong)
    assert not result.passed
    assert "DIFFERS" in str(result)


def test_it_says_by_how_much(network):
    result = check(network, sgd(0.1), estimator=Scaled(1.25))
    assert result.relative_error == pytest.approx(0.2, rel=1e-6)
    assert result.cosine == pytest.approx(1)
    name, estimated, difference = result.worst
    assert name in ("decay", *(f"weights[{k}]" for k in range(5)))
    assert estimated / difference == pytest.approx(1.25, rel=1e-6)
    assert str(result).startswith(
        "Scaled(factor=1.25) DIFFERS from finite differences: relative error 2.0e-01"
    )
    assert check(network, sgd(0.1), estimator=Scaled(-1.0)).cosine == pytest.approx(-1)


def test_torchopt_clipping_is_not_the_derivative_of_what_it_does_and_ours_is(network):
    theirs = torchopt.chain(torchopt.clip_grad_norm(0.5), torchopt.sgd(0.1))
    assert check(network, theirs).relative_error > 0.1
    assert check(network, chain(clip_by_norm(0.5), sgd(0.1))).passed


def test_several_objectives(sharing):
    result = check(sharing, sgd(0.5), per_agent_objective=True)
    assert result.passed
    assert result.estimated.shape == result.differences.shape == (2, 18)
    wrong = check(sharing, sgd(0.5), per_agent_objective=True, estimator=Scaled(2.0))
    assert " of objective " in wrong.worst[0]


def test_a_large_phi_is_checked_along_random_directions(sharing):
    result = check(sharing, sgd(0.5), max_entries=17)
    assert result.directions[0] == "random direction 0"
    assert result.passed
    assert not check(sharing, sgd(0.5), max_entries=17, estimator=LastStepOnly()).passed
    assert check(sharing, sgd(0.5), max_entries=18).directions[-1] == "phi[1, 2, 2]"


def test_sampled_data_are_replayed():
    generator = torch.Generator().manual_seed(0)
    inner = sgd(0.1)
    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: (theta - phi * data).square().sum(), inner),
        outer_loss=lambda theta, phi, data: (theta * data).sum(),
        inner_data=lambda theta, phi, k: torch.randn(2, generator=generator),
        outer_data=lambda theta, phi: torch.randn(2, generator=generator),
    )
    theta, phi = torch.zeros(2), torch.ones(2)
    first, second = (check_hypergradient(problem, theta, inner.init(theta), phi, steps=3) for _ in range(2))
    assert first.passed
    assert second.passed
    assert not torch.allclose(first.estimated, second.estimated)


def test_float32_problems_are_checked_in_float64():
    inner = sgd(0.1)
    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: theta**4 - phi.sin() * theta, inner),
        outer_loss=lambda theta, phi, data: theta**2,
    )
    theta = torch.tensor(0.5)
    result = check_hypergradient(problem, theta, inner.init(theta), torch.tensor(1.0), steps=3)
    assert result.estimated.dtype == torch.float64
    assert result.relative_error < 1e-8


def test_a_gradient_of_zero_passes():
    inner = sgd(0.1)
    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: phi * theta, inner),
        outer_loss=lambda theta, phi, data: 1 + theta.clamp(max=-10.0),
    )
    theta = torch.tensor(0.5)
    result = check_hypergradient(problem, theta, inner.init(theta), torch.tensor(1.0), steps=3)
    assert (result.relative_error, result.cosine, result.passed) == (0.0, 1.0, True)


@pytest.mark.parametrize(
    ("setting_name", "value", "sentence"),
    [
        ("epsilon", 0.0, "epsilon must be a number above 0, not 0.0"),
        ("tolerance", -1.0, "tolerance must be a number above 0, not -1.0"),
        ("max_entries", 0, "max_entries must be at least 1, not 0"),
        ("steps", 0, "steps must be at least 1, not 0"),
    ],
)
def test_bad_settings(network, setting_name, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        check(network, sgd(0.1), **{setting_name: value})


@dataclasses.dataclass(frozen=True)
class Half(Estimator):
    """Wrong by a factor of two."""

    def estimate(self, problem, theta, opt_state, phi, state=None, *, steps):
        estimate = Unrolled()(problem, theta, opt_state, phi, steps=steps)
        return dataclasses.replace(estimate, gradient=estimate.gradient / 2), None


def test_a_gradient_below_the_rounding_noise_is_not_said_to_agree() -> None:
    inner = adam(0.1)  # does not see the scale of its loss, but for its epsilon
    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: (phi * (theta - 1) ** 2).sum(), inner),
        outer_loss=lambda theta, phi, data: (theta**2).sum(),
    )
    theta, phi = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    for estimator in (Half(), Unrolled()):
        check = check_hypergradient(problem, theta, inner.init(theta), phi, steps=10, estimator=estimator)
        assert check.below_noise
        assert not check.passed
        assert "too small to be checked" in str(check)
