"""What Truncated, OneStep, Forward and Implicit share: steps, states, objectives, members, refusals."""

import math
import pickle

import pytest
import torch
import torchopt
from hypothesis import given, settings
from hypothesis import strategies as st

from bilevel import optimizers
from bilevel.core import inner_step, inner_step_per_agent, leaves, tree_map
from bilevel.hypergradient import (
    ESTIMATORS,
    BilevelProblem,
    Forward,
    Implicit,
    OneStep,
    Truncated,
    Unrolled,
    check_hypergradient,
    make_hypergradient,
)
from bilevel.optimizers import sgd

ANYWHERE = Implicit(max_distance=math.inf)
"""Implicit, wherever learning ended."""

EVERY = {
    "truncated": Truncated(steps=3),
    "one-step": OneStep(),
    "forward": Forward(),
    "implicit": ANYWHERE,
    "normal-cg": Implicit(solver="normal-cg", max_distance=math.inf, iterations=500),
}

OPTIMIZERS = {
    "sgd": lambda: optimizers.sgd(0.1, weight_decay=0.1),
    "schedule": lambda: optimizers.sgd(lambda count: 0.2 * 0.5 ** count.double()),
    "momentum": lambda: optimizers.momentum(0.1, nesterov=True),
    "dampening": lambda: optimizers.momentum(0.1, dampening=0.3),
    "adam": lambda: optimizers.adam(0.05),
    "adamw": lambda: optimizers.adamw(0.05),
    "rmsprop": lambda: optimizers.rmsprop(0.02, centered=True, momentum=0.5),
    "clip": lambda: optimizers.chain(optimizers.clip_by_norm(0.5), optimizers.momentum(0.1)),
    "torchopt adam": lambda: torchopt.adam(0.05),
    "torchopt radam": lambda: torchopt.radam(0.05),
    "torchopt adamax": lambda: torchopt.adamax(0.05),
    "torchopt adadelta": lambda: torchopt.adadelta(0.5),
    "torchopt clip": lambda: torchopt.chain(torchopt.clip_grad_norm(0.5), torchopt.sgd(0.1, momentum=0.9)),
}


def learn(estimator, setting, optimizer, steps=5, **more):
    state = optimizer.init(setting.theta)
    return estimator(setting.problem(optimizer, **more), setting.theta, state, setting.phi, steps=steps)


def regular(sharing):
    """The sharing setting with a decay, since one batch of data alone leaves I - J singular."""

    def loss(own, others, phi, data):
        size = own["level"].square() + own["trait"].square().sum(-1)
        return sharing.loss(own, others, phi, data) + 0.5 * size

    return sharing._replace(loss=loss)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_exact_ones_agree_with_unrolled_for_every_optimizer(setting, error, make):
    expected = learn(Unrolled(), setting, make())
    truncated = learn(Truncated(steps=5), setting, make())
    assert error(truncated.gradient, expected.gradient) == 0
    for estimator in (Forward(), Truncated(steps=99)):
        estimate = learn(estimator, setting, make())
        assert error(estimate.gradient, expected.gradient) < 1e-10
        tree_map(
            lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0),
            (estimate.theta, estimate.opt_state, estimate.outer_loss, estimate.inner_data),
            (expected.theta, expected.opt_state, expected.outer_loss, expected.inner_data),
        )


def test_truncated_starts_from_the_state_that_came_before(setting, error):
    """The last 3 of 7 steps are Unrolled over 3 steps from the state after 4, Adam's moments included."""
    optimizer = optimizers.adam(0.05)
    truncated = learn(Truncated(steps=3), setting, optimizer, steps=7)
    before = learn(Unrolled(), setting, optimizer, steps=4)
    rest = setting._replace(data=setting.data[4:]).problem(optimizer)
    expected = Unrolled()(rest, before.theta, before.opt_state, setting.phi, steps=3)
    assert error(truncated.gradient, expected.gradient) < 1e-14
    assert (
        error(
            learn(Truncated(steps=1), setting, optimizer).gradient,
            learn(OneStep(), setting, optimizer).gradient,
        )
        == 0
    )


def test_forward_passes_the_check(setting):
    optimizer = optimizers.momentum(0.1)
    state = optimizer.init(setting.theta)
    result = check_hypergradient(
        setting.problem(optimizer),
        setting.theta,
        state,
        setting.phi,
        steps=3,
        estimator=Forward(),
        tolerance=1e-7,
    )
    assert result.passed, str(result)


