"""Every pointwise operation that C has a form of gives what PyTorch gives, for NaN and infinity, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bilevel.compile import _c_operations as c_operations
from bilevel.compile._expressions import NotScalarError
from tests.bilevel.compile.in_c import library

VALUES = (0.0, -0.0, 0.3, -0.3, 1.0, -1.0, 1.5, 2.5, -2.5, 30.0, -800.0, 1e30, 1e-30, float("inf"))
SPECIAL = torch.tensor([*VALUES, float("-inf"), float("nan")], dtype=torch.float64)
UNARY = [
    *c_operations.UNARY, *c_operations.ROUNDINGS,
    "abs", "isnan", "neg", "reciprocal", "relu", "round", "rsqrt", "sigmoid", "sign", "sqrt",
]  # fmt: skip
BINARY = [
    "add", "atan2", "div", "eq", "ge", "gt", "le", "lt", "maximum", "minimum", "mul", "ne", "pow", "sub",
]  # fmt: skip
POWERS = (*c_operations.POWERS, 0.7, -3.0, 4.0)
ACTIVATIONS = ["elu", "gelu", "leaky_relu", "hardtanh", "silu", "softplus", "logsigmoid", "mish"]


def everything(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """All of it on two rows of numbers."""
    truth = x > y
    results = [getattr(torch, name)(x) for name in UNARY]
    results += [getattr(torch, name)(x, y) for name in BINARY]
    results += [x**power for power in POWERS]
    results += [getattr(torch.nn.functional, name)(x) for name in ACTIVATIONS]
    results += [x.clamp(-1, 2), x.clamp(max=0.5), x.clamp(y, 2 * y), x.clamp_min(y)]
    results += [torch.add(x, y, alpha=3), torch.sub(x, y, alpha=0.5), torch.where(truth, x, y)]
    results += [truth & (y > 0), truth | (y > 0), truth ^ (y > 0), ~truth, truth.logical_and(x.isnan())]
    results += [truth.to(torch.int64) * 2 - 5, truth.to(x.dtype) / 3, 1 - x, 2 / y, 2.0**x]
    return tuple(results)


@pytest.mark.parametrize("members", [1, 16], ids=["one", "vectors"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 2e-6)], ids=["double", "single"]
)
def test_every_operation(members: int, dtype: torch.dtype, tolerance: float, tmp_path: Path) -> None:
    x, y = torch.cartesian_prod(SPECIAL, SPECIAL).to(dtype).T.reshape(2, -1, members).unbind()
    compiled = library(tmp_path, everything, (x[0], y[0]))
    wrong = []
    for given in zip(x, y, strict=True):
        for place, (found, expected) in enumerate(zip(compiled(*given), everything(*given), strict=True)):
            if not torch.allclose(found, expected, rtol=tolerance, atol=0, equal_nan=True):
                wrong.append((place, *given, found, expected))
    assert wrong == []


@pytest.mark.parametrize(
    "function",
    [lambda x: x.digamma(), lambda x: torch.div(x, 3, rounding_mode="floor"), lambda x: x.to(torch.float16)],
    ids=["digamma", "floor", "half"],
)
def test_what_has_no_form_in_c_is_refused(function: Callable[[Tensor], Tensor], tmp_path: Path) -> None:
    with pytest.raises(NotScalarError, match="has no"):
        library(tmp_path, lambda x: (function(x),), (torch.ones(3, 2),))
