"""Simplified operations are fewer, and come to the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bilevel.compile._expressions import Constant, InputEntry, Operation, Ref
from bilevel.compile._scalars import Formulas, write_out

OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "negated": lambda x, y: -x,
    "scaled": lambda x, y: x * -2.0,
    "scaled from the left": lambda x, y: 0.5 * y,
    "one minus": lambda x, y: 1 - x,
    "plus": lambda x, y: y + 0.25,
    "less": lambda x, y: y - 3.0,
    "times zero": lambda x, y: 0 * x + y,
    "halved": lambda x, y: x / 1 - y / 2,
}


def written(function: Callable[..., tuple[Tensor]], x: Tensor) -> Formulas:
    return write_out(function, (x,), shared=(False,), max_size=1000)


def computed(formulas: Formulas, x: Tensor) -> Tensor:
    """The one result, for every member of x [member, entry]."""
    known, (ids,) = formulas
    values: dict[int, Tensor] = {}
    for number in known.used(ids.flatten().tolist()):
        match known.meanings[number]:
            case Constant(value):
                values[number] = torch.full((len(x),), value, dtype=known.dtypes[number])
            case InputEntry(_, place):
                values[number] = x[:, place]
            case Operation(target, args, kwargs):
                given = (values[arg.number] if isinstance(arg, Ref) else arg for arg in args)
                values[number] = target(*given, **dict(kwargs))
    return torch.stack([values[number] for number in ids.flatten().tolist()], 1)


def counted(function: Callable[..., Tensor]) -> Counter[str]:
    """What is left of a function of three numbers, by operation."""
    known, (ids,) = written(lambda x: (function(*x.unbind(1)),), torch.ones(1, 3, dtype=torch.float64))
    left = (known.meanings[number] for number in known.used(ids.flatten().tolist()))
    names = (str(meaning.target).split(".")[1] for meaning in left if isinstance(meaning, Operation))
    return Counter(name for name in names if name in ("add", "sub", "mul", "neg"))


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 99), st.integers(0, 99)),
        min_size=1,
        max_size=14,
    ),
    st.integers(0, 2**32),
)
@settings(max_examples=60)
def test_any_expression_comes_to_the_same(program: list[tuple[str, int, int]], seed: int) -> None:
    def function(x: Tensor) -> tuple[Tensor]:
        values = list(x.unbind(1))
        for name, first, second in program:
            values.append(OPERATIONS[name](values[first % len(values)], values[second % len(values)]))
        return (torch.stack(values, 1),)

    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    (expected,) = function(x)
    found = computed(written(function, x[:1].clone()), x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (lambda x, y, z: x * y - y * x + z * 0, {"mul": 1, "sub": 1}),
        (lambda x, y, z: -x * y + z, {"mul": 1, "sub": 1}),
        (lambda x, y, z: (-x) * (-y) * (-z), {"mul": 2, "neg": 1}),
        (lambda x, y, z: 2 * (3 * (x * -0.5)), {"mul": 1}),
        (lambda x, y, z: 0.5 * x - 0.5 * y + 0.5 * z, {"mul": 1, "sub": 1, "add": 1}),
        (lambda x, y, z: -x - y - z, {"add": 2, "neg": 1}),
        (lambda x, y, z: z - (-x), {"add": 1}),
    ],
)
def test_what_is_left(function: Callable[..., Tensor], left: dict[str, int]) -> None:
    assert counted(function) == left


def test_scales_whose_product_cannot_be_written_stay_apart() -> None:
    x = torch.tensor([[1e-200]], dtype=torch.float64)
    formulas = written(lambda x: (x * 1e200 * 1e200,), x)
    assert computed(formulas, x).item() == pytest.approx(1e200)