@pytest.mark.parametrize("estimator", EVERY.values(), ids=EVERY)
def test_several_objectives_are_separate_runs(sharing, error, estimator):
    sharing = regular(sharing)
    optimizer = optimizers.momentum(0.1)
    reference = sharing.outer_loss

    def objectives(theta, phi, data):
        return torch.stack((reference(theta, phi, data), theta["level"].square().sum(-1), phi.sum((-1, -2))))

    together = learn(estimator, sharing._replace(outer_loss=objectives), optimizer, per_agent_objective=True)
    assert together.gradient.shape == (3, *sharing.phi.shape)
    for place in range(2):
        alone = sharing._replace(outer_loss=lambda t, p, d, place=place: objectives(t, p, d)[place])
        assert error(together.gradient[place], learn(estimator, alone, optimizer).gradient) < 1e-8
    torch.testing.assert_close(together.gradient[2], torch.ones_like(sharing.phi))


BATCHED = {
    "truncated": Truncated(steps=3),
    "one-step": OneStep(),
    "forward": Forward(batch_dims=1, max_entries=9),
    "implicit": Implicit(max_distance=math.inf, batch_dims=1),
    "normal-cg": Implicit(solver="normal-cg", max_distance=math.inf, batch_dims=1, iterations=500),
}


@pytest.mark.parametrize("per_agent_objective", [False, True], ids=["one", "several"])
@pytest.mark.parametrize("estimator", BATCHED.values(), ids=BATCHED)
@given(seeds=st.lists(st.integers(0, 2**31), min_size=1, max_size=3))
@settings(max_examples=4)
def test_a_batch_of_seeds_equals_its_members(sharing_of, error, estimator, per_agent_objective, seeds):
    optimizer = optimizers.adam(0.05, epsilon=1e-2)

    def run(setting):
        outer = setting.outer_loss
        if per_agent_objective:
            setting = setting._replace(
                outer_loss=lambda t, p, d: torch.stack((outer(t, p, d), t["level"].sum(-1)))
            )
        return learn(estimator, setting, optimizer, steps=4, per_agent_objective=per_agent_objective).gradient

    batch = run(regular(sharing_of(seeds)))
    for place, seed in enumerate(seeds):
        assert error(batch[..., place, :, :], run(regular(sharing_of([seed])))[..., 0, :, :]) < 1e-8


@pytest.mark.parametrize("estimator", EVERY.values(), ids=EVERY)
def test_float32_stays_float32(sharing, error, estimator):
    sharing = regular(sharing)
    for optimizer in (optimizers.momentum(0.1), optimizers.chain(optimizers.clip_by_norm(50.0), sgd(0.1))):
        estimate = learn(estimator, sharing.to(torch.float32), optimizer)
        assert all(leaf.dtype == torch.float32 for leaf in leaves((estimate.theta, estimate.gradient)))
        assert error(estimate.gradient.double(), learn(estimator, sharing, optimizer).gradient) < 1e-3


@pytest.mark.parametrize("name", ["truncated", "one-step", "forward", "implicit", "unrolled"])
def test_estimators_are_made_by_name_and_travel(name):
    estimator = make_hypergradient(name, **({"steps": 2} if name == "truncated" else {}))
    assert isinstance(estimator, ESTIMATORS[name])
    assert pickle.loads(pickle.dumps(estimator)) == estimator
    assert make_hypergradient(estimator) is estimator


def quadratic(theta, phi, data=None):
    return (theta - phi).square().sum()


def simple(estimator, loss=quadratic, outer=lambda theta, phi, data: theta.square().sum(), **more):
    of = BilevelProblem(step=inner_step(loss, sgd(0.1)), outer_loss=outer, **more)
    theta = torch.ones(2)
    return estimator(of, theta, sgd(0.1).init(theta), torch.full((2,), 3.0), steps=5)


@pytest.mark.parametrize("estimator", EVERY.values(), ids=EVERY)
def test_missing_paths_are_refused(estimator):
    with pytest.raises(ValueError, match=r"no path from phi \(.itself.\)"):
        simple(estimator, lambda theta, phi, data: theta.square().sum() + phi.sum())
    with pytest.raises(ValueError, match="The outer loss does not depend on theta"):
        simple(estimator, outer=lambda theta, phi, data: phi.square().sum())
    with pytest.raises(ValueError, match=r"shape \[objective, ...\], but it is a single number"):
        simple(estimator, per_agent_objective=True)


@pytest.mark.parametrize("estimator", EVERY.values(), ids=EVERY)
def test_a_step_that_is_not_pure_is_refused(estimator):
    generator = torch.Generator().manual_seed(0)
    calls = []

    def draws(theta, phi, data):
        return (theta * torch.randn(2, generator=generator) - phi).square().sum()

    def remembers(theta, phi, data):
        calls.append(None)
        return (theta - phi / len(calls)).square().sum()

    for loss in (draws, remembers):
        with pytest.raises(ValueError, match="not a pure function"):
            simple(estimator, loss)


