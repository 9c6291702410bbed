"""Differentiable games: closed forms of their gradients, and of what simple learners do in them."""

import dataclasses
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bilevel.core import inner_step_per_agent
from bilevel.optimizers import sgd
from games.matrix import DifferentiableGame
from games.matrix._differentiable import TANDEM, BilinearLoss, bilinear, tandem_loss

BILINEAR = bilinear()
START = torch.tensor([[0.6], [-0.8]], dtype=torch.float64)
sizes = st.floats(0.01, 1.9)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def coupled(theta: Tensor) -> Tensor:
    """Three agents whose losses have no symmetry at all."""
    x, y, z = theta.unbind(-2)
    return torch.stack(((x * y * z).sum(-1), (x.sin() * y**2).sum(-1), (z**3 - x * z).sum(-1)), -1)


COUPLED = DifferentiableGame(num_agents=3, loss=coupled)


def test_everybody_gets_the_gradient_of_its_own_loss() -> None:
    theta = normal(4, 3, 2).requires_grad_()
    losses = coupled(theta).sum(0)
    whole = [torch.autograd.grad(loss, theta, retain_graph=True)[0] for loss in losses]
    expected = torch.stack([gradient[:, agent] for agent, gradient in enumerate(whole)], 1)
    found = COUPLED.gradients(theta.detach())
    torch.testing.assert_close(found, expected, atol=1e-13, rtol=0)
    for member, alone in enumerate(theta.detach()):
        torch.testing.assert_close(found[member], COUPLED.gradients(alone), atol=1e-14, rtol=0)


def test_losses_keep_own_and_others_apart() -> None:
    own, others = normal(2, 3, 2, seed=1), normal(2, 3, 2, seed=2)
    found = COUPLED.losses(own, others)
    for agent in range(3):
        mixed = others.clone()
        mixed[:, agent] = own[:, agent]
        torch.testing.assert_close(found[:, agent], coupled(mixed)[:, agent], atol=1e-14, rtol=0)
    torch.testing.assert_close(COUPLED.losses(own, own), coupled(own), atol=1e-14, rtol=0)


