"""Learned weights of losses as a part of an outer variable: shapes, factors, and whom each part follows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bilevel.sharing import (
    OBJECTIVES,
    TERMS,
    LearnedMatrix,
    OuterVariable,
    PartedObjective,
    SharedBy,
    Sharing,
    WithLossWeights,
)

WELFARE, OWN = OBJECTIVES["welfare"], OBJECTIVES["own-return"]
MATRIX = LearnedMatrix(Sharing(torch.ones(3, 3, dtype=torch.bool), own_share=0.5))


@dataclass(frozen=True, eq=False)
class OfShape:
    """A variable of any shape, as a planner's single row or nothing at all."""

    shape: tuple[int, ...]
    agents: int = 3
    exact: bool = False

    def initial(self, seed: int, seeds: int) -> Tensor:
        return torch.arange(float(math.prod(self.shape))).reshape(self.shape).expand(seeds, *self.shape)

    def transfer(self, phi: Tensor) -> SharedBy:
        return SharedBy(phi)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(most=st.floats(1.001, 1e6))
def test_factors_start_at_exactly_one(dtype: torch.dtype, most: float) -> None:
    variable = WithLossWeights(MATRIX, most)
    factors = variable.factors(variable.initial(0, 2).to(dtype))
    assert factors.dtype == dtype
    assert torch.equal(factors, torch.ones(2, 3, 3, dtype=dtype))


@given(free=st.floats(-30, 30), most=st.floats(1.1, 100.0))
def test_factors_are_the_powers_of_the_greatest(free: float, most: float) -> None:
    variable = WithLossWeights(OfShape((0,), agents=1), most)
    factors = variable.factors(torch.full((1, 1, 3), free, dtype=torch.float64))
    expected = most ** (2 / (1 + math.exp(-free)) - 1)
    assert factors.tolist() == [[[pytest.approx(expected, rel=1e-12)] * 3]]
    assert 1 / most * (1 - 1e-12) <= float(factors[0, 0, 0]) <= most * (1 + 1e-12)


@pytest.mark.parametrize(
    ("variable", "rows", "entries"),
    [(MATRIX, 3, 6), (OfShape((1, 5)), 1, 14), (OfShape((0,)), 3, 3), (OfShape((3, 4)), 3, 7)],
)
def test_parts_are_what_was_joined(variable: OuterVariable, rows: int, entries: int) -> None:
    both = WithLossWeights(variable, 10.0)
    phi = both.initial(0, 2)
    assert phi.shape == (2, rows, entries)
    own, free = both.parts(phi)
    assert torch.equal(own, variable.initial(0, 2))
    assert torch.equal(free, torch.zeros(2, 3, len(TERMS), dtype=phi.dtype))
    several = torch.randn(4, *phi.shape)
    own, free = both.parts(several)
    assert own.shape == (4, 2, *variable.initial(0, 1).shape[1:])
    assert free.shape == (4, 2, 3, len(TERMS))
    assert torch.equal(both.joined(own, free), several)


def test_sharing_is_that_of_the_variable_whatever_the_weights_are() -> None:
    both = WithLossWeights(MATRIX, 10.0)
    own = torch.randn(2, 3, 3, dtype=torch.float64)
    phi = both.joined(own, torch.randn(2, 3, 3, dtype=torch.float64))
    matrix = both.transfer(phi).matrix
    assert matrix is not None
    assert torch.equal(matrix, MATRIX.transfer(own).matrix)
    torch.testing.assert_close(matrix.sum(-1), torch.ones(2, 3, dtype=torch.float64), rtol=0, atol=1e-15)


@pytest.mark.parametrize("variable", [MATRIX, OfShape((1, 5))])
def test_each_part_follows_its_own_objective(variable: OuterVariable) -> None:
    """With agents' objectives apart, welfare is their sum, and an own return its agent's alone."""
    both = WithLossWeights(variable, 10.0)
    objective = PartedObjective.of(both, WELFARE, OWN)
    assert objective.several
    gradient = torch.randn(3, *both.initial(0, 2).shape)  # objective, seed, row, entry
    own, free = both.parts(objective.own_gradient(gradient))
    of_own, of_free = both.parts(gradient)
    torch.testing.assert_close(own, of_own.sum(0))
    for agent in range(3):
        assert torch.equal(free[:, agent], of_free[agent, :, agent])


def test_what_has_no_objective_does_not_move() -> None:
    both = WithLossWeights(MATRIX, 10.0)
    gradient = torch.randn(2, 3, 6)
    own, free = both.parts(PartedObjective.of(both, None, WELFARE).own_gradient(gradient))
    assert not own.any()
    assert torch.equal(free, gradient[..., 3:])
    own, free = both.parts(PartedObjective.of(both, WELFARE, None).own_gradient(gradient))
    assert torch.equal(own, gradient[..., :3])
    assert not free.any()
    own, free = both.parts(PartedObjective.of(both, None, OWN).own_gradient(gradient.expand(3, 2, 3, 6)))
    assert not own.any()
    assert torch.equal(free, gradient[..., 3:])
