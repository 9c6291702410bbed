"""Laws of update rules: any number of agents, batches, trees, hypergradients, bad input."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bilevel.core import inner_step_per_agent, simultaneous_gradient
from bilevel.hypergradient import BilevelProblem, Forward, Unrolled
from bilevel.optimizers import sgd
from bilevel.update_rules import (
    competitive,
    consensus,
    derivatives,
    extragradient,
    hola,
    lola,
    look_ahead,
    sos,
    symplectic,
)

FLOAT = torch.float64
RULES = {
    "look-ahead": look_ahead,
    "lola": lola,
    "lola detached": functools.partial(lola, detached=True),
    "sos": sos,
    "consensus": consensus,
    "symplectic": symplectic,
    "symplectic aligned": functools.partial(symplectic, align=True),
    "competitive": functools.partial(competitive, tolerance=1e-13),
    "extragradient": extragradient,
    "hola": hola,
}


def smooth_game(agents, seed, batch=()):
    """A differentiable game of cubic losses, each agent's own, [..., agent, 2] -> [..., agent]."""
    generator = torch.Generator().manual_seed(seed)
    linear = torch.randn(agents, agents, 2, 2, generator=generator, dtype=FLOAT)
    cubic = torch.randn(agents, agents, agents, generator=generator, dtype=FLOAT)

    def losses(own, others):
        eye = torch.eye(agents, dtype=FLOAT)[..., None]
        profile = eye * own.unsqueeze(-2) + (1 - eye) * others.unsqueeze(-3)  # [..., learner, agent, 2]
        pairs = torch.einsum("ijab,...ia,...ijb->...i", linear, own, profile)
        sums = profile.sum(-1)
        return pairs + torch.einsum("ijk,...ij,...ik,...i->...i", cubic, sums, sums, own.sum(-1)) / 10

    theta = torch.randn(*batch, agents, 2, generator=generator, dtype=FLOAT)
    return losses, theta


def hessian(losses, theta):
    """H as a matrix, [agent, 2, agent, 2]: for checks alone."""
    return torch.func.jacrev(lambda point: simultaneous_gradient(losses, point))(theta)


@settings(deadline=None, max_examples=20)
@given(agents=st.integers(2, 4), seed=st.integers(0, 10**6))
def test_products_agree_with_the_matrix(agents, seed):
    losses, theta = smooth_game(agents, seed)
    v = torch.randn(agents, 2, generator=torch.Generator().manual_seed(seed + 1), dtype=FLOAT)
    matrix = hessian(losses, theta)
    off = matrix * (1 - torch.eye(agents, dtype=FLOAT))[:, None, :, None]
    at = derivatives(losses, theta)
    close = functools.partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)
    close(at.interaction(v), torch.einsum("iajb,jb->ia", off, v))
    close(at.transposed_interaction(v), torch.einsum("iajb,ia->jb", off, v))
    close(at.jacobian(v), torch.einsum("iajb,jb->ia", matrix, v))
    close(at.transposed_jacobian(v), torch.einsum("iajb,ia->jb", matrix, v))
    every = torch.func.jacrev(lambda point: losses(point, point))(theta)  # [i, j, 2]: grad_j L_i
    close(at.shaping(), torch.einsum("jbia,ijb->ia", off, every))