def test_gradients_are_differentiable_in_all_agents() -> None:
    # The Jacobian of bilinear gradients (A y, -A' x) is [[0, A], [-A', 0]]: all of it lies across agents.
    matrix = ((1.0, 2.0), (-3.0, 0.5))
    jacobian = torch.func.jacrev(bilinear(matrix).gradients)(normal(2, 2)).reshape(4, 4)
    A, zero = torch.tensor(matrix, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    expected = torch.cat((torch.cat((zero, A), 1), torch.cat((-A.T, zero), 1)))
    torch.testing.assert_close(jacobian, expected, atol=1e-14, rtol=0)
    assert torch.autograd.gradcheck(COUPLED.gradients, normal(3, 2).requires_grad_())


@given(first=st.floats(-3, 3), second=st.floats(-3, 3), size=st.floats(0.05, 0.45))
@settings(max_examples=10)
def test_naive_learners_in_tandem_reach_the_line(first: float, second: float, size: float) -> None:
    # x + y - 1 shrinks by 1 - 4 a in each step, and x - y stays as it was.
    theta = torch.tensor([[first], [second]], dtype=torch.float64)
    for _ in range(120):
        theta = theta - size * TANDEM.gradients(theta)
    assert theta.sum().item() == pytest.approx(1, abs=1e-10)
    assert (theta[0] - theta[1]).item() == pytest.approx(first - second, abs=1e-10)


def test_tandem_losses_by_hand() -> None:
    assert tandem_loss(torch.tensor([[2.0], [1.0]])).tolist() == [9 - 4, 9 - 2]


@given(size=sizes)
@settings(max_examples=20)
def test_simultaneous_descent_spirals_out(size: float) -> None:
    theta = START
    for _ in range(20):
        before, theta = theta, theta - size * BILINEAR.gradients(theta)
        assert (theta.norm() / before.norm()).item() == pytest.approx(math.sqrt(1 + size**2), rel=1e-12)


@given(size=sizes)
@settings(max_examples=10)
def test_alternating_descent_stays_on_an_ellipse(size: float) -> None:
    # x' = x - a y, then y' = y + a x', keeps x^2 - a x y + y^2, an ellipse for a < 2
    theta, kept = START, []
    for _ in range(60):
        for agent in range(2):
            moves = torch.arange(2)[:, None] == agent
            theta = torch.where(moves, theta - size * BILINEAR.gradients(theta), theta)
        x, y = theta.flatten().tolist()
        kept.append(x**2 - size * x * y + y**2)
    assert kept == pytest.approx([0.36 + 0.64 + 0.48 * size] * 60, rel=1e-8)


@given(size=st.floats(0.05, 1.5))
@settings(max_examples=20)
def test_extragradient_turns_by_its_own_factor(size: float) -> None:
    # x' = (1 - a^2) x - a y and y' = (1 - a^2) y + a x: the radius goes by sqrt(1 - a^2 + a^4)
    theta = START
    for _ in range(10):
        ahead = theta - size * BILINEAR.gradients(theta)
        before, theta = theta, theta - size * BILINEAR.gradients(ahead)
        factor = math.sqrt(1 - size**2 + size**4)
        assert (theta.norm() / before.norm()).item() == pytest.approx(factor, rel=1e-12)


@pytest.mark.parametrize(("size", "radius"), [(0.5, 0.0), (1.0, 1.0), (1.1, math.inf)])
def test_extragradient_converges_below_one_circles_at_one_and_diverges_above(
    size: float, radius: float
) -> None:
    theta = START
    for _ in range(400):
        theta = theta - size * BILINEAR.gradients(theta - size * BILINEAR.gradients(theta))
    if radius == math.inf:
        assert theta.norm().item() > 1e6
    else:
        assert theta.norm().item() == pytest.approx(radius, abs=1e-10)


def test_a_bilevel_step_takes_its_losses() -> None:
    step = inner_step_per_agent(lambda own, others, phi, data: COUPLED.losses(own, others), sgd(0.1))
    theta = normal(5, 3, 2)
    after, _ = step(theta, sgd(0.1).init(theta), None, None)
    torch.testing.assert_close(after, theta - 0.1 * COUPLED.gradients(theta), atol=1e-14, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_types_are_kept(dtype: torch.dtype) -> None:
    theta = torch.ones(3, 2, 2, dtype=dtype)
    game = bilinear(((1.0, 0.0), (0.0, 2.0)))
    assert game.gradients(theta).dtype == game.losses(theta, theta).dtype == dtype


def test_pickling_and_equality() -> None:
    for game in (TANDEM, bilinear(((2.0,),))):
        assert pickle.loads(pickle.dumps(game)) == game
    assert bilinear() == bilinear()
    assert dataclasses.replace(TANDEM, num_agents=3) != TANDEM


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (((1.0, 2.0),), "must be square; its 1 rows have 2 entries"),
        ((), "must be square; its 0 rows"),
        (((math.nan,),), "must hold finite numbers"),
    ],
)
def test_bad_matrices_are_refused(matrix: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BilinearLoss(matrix=matrix)


def test_bad_parameters_and_losses_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 agent; num_agents is 0"):
        DifferentiableGame(num_agents=0, loss=tandem_loss)
    with pytest.raises(ValueError, match=r"with 2 agents.* they have \(3, 1\) and \(3, 1\)"):
        TANDEM.gradients(torch.zeros(3, 1))
    with pytest.raises(ValueError, match=r"they have \(2, 1\) and \(2, 2\)"):
        TANDEM.losses(torch.zeros(2, 1), torch.zeros(2, 2))
    total = DifferentiableGame(num_agents=2, loss=lambda theta: theta.sum((-2, -1)))
    with pytest.raises(ValueError, match=r"it turned \(2, 2, 1\) into \(2,\)"):
        total.gradients(torch.zeros(2, 1))
