"""The bound on the local price of anarchy: by hand, by its definition, and its slope by differences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bilevel.methods import anarchy_bound
from bilevel.methods._d3c_bound import identity_slope, mirror_step

SMALL = 1e-6


def quadratic(point: Tensor) -> Tensor:
    """Two agents, a number each: f_0 = x^2 + 3 y + 20, f_1 = (x - y)^2 + 2."""
    x, y = point
    return torch.stack((x**2 + 3 * y + 20, (x - y) ** 2 + 2))


def at(point: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    jacobian: Tensor = torch.func.jacrev(quadratic)(point)
    found = anarchy_bound(weights[None], quadratic(point)[None], jacobian[None, ..., None])
    return found.bound[0], found.slope[0]


def test_two_agents_by_hand() -> None:
    """At (1, -2), everybody feeling its own: f = (15, 11), gradients (2, 3) and (6, -6).

    Agent 0's step is -2, agent 1's is +6. The latter raises f_0 by 3 * 6 = 18 and lowers f_1 by 36; the
    former lowers f_1 by 12.
    """
    bound, slope = at(torch.tensor([1.0, -2.0], dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(bound, torch.tensor([1 + 18 / 15, 1.0], dtype=torch.float64))
    by_hand = torch.tensor([[0.0, (-36 - 18 / 15 * 11) / 15], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(slope, by_hand, rtol=1e-14, atol=1e-14)


points = st.tuples(st.floats(-2, 2), st.floats(-2, 2)).map(lambda p: torch.tensor(p, dtype=torch.float64))
rows = st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 0.95)).map(
    lambda own: torch.tensor([[own[0], 1 - own[0]], [1 - own[1], own[1]]], dtype=torch.float64)
)


@given(points, rows)
def test_the_bound_is_its_definition(point: Tensor, weights: Tensor) -> None:
    """1 + relu(d/dt log f_i^A + |grad_i f_i^A|^2 / f_i^A) along the flow, by differences."""

    def mixed(point: Tensor) -> Tensor:
        return weights @ quadratic(point)

    own: Tensor = torch.func.jacrev(mixed)(point).diagonal()
    before, after = mixed(point + SMALL * own), mixed(point - SMALL * own)  # against and along the flow
    growth = (after.log() - before.log()) / (2 * SMALL) + own**2 / mixed(point)
    torch.testing.assert_close(at(point, weights)[0], 1 + growth.clamp(min=0), rtol=1e-6, atol=1e-6)


@given(points, rows)
def test_the_slope_is_that_of_differences(point: Tensor, weights: Tensor) -> None:
    """Of each agent's bound by its own row, entries moved one at a time as free numbers."""
    slope = at(point, weights)[1]
    for i in range(2):
        for j in range(2):
            moved = torch.zeros(2, 2, dtype=torch.float64)
            moved[i, j] = SMALL
            up, down = (float(at(point, weights + sign * moved)[0][i]) for sign in (1, -1))
            if min(up, down) == 1 < max(up, down):
                continue  # the edge of the relu lies between them
            assert (up - down) / (2 * SMALL) == pytest.approx(float(slope[i, j]), rel=1e-5, abs=1e-6)


def test_agents_who_touch_nobody_else_stay() -> None:
    jacobian = torch.zeros(1, 3, 3, 4, dtype=torch.float64)
    jacobian[:, range(3), range(3)] = torch.randn(
        1, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    found = anarchy_bound(torch.eye(3).double()[None], torch.ones(1, 3).double(), jacobian)
    assert torch.equal(found.bound, torch.ones(1, 3).double())
    assert not found.slope.any()


def test_seeds_are_independent() -> None:
    draws = torch.Generator().manual_seed(0)
    weights = (3 * torch.randn(5, 3, 3, generator=draws, dtype=torch.float64)).softmax(-1)
    losses = 1 + torch.rand(5, 3, generator=draws, dtype=torch.float64)
    jacobian = torch.randn(5, 3, 3, 4, generator=draws, dtype=torch.float64)
    together = anarchy_bound(weights, losses, jacobian)
    assert (together.bound > 1).any()
    for seed in range(5):
        alone = anarchy_bound(weights[seed, None], losses[seed, None], jacobian[seed, None])
        for one, many in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], many[seed], rtol=1e-13, atol=1e-13)


@given(st.integers(0, 2**31), st.floats(0.01, 1e4))
def test_a_mirror_step_keeps_rows_on_the_simplex_and_above_the_floor(seed: int, rate: float) -> None:
    draws = torch.Generator().manual_seed(seed)
    weights = torch.randn(4, 3, 3, generator=draws, dtype=torch.float64).softmax(-1)
    slope = torch.randn(4, 3, 3, generator=draws, dtype=torch.float64)
    moved = mirror_step(weights.log(), slope, rate, floor=-5.0)
    assert float(moved.min()) >= -5
    after = moved.softmax(-1)
    torch.testing.assert_close(after.sum(-1), torch.ones(4, 3).double(), rtol=0, atol=1e-12)
    free = weights * (-rate * (slope - slope.amin(-1, keepdim=True))).exp()
    free = free / free.sum(-1, keepdim=True)
    above = (free.log() > -5).all(-1)
    torch.testing.assert_close(after[above], free[above], rtol=1e-9, atol=1e-12)


def test_the_divergence_from_identity_pulls_back_and_a_large_one_keeps_it() -> None:
    weights = torch.tensor([[0.6, 0.4], [0.3, 0.7]], dtype=torch.float64)
    divergence = torch.func.grad(lambda w: -w.diagonal().log().sum())(weights)  # KL(e_i || A_i)
    torch.testing.assert_close(identity_slope(weights), divergence, rtol=1e-14, atol=0)
    moved = mirror_step(weights.log(), 1e3 * identity_slope(weights), rate=1.0, floor=-20.0).softmax(-1)
    torch.testing.assert_close(moved, torch.eye(2, dtype=torch.float64), rtol=0, atol=3e-9)
