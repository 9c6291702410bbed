"""PersistentEvolution: outer steps of one step each see what whole runs see."""

import math
import pickle

import pytest
import torch

from bilevel.core import inner_step, split_floating, tree_map
from bilevel.experiments import load_checkpoint
from bilevel.experiments._checkpoint import Checkpoint, save_checkpoint
from bilevel.hypergradient import (
    BilevelProblem,
    Evolution,
    PersistentEvolution,
    Truncated,
    Unrolled,
)
from bilevel.hypergradient import _persistent_evolution as persistent_evolution
from bilevel.hypergradient._persistent_evolution import Particles
from bilevel.hypergradient._smoothing import learn_samples, perturb
from bilevel.optimizers import adam, sgd

DECAY = 0.9
TURNS = 8


def double(numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def recursion(outer_loss=lambda theta, phi, data: 0.5 * (theta - 2) ** 2):
    """theta' = DECAY theta + phi: d theta_w / d phi = (1 - DECAY^w) / (1 - DECAY)."""
    return BilevelProblem(
        step=lambda theta, state, phi, data: (DECAY * theta + phi, state), outer_loss=outer_loss
    )


def learn_online(estimator, problem, start, phi, turns, steps):
    """Outer steps one after the other while phi stands still: each estimate, and the state after it."""
    (theta, opt_state), state, found = start, None, []
    for _ in range(turns):
        estimate, state = estimator.estimate(problem, theta, opt_state, phi, state, steps=steps)
        theta, opt_state = estimate.theta, estimate.opt_state
        found.append((estimate, state))
    return found


def sum_of_turns(estimator, members):
    """The sum of the outer steps' gradients, [member]: independent estimates of one number."""
    theta, phi = torch.zeros(members).double(), torch.full((members,), 0.5).double()
    estimates = learn_online(estimator, recursion(), (theta, None), phi, TURNS, 1)
    return sum(estimate.gradient for estimate, _ in estimates)


def exact_sum():
    """sum over w of (theta_w - 2) d theta_w / d phi, theta_w = phi (1 - DECAY^w) / (1 - DECAY)."""
    reach = [(1 - DECAY**w) / (1 - DECAY) for w in range(1, TURNS + 1)]
    return sum((0.5 * r - 2) * r for r in reach), sum(0.5 * r - 2 for r in reach)


def test_it_is_unbiased_where_evolution_by_single_outer_steps_is_not():
    exact, truncated = exact_sum()
    members = 4000
    persistent = sum_of_turns(PersistentEvolution(samples=8, sigma=0.3, members=True), members)
    error = float(persistent.std()) / math.sqrt(members)
    assert abs(float(persistent.mean()) - exact) < 3 * error
    assert abs(truncated - exact) > 20 * error
    theta, phi = torch.zeros(members).double(), torch.full((members,), 0.5).double()
    short = torch.zeros(members).double()
    for _ in range(TURNS):
        estimate = Evolution(samples=8, sigma=0.3, members=True)(recursion(), theta, None, phi, steps=1)
        theta, short = estimate.theta, short + estimate.gradient
    assert abs(float(short.mean()) - truncated) < 3 * float(short.std()) / math.sqrt(members)


def test_the_exact_gradient_of_a_later_outer_step_lies_in_95_of_100_intervals():
    members, estimator = 2000, PersistentEvolution(samples=200, sigma=0.3, members=True)
    theta, phi = torch.zeros(members).double(), torch.full((members,), 0.5).double()
    for turn, (estimate, _) in enumerate(learn_online(estimator, recursion(), (theta, None), phi, 4, 2), 1):
        exact = Unrolled()(recursion(), theta, None, phi, steps=2 * turn).gradient
        inside = ((estimate.gradient - exact).abs() < 1.96 * estimate.standard_error).double().mean()
        assert abs(float(inside) - 0.95) < 0.025


def test_the_first_outer_step_is_evolution(sharing, monkeypatch):
    noise = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    monkeypatch.setattr("bilevel.hypergradient._evolution.draw_noise", lambda *_, **__: (noise,))
    monkeypatch.setattr(persistent_evolution, "draw_noise", lambda *_, **__: (noise,))
    optimizer = adam(0.05)
    problem, state = sharing.problem(optimizer, per_agent_objective=True), optimizer.init(sharing.theta)
    whole = Evolution(samples=8)(problem, sharing.theta, state, sharing.phi, steps=3)
    estimator, start = PersistentEvolution(samples=8), (sharing.theta, state, sharing.phi)
    first, after = estimator.estimate(problem, *start, steps=3)
    torch.testing.assert_close(first.gradient, whole.gradient, rtol=1e-12, atol=0)
    torch.testing.assert_close(first.standard_error, whole.standard_error, rtol=1e-12, atol=0)
    tree_map(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), first.theta, whole.theta)
    assert int(after.outer_steps) == 1
    begun, _ = estimator.estimate(problem, *start, estimator.init(problem, *start, steps=3), steps=3)
    torch.testing.assert_close(begun.gradient, first.gradient, rtol=0, atol=0)


