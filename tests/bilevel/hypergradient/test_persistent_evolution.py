"""PersistentEvolution: windows of one step see what whole runs see."""

import math
import pickle

import pytest
import torch

from bilevel.hypergradient import BilevelProblem, Unrolled, persistent_evolution
from bilevel.hypergradient.evolution import Evolution
from bilevel.hypergradient.persistent_evolution import PersistentEvolution
from bilevel.hypergradient.samples import learn_samples
from bilevel.hypergradient.smoothing import perturb
from bilevel.optimisers import adam, sgd
from bilevel.step import inner_step
from bilevel.tree import split_floating, tree_map

DECAY = 0.9
WINDOWS = 8


def double(numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def recursion(outer_loss=lambda theta, phi, data: 0.5 * (theta - 2) ** 2):
    """theta' = DECAY theta + phi: d theta_w / d phi = (1 - DECAY^w) / (1 - DECAY)."""
    return BilevelProblem(
        step=lambda theta, state, phi, data: (DECAY * theta + phi, state), outer_loss=outer_loss
    )


def windows_of(estimator, members):
    """The sum of the windows' gradients, [member]: independent estimates of one number."""
    theta, phi = torch.zeros(members).double(), torch.full((members,), 0.5).double()
    particles = estimator.init(theta, None, phi)
    total = torch.zeros(members).double()
    for _ in range(WINDOWS):
        estimate, particles = estimator(recursion(), particles, phi, steps=1)
        total += estimate.gradient
    return total


def exact_sum():
    """sum over w of (theta_w - 2) d theta_w / d phi, theta_w = phi (1 - DECAY^w) / (1 - DECAY)."""
    reach = [(1 - DECAY**w) / (1 - DECAY) for w in range(1, WINDOWS + 1)]
    return sum((0.5 * r - 2) * r for r in reach), sum(0.5 * r - 2 for r in reach)


def test_windows_are_unbiased_where_truncated_ones_are_not():
    exact, truncated = exact_sum()
    members = 4000
    persistent = windows_of(PersistentEvolution(samples=8, sigma=0.3, members=True), members)
    error = float(persistent.std()) / math.sqrt(members)
    assert abs(float(persistent.mean()) - exact) < 3 * error
    assert abs(truncated - exact) > 20 * error
    theta, phi = torch.zeros(members).double(), torch.full((members,), 0.5).double()
    short = torch.zeros(members).double()
    for _ in range(WINDOWS):
        estimate = Evolution(samples=8, sigma=0.3, members=True)(recursion(), theta, None, phi, steps=1)
        theta, short = estimate.theta, short + estimate.gradient
    assert abs(float(short.mean()) - truncated) < 3 * float(short.std()) / math.sqrt(members)


def test_the_exact_gradient_of_a_later_window_lies_in_95_of_100_intervals():
    members, estimator = 2000, PersistentEvolution(samples=200, sigma=0.3, members=True)
    theta, phi = torch.zeros(members).double(), torch.full((members,), 0.5).double()
    particles = estimator.init(theta, None, phi)
    for window in range(1, 5):
        estimate, particles = estimator(recursion(), particles, phi, steps=2)
        exact = Unrolled()(recursion(), theta, None, phi, steps=2 * window).gradient
        inside = ((estimate.gradient - exact).abs() < 1.96 * estimate.standard_error).double().mean()
        assert abs(float(inside) - 0.95) < 0.025


def test_the_first_window_is_evolution(sharing, monkeypatch):
    noise = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    monkeypatch.setattr("bilevel.hypergradient.evolution.draw_noise", lambda *_: (noise,))
    monkeypatch.setattr(persistent_evolution, "draw_noise", lambda *_: (noise,))
    optimiser = adam(0.05)
    problem, state = sharing.problem(optimiser, several=True), optimiser.init(sharing.theta)
    whole = Evolution(samples=8)(problem, sharing.theta, state, sharing.phi, steps=3)
    estimator = PersistentEvolution(samples=8)
    first, particles = estimator(
        problem, estimator.init(sharing.theta, state, sharing.phi), sharing.phi, steps=3
    )
    torch.testing.assert_close(first.gradient, whole.gradient, rtol=1e-12, atol=0)
    torch.testing.assert_close(first.standard_error, whole.standard_error, rtol=1e-12, atol=0)
    tree_map(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), first.theta, whole.theta)
    assert int(particles.windows) == 1