@settings(deadline=None, max_examples=10)
@given(agents=st.integers(2, 3), seed=st.integers(0, 10**6))
def test_first_order_rules_are_affine_in_the_rate_and_competitive_is_not(agents, seed):
    losses, theta = smooth_game(agents, seed)
    for rule in (look_ahead, lola, RULES["lola detached"], consensus, symplectic):
        at_0, at_1, at_half = (rule(losses, theta, rate) for rate in (0.0, 1.0, 0.5))
        torch.testing.assert_close(at_half, (at_0 + at_1) / 2)
        torch.testing.assert_close(at_0, simultaneous_gradient(losses, theta))
    solved = [RULES["competitive"](losses, theta, rate) for rate in (1e-8, 0.05, 0.1)]
    xi = simultaneous_gradient(losses, theta)
    torch.testing.assert_close(solved[0], xi, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(solved[1], (xi + solved[2]) / 2, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", RULES)
def test_a_member_of_a_batch_equals_the_member_alone(name):
    losses, theta = smooth_game(3, 5, batch=(2, 3))
    whole = RULES[name](losses, theta, 0.05)
    for member in ((0, 0), (1, 2)):
        torch.testing.assert_close(whole[member], RULES[name](losses, theta[member], 0.05))


@pytest.mark.parametrize("name", RULES)
def test_trees_of_parameters(name):
    """The same game, its parameters in one tensor and in two leaves."""
    losses, theta = smooth_game(3, 7)
    whole = RULES[name](losses, theta, 0.05)

    def join(tree):
        return torch.stack((tree["first"], tree["second"]), -1)

    split = {"first": theta[:, 0], "second": theta[:, 1]}
    found = RULES[name](lambda own, others: losses(join(own), join(others)), split, 0.05)
    torch.testing.assert_close(join(found), whole)


def weighted(losses, optimizer, name):
    """The outer variables weight the losses of the agents, which learn by a rule."""
    step = inner_step_per_agent(
        lambda own, others, phi, data: losses(own, others) * phi,
        optimizer,
        lambda f, x: RULES[name](f, x, 0.05),
    )
    return BilevelProblem(step=step, outer_loss=lambda theta, phi, data: (theta**2).sum())


@pytest.mark.parametrize("name", RULES)
def test_hypergradient_through_a_rule_against_finite_differences(name):
    """Two steps are differentiated, third derivatives included."""
    losses, theta = smooth_game(3, 11)
    optimizer = sgd(0.05)
    problem = weighted(losses, optimizer, name)
    phi = torch.tensor([1.0, 0.5, 2.0], dtype=FLOAT)
    found = Unrolled()(problem, theta, optimizer.init(theta), phi, steps=2).gradient

    def outer(phi):
        point, state = theta, optimizer.init(theta)
        for _ in range(2):
            point, state = problem.step(point, state, phi, None)
        return float((point**2).sum())

    for place in range(3):
        shift = torch.zeros(3, dtype=FLOAT)
        shift[place] = 1e-5
        slope = (outer(phi + shift) - outer(phi - shift)) / 2e-5
        assert float(found[place]) == pytest.approx(slope, rel=2e-6, abs=1e-7)


@pytest.mark.parametrize("name", ["lola", "sos", "symplectic", "hola"])
def test_forward_mode_takes_the_same_hypergradient(name):
    losses, theta = smooth_game(2, 3)
    optimizer = sgd(0.05)
    problem = weighted(losses, optimizer, name)
    phi = torch.tensor([1.0, 0.5], dtype=FLOAT)
    found = [
        estimator(problem, theta, optimizer.init(theta), phi, steps=2).gradient
        for estimator in (Unrolled(), Forward())
    ]
    torch.testing.assert_close(*found)


def test_directions_carry_no_graph_where_nothing_is_differentiated():
    losses, theta = smooth_game(2, 3)
    for rule in RULES.values():
        assert not rule(losses, theta, 0.1).requires_grad
        with torch.no_grad():
            torch.testing.assert_close(rule(losses, theta, 0.1), rule(losses, theta.clone(), 0.1))


def test_losses_without_second_derivatives_leave_the_naive_direction():
    """Linear losses: every adjustment is zero."""
    theta = torch.tensor([1.0, 2.0], dtype=FLOAT)
    for rule in RULES.values():
        torch.testing.assert_close(rule(lambda own, others: 3 * own, theta, 0.5), torch.full_like(theta, 3.0))


@pytest.mark.parametrize("name", RULES)
def test_a_loss_without_an_agent_axis_is_refused(name):
    step = inner_step_per_agent(lambda own, others, phi, data: own.sum(), sgd(0.1), RULES[name])
    with pytest.raises(ValueError, match=r"must have shape \[\.\.\., agent\]"):
        step(torch.zeros(2), sgd(0.1).init(torch.zeros(2)), None, None)


def test_bad_settings_are_refused():
    losses, theta = smooth_game(2, 3)
    with pytest.raises(ValueError, match="order of hola must be 0 or more, not -1"):
        hola(losses, theta, order=-1)
    with pytest.raises(ValueError, match="GMRES left a residual"):
        competitive(losses, theta, rate=100.0, iterations=1)
    with pytest.raises(ValueError, match="--compile never"):
        torch.func.vmap(lambda point: competitive(losses, point))(theta[None])