def test_particles_carry_their_own_inner_state(network, monkeypatch):
    """With the same draws in both, two outer steps of two steps end where one of four does."""
    optimizer = adam(0.05)
    noise = tuple(
        torch.randn(3, *leaf.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        for leaf in split_floating(network.phi)[0]
    )
    monkeypatch.setattr(persistent_evolution, "draw_noise", lambda *_, **__: noise)
    problem, start = network.problem(optimizer), (network.theta, optimizer.init(network.theta))
    estimator = PersistentEvolution(samples=6, sigma=0.2)
    _, particles = learn_online(estimator, problem, start, network.phi, 2, 2)[-1]
    phis = perturb(network.phi, noise, 0.2, antithetic=True)
    data = tuple(network.data[k] for k in (0, 1, 0, 1))
    ends, _ = learn_samples(problem, start, network.phi, (None, phis), data, None)
    for carried, whole in zip(particles.samples, ends, strict=True):
        torch.testing.assert_close(carried, whole, rtol=1e-10, atol=1e-12)
    for total, draw in zip(particles.noise, noise, strict=True):
        torch.testing.assert_close(total, 2 * draw)


def test_it_is_pure_and_resumes_to_the_same_bits(sharing, tmp_path):
    optimizer = adam(0.1)
    problem, opt_state = sharing.problem(optimizer), optimizer.init(sharing.theta)
    estimator = PersistentEvolution(samples=4, members=True)
    begun = estimator.init(problem, sharing.theta, opt_state, sharing.phi, steps=2)
    first, after = estimator.estimate(problem, sharing.theta, opt_state, sharing.phi, begun, steps=2)
    state = {"theta": first.theta, "opt_state": first.opt_state, "estimator": after}
    save_checkpoint(tmp_path / "checkpoint", Checkpoint(state, {}, 0.0))
    like = {"theta": sharing.theta, "opt_state": opt_state, "estimator": begun}
    loaded = load_checkpoint(tmp_path / "checkpoint", like).state
    assert isinstance(loaded["estimator"], Particles)
    expected = go_on(estimator, problem, state, sharing.phi)
    for again in (state, loaded, pickle.loads(pickle.dumps(state))):
        found = go_on(estimator, problem, again, sharing.phi)
        tree_map(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), found, expected)


def go_on(estimator, problem, state, phi):
    start = state["theta"], state["opt_state"], phi, state["estimator"]
    estimate, after = estimator.estimate(problem, *start, steps=2)
    return estimate.gradient, after


