"""Functions written out entry by entry, in C, give what they give eagerly, whatever the number of members."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bilevel.compile._expressions import Expressions, NotScalarError, Operation, Ref, apply
from bilevel.compile._scalars import Formulas, write_out
from tests.bilevel.compile.in_c import library

aten = torch.ops.aten
TABLE = torch.tensor([[2, 0, 1], [1, 1, 0]])
FACTORS = torch.tensor([[0.5, -2.0, 0.0], [1.0, -1.0, 3.0]], dtype=torch.float64)
WEIGHTS = torch.nn.Parameter(FACTORS.clone(), requires_grad=False)

Function = Callable[[Tensor, Tensor], Tensor]
FUNCTIONS: dict[str, Function] = {
    "view": lambda x, y: x.view(-1, 6),
    "view of a transposed tensor": lambda x, y: x.transpose(1, 2).reshape(-1, 6),
    "view of a sum over one entry": lambda x, y: x.mT.unsqueeze(1).sum(1).reshape(-1, 6),
    "permute": lambda x, y: x.permute(0, 2, 1),
    "select": lambda x, y: x[:, 1],
    "slice": lambda x, y: x[..., 1:],
    "unbind and stack": lambda x, y: torch.stack(x.unbind(-1)[::-1], -1),
    "cat": lambda x, y: torch.cat((x, y.unsqueeze(1)), 1),
    "split": lambda x, y: x.split([1, 2], -1)[1],
    "expand": lambda x, y: y.unsqueeze(1).expand(-1, 4, -1),
    "flip": lambda x, y: x.flip(-1),
    "roll": lambda x, y: x.roll(1, -1),
    "diagonal": lambda x, y: x[..., :2].diagonal(dim1=1, dim2=2),
    "pad": lambda x, y: torch.nn.functional.pad(x, (1, 2), value=7.0),
    "broadcasting": lambda x, y: x * y.unsqueeze(1) + 3,
    "constants": lambda x, y: x * FACTORS + (1 - FACTORS),
    "a parameter closed over": lambda x, y: x * WEIGHTS,
    "a new constant": lambda x, y: x * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64),
    "zeros and ones": lambda x, y: torch.zeros_like(x) + torch.ones_like(x) * x + x.new_full((2, 3), 4.0),
    "minus minus": lambda x, y: x.neg().neg() - (0 - x) + (x - 0) / 1,
    "sum": lambda x, y: x.sum((1, 2)),
    "sum kept": lambda x, y: x.sum(-1, keepdim=True),
    "sum of booleans": lambda x, y: (x > 0).sum(-1),
    "sum of integers": lambda x, y: (x > 0).to(torch.int32).sum((1, 2)),
    "sum in another dtype": lambda x, y: x.sum(-1, dtype=torch.float32),
    "mean": lambda x, y: x.mean(-1),
    "mean of two axes": lambda x, y: x.mean((1, 2)),
    "largest and least": lambda x, y: x.amax(-1) - x.amin(1, keepdim=True).squeeze(1)[:, :2],
    "matrix product": lambda x, y: x @ x.mT,
    "matrix and vector": lambda x, y: (x @ y.unsqueeze(-1)).squeeze(-1),
    "constant matrix": lambda x, y: x @ FACTORS.mT,
    "softmax of two": lambda x, y: x.softmax(1),
    "softmax of three": lambda x, y: x.softmax(-1),
    "log softmax of two": lambda x, y: x.log_softmax(1),
    "log softmax of three": lambda x, y: x.log_softmax(-1),
    "softmax far out": lambda x, y: (300 * x).softmax(1) + (300 * x).softmax(-1),
    "log softmax far out": lambda x, y: (300 * x).log_softmax(1) + (300 * x).log_softmax(-1),
    "index": lambda x, y: x[..., TABLE[0]],
    "gather": lambda x, y: x.gather(-1, TABLE.expand(x.shape)),
    "index_select": lambda x, y: x.index_select(-1, TABLE[0]),
    "where": lambda x, y: torch.where(x > 0, x.exp(), y.unsqueeze(1)),
    "where of a constant": lambda x, y: torch.where(FACTORS > 0, x, -x),
    "casts": lambda x, y: (x.to(torch.float32) * 2).to(torch.float64),
    "counters": lambda x, y: (x > 0).to(torch.int64) * 2 + 1,
    "integers and floats alike": lambda x, y: (x > 0).to(torch.int64) * 2 + (x > 0).to(torch.int64) * 2.0,
    "clamp and powers": lambda x, y: x.clamp(-0.5, 0.5).abs().pow(1.5) + x**2,
    "logical": lambda x, y: (x > 0) & (y.unsqueeze(1) < 0.5) | (x == 0),
    "in place": lambda x, y: (x * 2).add_(y.unsqueeze(1)).clamp_(max=1).mul_(3),
    "nothing of the input": lambda x, y: torch.full_like(y, 2.0),
}


def gradient_of(function: Function) -> Function:
    """The derivative of a smooth total, through `torch.func`, as kernels take it."""

    def differentiated(x: Tensor, y: Tensor) -> Tensor:
        result, pull = torch.func.vjp(lambda x: function(x, y), x)
        (pulled,) = pull(torch.cos(result))
        return pulled

    return differentiated


DIFFERENTIABLE = [
    "view of a transposed tensor", "cat", "expand", "pad", "broadcasting", "sum kept", "mean of two axes",
    "matrix product", "softmax of two", "softmax of three", "log softmax of two", "log softmax of three",
    "softmax far out", "where", "clamp and powers",
]  # fmt: skip
CASES = {**FUNCTIONS, **{f"gradient of {name}": gradient_of(FUNCTIONS[name]) for name in DIFFERENTIABLE}}


def drawn(members: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(members, 2, 3, generator=generator, dtype=torch.float64)
    y = torch.randn(members, 3, generator=generator, dtype=torch.float64)
    return torch.where(x.abs() < 0.1, 0.0, x), y  # some zeros


Compiled = Callable[[str, int], Callable[..., list[Tensor]]]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """All cases as one library, for one member and for any number of them."""
    folder = tmp_path_factory.mktemp("libraries")

    def everything(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return tuple(case(x, y) for case in CASES.values())

    libraries = {many: library(folder, everything, drawn(2 if many else 1, 0)) for many in (False, True)}
    return lambda name, members: lambda *leaves: [libraries[members > 1](*leaves)[list(CASES).index(name)]]


@pytest.mark.parametrize("name", CASES)
@given(members=st.integers(1, 11), seed=st.integers(0, 2**32))
@settings(max_examples=5)
def test_written_out_it_is_the_function(name: str, members: int, seed: int, compiled: Compiled) -> None:
    leaves = drawn(members, seed)
    expected = CASES[name](*leaves)
    (found,) = compiled(name, members)(*leaves)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def written(function: Callable[..., Tensor], *examples: Tensor, max_size: int = 1000) -> Formulas:
    shared = [example.ndim == 0 for example in examples]
    return write_out(lambda *leaves: (function(*leaves),), examples, shared=shared, max_size=max_size)


def targets(formulas: Formulas) -> list[object]:
    """The operations that are left."""
    known = formulas.known
    numbers = [number for ids in formulas.results for number in ids.flatten().tolist()]
    left = (known.meanings[number] for number in known.used(numbers))
    return [meaning.target for meaning in left if isinstance(meaning, Operation)]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_shared_number_is_summed_over_members(threads: int, tmp_path: Path) -> None:
    x, scale = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), torch.tensor(2.0)
    compiled = library(tmp_path, lambda x, s: ((s * x).sum(), s + 1, s * x), (x, scale))
    total, more, each = compiled(x, scale, threads=threads)
    assert (total.item(), more.item(), total.ndim) == (42, 3, 0)
    assert torch.equal(each, 2 * x)


def test_what_is_said_twice_is_computed_once() -> None:
    formulas = written(lambda x: torch.stack((x.exp(), x.exp() + 1)), torch.ones(1))
    assert targets(formulas).count(aten.exp.default) == 1


def test_masks_fold_away() -> None:
    mask = torch.eye(3, dtype=torch.float64)
    formulas = written(lambda x: (x.unsqueeze(-1) * mask).sum(-1), torch.ones(1, 3, dtype=torch.float64))
    assert targets(formulas) == []


def test_times_zero_is_zero_even_for_an_infinity(tmp_path: Path) -> None:
    x = torch.tensor([[torch.inf], [1.0]])
    (found,) = library(tmp_path, lambda x: (x * torch.zeros(1),), (x,))(x)
    assert found.tolist() == [[0.0], [0.0]]


def test_constants_may_be_made_in_place_and_what_others_see_not_changed() -> None:
    def masked(x: Tensor) -> Tensor:
        mask = torch.zeros(3)
        mask[1] = 2.0
        return x * mask

    known, (ids,) = written(masked, torch.ones(1, 3))
    assert [known.value(Ref(number)) for number in ids.flatten().tolist()] == [0.0, None, 0.0]
    for seen_elsewhere in (
        lambda x: torch.ones(1, 3).mul_(x) * 2,
        lambda x: x.clone()[:, 1].add_(x[:, 0]),
        lambda x: x.view(3).add_(1),
    ):
        with pytest.raises(NotScalarError, match="changes a tensor in place"):
            written(seen_elsewhere, torch.ones(1, 3))


def test_plain_values_that_are_equal_but_not_the_same_are_two_operations() -> None:
    known = Expressions(10)
    x = Ref(known.entry(0, 0, torch.int64, shared=False))
    two, other = (apply(known, aten.mul.Tensor, (x, factor)) for factor in (2, 2.0))
    assert (known.dtypes[two], known.dtypes[other]) == (torch.int64, torch.float32)
    y = Ref(known.entry(1, 0, torch.float64, shared=False))
    assert apply(known, aten.pow.Tensor_Scalar, (y, 0.0)) != apply(known, aten.pow.Tensor_Scalar, (y, -0.0))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: x[:, x[0].argsort()], "has no entry-by-entry form"),
        (lambda x: x.index_select(1, (x[0] > 0).to(torch.int64)), "an index depends on the input"),
        (lambda x: torch.linalg.inv(x.view(2, 2)), "has no entry-by-entry form"),
        (lambda x: x * float(x.sum()), "has no entry-by-entry form"),
    ],
    ids=["sorting", "index", "inverse", "value"],
)
def test_what_has_no_such_form_says_why(function: Callable[[Tensor], Tensor], reason: str) -> None:
    with pytest.raises(NotScalarError, match=reason):
        written(function, torch.tensor([[1.0, 2.0, -3.0, 5.0]]))


@pytest.mark.parametrize(
    ("function", "size"),
    [(lambda x: x, 40), (lambda x: x.cos().sin().exp(), 10), (lambda x: x[:, :1] + torch.rand(1, 50), 1)],
    ids=["input", "operations", "constant"],
)
def test_too_many_operations_are_refused(function: Callable[[Tensor], Tensor], size: int) -> None:
    with pytest.raises(NotScalarError, match=r"more than 30 operations|constant of 50 entries"):
        written(function, torch.rand(1, size), max_size=30)