def test_forward_states_its_limit(sharing):
    with pytest.raises(ValueError, match="18 are more than max_entries, 17: use Unrolled"):
        learn(Forward(max_entries=17), sharing, sgd(0.1))
    assert learn(Forward(max_entries=18), sharing, sgd(0.1)).gradient.shape == sharing.phi.shape
    assert learn(Forward(max_entries=None), sharing, sgd(0.1)).gradient.shape == sharing.phi.shape


def test_forward_refuses_members_that_mix(sharing):
    mixing = optimizers.chain(optimizers.clip_by_norm(0.1), sgd(1.0))
    with pytest.raises(ValueError, match="Members of the batch are not independent"):
        learn(Forward(batch_dims=1), sharing, mixing)
    summed = sharing._replace(outer_loss=lambda t, p, d: sharing.outer_loss(t, p, d).sum())
    with pytest.raises(ValueError, match=r"must have the members' axes \(2,\) .* but its shape is \(\)"):
        learn(Forward(batch_dims=1), summed, sgd(0.1))


def game(seeds=(1, 2)):
    """Three learners with a quadratic loss each; their joint Jacobian is not symmetric."""
    draws = [torch.Generator().manual_seed(seed) for seed in seeds]
    pull, phi, theta = (
        torch.stack([torch.randn(3, 3, generator=g, dtype=torch.float64) for g in draws]) for _ in range(3)
    )

    def loss(own, others, phi, data):
        influence = (0.3 * pull * others.unsqueeze(-2)).tanh().sum(-1)
        return 0.5 * own.square() + own * (influence - phi.sin().sum(-1))

    problem = BilevelProblem(
        step=inner_step_per_agent(loss, sgd(0.3)), outer_loss=lambda theta, phi, data: theta.square().sum(-1)
    )
    return problem, theta[..., 0], phi


@pytest.mark.parametrize("solver", ["gmres", "normal-cg", "neumann"])
@pytest.mark.parametrize("batch_dims", [0, 1])
def test_implicit_at_the_fixed_point_of_simultaneous_learners(error, solver, batch_dims):
    problem, theta, phi = game()
    state = sgd(0.3).init(theta)
    expected = Unrolled()(problem, theta, state, phi, steps=300).gradient
    implicit = Implicit(solver=solver, batch_dims=batch_dims, iterations=300, tolerance=1e-10)
    assert error(implicit(problem, theta, state, phi, steps=300).gradient, expected) < 1e-8


def test_conjugate_gradient_is_refused_for_simultaneous_learners():
    problem, theta, phi = game()
    with pytest.raises(ValueError, match="Conjugate gradient needs a symmetric Jacobian"):
        Implicit(solver="cg")(problem, theta, sgd(0.3).init(theta), phi, steps=300)


def test_conjugate_gradient_is_refused_where_the_loss_curves_downwards():
    with pytest.raises(ValueError, match="needs a positive definite system"):
        simple(
            Implicit(solver="cg", max_distance=math.inf),
            lambda theta, phi, data: -quadratic(theta, phi),
        )


REFUSED = {
    "steps": (lambda: Truncated(steps=0), "Truncated needs steps of at least 1, not 0"),
    "max_entries": (lambda: Forward(max_entries=0), "max_entries must be at least 1 or None, not 0"),
    "batch": (lambda: Forward(batch_dims=-1), "batch_dims must be at least 0, not -1"),
    "solver": (lambda: Implicit(solver="gmers"), "There is no solver 'gmers'. Did you mean 'gmres'"),
    "tolerance": (lambda: Implicit(tolerance=0.0), "tolerance must be above 0, not 0.0"),
    "iterations": (lambda: Implicit(iterations=0), "iterations must be at least 1, not 0"),
    "distance": (lambda: Implicit(max_distance=0.0), "max_distance must be above 0, not 0.0"),
    "members": (lambda: Implicit(batch_dims=-1), "batch_dims must be at least 0, not -1"),
    "name": (lambda: make_hypergradient("forwards"), "no hypergradient 'forwards'. Did you mean 'forward'"),
    "setting": (lambda: make_hypergradient("truncated", step=1), "no setting of truncated 'step'"),
    "missing": (lambda: make_hypergradient("truncated"), "'truncated' needs the setting 'steps'"),
    "object": (lambda: make_hypergradient(OneStep(), steps=1), r"OneStep\(\) has its settings already"),
}


@pytest.mark.parametrize(("make", "sentence"), REFUSED.values(), ids=REFUSED)
def test_bad_settings_are_refused_in_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