def test_each_outer_step_draws_afresh_even_where_nothing_moves():
    still = BilevelProblem(
        step=lambda theta, state, phi, data: (theta + 0 * phi, state), outer_loss=lambda t, phi, d: phi.sum()
    )
    start, phi = (double([0.0]), None), double([1.0])
    first, second = (
        after for _, after in learn_online(PersistentEvolution(samples=4), still, start, phi, 2, 1)
    )
    assert not torch.equal(second.noise[0] - first.noise[0], first.noise[0])


def test_a_state_outlives_what_becomes_of_its_tensors():
    """A loop that moves theta in place: the particles' own record of it must not move along."""
    estimator, phi = PersistentEvolution(samples=4), double([0.5])
    estimate, after = estimator.estimate(recursion(), double([1.0]), None, phi, steps=1)
    estimate.theta.add_(1)
    with pytest.raises(ValueError, match="does not lead to this theta"):
        estimator.estimate(recursion(), estimate.theta, None, phi, after, steps=1)


def test_single_precision(sharing):
    single, optimizer = sharing.to(torch.float32), adam(0.05)
    estimator, start = (
        PersistentEvolution(samples=4, members=True),
        (single.theta, optimizer.init(single.theta)),
    )
    last, after = learn_online(estimator, single.problem(optimizer), start, single.phi, 2, 2)[-1]
    assert last.gradient.dtype == torch.float32
    assert {leaf.dtype for leaf in after.samples} == {torch.float32}


def test_bad_settings_and_problems_are_refused():
    with pytest.raises(ValueError, match="samples must be even"):
        PersistentEvolution(samples=7)
    with pytest.raises(ValueError, match=r"sigma must be a number above 0, not -1\.0"):
        PersistentEvolution(sigma=-1.0)
    with pytest.raises(ValueError, match="must share their first axis"):
        PersistentEvolution(members=True)(recursion(), double([1.0]), None, double([1.0, 2.0]), steps=1)
    unused = BilevelProblem(
        step=inner_step(lambda theta, phi, data: theta**2, sgd(0.1)), outer_loss=lambda t, p, d: t
    )
    estimator, one = PersistentEvolution(samples=4), double(1.0)
    with pytest.raises(ValueError, match="No perturbation of phi"):
        estimator(unused, one, sgd(0.1).init(one), one, steps=1)
    with pytest.raises(ValueError, match="steps must be at least 1, not 0"):
        estimator(unused, one, sgd(0.1).init(one), one, steps=0)
    surrogate = recursion(lambda theta, phi, data: torch.exp(theta - theta.detach()))
    with pytest.raises(ValueError, match="its value does not change with theta"):
        estimator(surrogate, one, None, one, steps=1)


def test_a_state_from_elsewhere_is_refused(sharing):
    optimizer, estimator = adam(0.05), PersistentEvolution(samples=4, members=True)
    problem, opt_state = sharing.problem(optimizer), optimizer.init(sharing.theta)
    first, after = estimator.estimate(problem, sharing.theta, opt_state, sharing.phi, steps=2)
    for start in ((sharing.theta, opt_state), (first.theta, opt_state)):
        with pytest.raises(ValueError, match="state does not lead to this theta and opt_state"):
            estimator.estimate(problem, *start, sharing.phi, after, steps=2)
    start = first.theta, first.opt_state, sharing.phi
    with pytest.raises(
        ValueError, match=r"draws of shape \[\(2, 2, 3, 3\)\], but 6 samples of this phi have"
    ):
        PersistentEvolution(samples=6, members=True).estimate(problem, *start, after, steps=2)
    window = Truncated(steps=4, window=True).init(problem, *start, steps=2)
    with pytest.raises(ValueError, match="The state of PersistentEvolution are Particles, not StepWindow"):
        estimator.estimate(problem, *start, window, steps=2)


def test_stateful_estimators():
    assert all(one.stateful for one in (PersistentEvolution(), Truncated(steps=2, window=True)))
    assert not any(one.stateful for one in (Truncated(steps=2), Unrolled(), Evolution()))
