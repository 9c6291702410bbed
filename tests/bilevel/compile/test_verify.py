"""A package that computes something else is found, whatever way it is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from bilevel.compile._program import difference, perturbed

Function = Callable[[Sequence[Tensor]], Sequence[Tensor]]


def right(leaves: Sequence[Tensor]) -> list[Tensor]:
    x, y, count = leaves
    return [x * y, y.sum(), count + 1]


def inputs(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    zeros = torch.zeros(3, dtype=dtype)
    return [zeros, torch.ones(3, dtype=dtype), torch.tensor(4)]


def replaced(place: int, change: Callable[[Sequence[Tensor]], Tensor]) -> Function:
    def wrong(leaves: Sequence[Tensor]) -> list[Tensor]:
        results = right(leaves)
        results[place] = change(leaves)
        return results

    return wrong


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (replaced(0, lambda leaves: leaves[0] + leaves[1] - leaves[1]), "result 0 is off by"),
        (replaced(0, lambda leaves: torch.zeros(3, dtype=torch.float64)), "result 0 is off by"),
        (replaced(0, lambda leaves: leaves[0].square() * 1e8), "result 0 is off by"),
        (replaced(1, lambda leaves: leaves[1].sum() * (1 + 1e-8)), "result 1 is off by"),
        (replaced(1, lambda leaves: leaves[1].sum() * torch.nan), "result 1 is off by nan"),
        (replaced(1, lambda leaves: leaves[1].sum(0, keepdim=True)), r"result 1 is torch.float64\[1\], not"),
        (replaced(1, lambda leaves: leaves[1].sum().float()), "result 1 is torch.float32.*, not"),
        (replaced(2, lambda leaves: torch.tensor(4)), "result 2 differs"),
        (lambda leaves: right(leaves)[:2], "2 results instead of 3"),
    ],
    ids=["x for y", "baked", "square", "scale", "nan", "shape", "dtype", "counter", "missing"],
)
def test_what_is_wrong_is_said(found: Function, reason: str) -> None:
    said = difference(found, right, inputs())
    assert said is not None
    assert re.search(reason, said), said


def test_rounding_is_not_wrong() -> None:
    assert difference(right, right, inputs()) is None
    almost = replaced(1, lambda leaves: leaves[1].sum() * (1 + 1e-12))
    assert difference(almost, right, inputs()) is None
    almost = replaced(1, lambda leaves: leaves[1].sum() * (1 + 1e-5))
    assert difference(almost, right, inputs(torch.float32)) is None


def test_the_same_nan_is_no_difference() -> None:
    def both(leaves: Sequence[Tensor]) -> list[Tensor]:
        return [leaves[0] / leaves[0], leaves[1]]

    assert difference(both, both, [torch.zeros(2), torch.ones(2)]) is None


def test_two_inputs_that_are_alike_are_parted() -> None:
    zeros = torch.zeros(2, dtype=torch.float64)

    def swapped(leaves: Sequence[Tensor]) -> list[Tensor]:
        return [leaves[1], leaves[0]]

    assert difference(swapped, lambda leaves: list(leaves), [zeros, zeros]) is not None


def test_what_is_perturbed_stays_near_and_of_its_kind() -> None:
    leaves = [torch.tensor([0.0, -2.0, torch.inf]), torch.tensor([1, 2]), torch.tensor([True])]
    moved, counts, flags = perturbed(leaves)
    assert 0 < moved[0] < 0.011
    assert abs(moved[1] + 2) <= 0.11
    assert moved[2] == torch.inf
    assert torch.equal(counts, leaves[1])
    assert torch.equal(flags, leaves[2])