def test_particles_carry_their_own_inner_state(network, monkeypatch):
    """With the same draws in both windows, two windows of two steps end where one of four does."""
    optimiser = adam(0.05)
    noise = tuple(
        torch.randn(3, *leaf.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        for leaf in split_floating(network.phi)[0]
    )
    monkeypatch.setattr(persistent_evolution, "draw_noise", lambda *_: noise)
    problem, start = network.problem(optimiser), (network.theta, optimiser.init(network.theta))
    estimator = PersistentEvolution(samples=6, sigma=0.2)
    particles = estimator.init(*start, network.phi)
    for _ in range(2):
        _, particles = estimator(problem, particles, network.phi, steps=2)
    phis = perturb(network.phi, noise, 0.2, antithetic=True)
    data = tuple(network.data[k] for k in (0, 1, 0, 1))
    ends, _ = learn_samples(problem, start, network.phi, (None, phis), data, None)
    for windowed, whole in zip(particles.samples, ends, strict=True):
        torch.testing.assert_close(windowed, whole, rtol=1e-10, atol=1e-12)
    for total, draw in zip(particles.noise, noise, strict=True):
        torch.testing.assert_close(total, 2 * draw)


def test_it_is_pure_and_resumes_to_the_same_bits(sharing):
    optimiser = sgd(0.1)
    problem, state = sharing.problem(optimiser), optimiser.init(sharing.theta)
    estimator = PersistentEvolution(samples=4, members=True)
    particles = estimator(problem, estimator.init(sharing.theta, state, sharing.phi), sharing.phi, steps=2)[1]
    kept = pickle.loads(pickle.dumps(particles))
    first, after = estimator(problem, particles, sharing.phi, steps=2)
    again, resumed = estimator(problem, kept, sharing.phi, steps=2)
    torch.testing.assert_close(again.gradient, first.gradient, rtol=0, atol=0)
    tree_map(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), resumed, after)


def test_each_window_draws_afresh_even_where_nothing_moves():
    still = BilevelProblem(
        step=lambda theta, state, phi, data: (theta + 0 * phi, state), outer_loss=lambda t, phi, d: phi.sum()
    )
    estimator = PersistentEvolution(samples=4)
    particles = estimator.init(double([0.0]), None, double([1.0]))
    _, first = estimator(still, particles, double([1.0]), steps=1)
    _, second = estimator(still, first, double([1.0]), steps=1)
    assert not torch.equal(second.noise[0] - first.noise[0], first.noise[0])


def test_single_precision(sharing):
    single, optimiser = sharing.to(torch.float32), adam(0.05)
    estimator = PersistentEvolution(samples=4, members=True)
    particles = estimator.init(single.theta, optimiser.init(single.theta), single.phi)
    for _ in range(2):
        estimate, particles = estimator(single.problem(optimiser), particles, single.phi, steps=2)
    assert estimate.gradient.dtype == torch.float32
    assert {leaf.dtype for leaf in particles.samples} == {torch.float32}


def test_bad_settings_and_problems_are_refused():
    with pytest.raises(ValueError, match="samples must be even"):
        PersistentEvolution(samples=7)
    with pytest.raises(ValueError, match=r"sigma must be a number above 0, not -1\.0"):
        PersistentEvolution(sigma=-1.0)
    with pytest.raises(ValueError, match="must share their first axis"):
        PersistentEvolution(members=True).init(double([1.0]), None, double([1.0, 2.0]))
    unused = BilevelProblem(
        step=inner_step(lambda theta, phi, data: theta**2, sgd(0.1)), outer_loss=lambda t, p, d: t
    )
    estimator = PersistentEvolution(samples=4)
    particles = estimator.init(double(1.0), sgd(0.1).init(double(1.0)), double(1.0))
    with pytest.raises(ValueError, match="No perturbation of phi"):
        estimator(unused, particles, double(1.0), steps=1)
    with pytest.raises(ValueError, match="steps must be at least 1, not 0"):
        estimator(unused, particles, double(1.0), steps=0)
    surrogate = recursion(lambda theta, phi, data: torch.exp(theta - theta.detach()))
    particles = estimator.init(double(1.0), None, double(1.0))
    with pytest.raises(ValueError, match="its value does not change with theta"):
        estimator(surrogate, particles, double(1.0), steps=1)
