"""Learned factors on the weights of losses."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bilevel.sharing import loss_weight_factors


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(most=st.floats(1.001, 1e6))
def test_factors_start_at_exactly_one(dtype: torch.dtype, most: float) -> None:
    factors = loss_weight_factors(torch.zeros(2, 3, 3, dtype=dtype), most)
    assert torch.equal(factors, torch.ones(2, 3, 3, dtype=dtype))


@given(free=st.floats(-30, 30), most=st.floats(1.1, 100.0))
def test_factors_are_the_powers_of_the_greatest(free: float, most: float) -> None:
    factors = loss_weight_factors(torch.full((1, 1, 3), free, dtype=torch.float64), most)
    expected = most ** (2 / (1 + math.exp(-free)) - 1)
    assert factors.tolist() == [[[pytest.approx(expected, rel=1e-12)] * 3]]
    assert 1 / most * (1 - 1e-12) <= float(factors[0, 0, 0]) <= most * (1 + 1e-12)
