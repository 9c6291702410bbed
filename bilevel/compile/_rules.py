"""Rules of aten operations on tensors of expression numbers.

torch's own views, concatenations and look-ups move the numbers. Pointwise operations are applied entry by
entry; a few more have a rule of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bilevel.compile._expressions import Expressions, NotScalarError, Ref, apply

aten = torch.ops.aten


class Numbers(NamedTuple):
    """A tensor of expression numbers, int64, in the shape of the tensor that it stands for."""

    ids: Tensor


MOVES = frozenset(
    getattr(getattr(aten, name), overload)
    for overload, names in {
        "default": "alias cat clone detach diagonal diagonal_scatter expand flip lift_fresh_copy permute "
        "repeat roll select_scatter slice_scatter split_with_sizes squeeze stack t unsqueeze",
        "Tensor": "slice split",
        "dim": "squeeze",
        "dims": "squeeze",
        "int": "select transpose unbind",
    }.items()
    for name in names.split()
)
"""Operations that only move entries."""

PLACEMENT = ("device", "layout", "memory_format", "pin_memory")
"""Arguments without a meaning for single entries."""


def rewrite(known: Expressions, target: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Apply an aten overload, with `Numbers` in place of tensors; NotScalarError if there is no rule."""
    kwargs = {name: value for name, value in kwargs.items() if name not in PLACEMENT and value is not None}
    if not any(map(_is_numbers, pytree.tree_leaves((args, kwargs), is_leaf=_is_numbers))):
        return constants(known, target(*args, **kwargs))
    if target in MOVES:
        moved = target(
            *pytree.tree_map(lambda x: x.ids if _is_numbers(x) else x, args, is_leaf=_is_numbers), **kwargs
        )
        return Numbers(moved) if isinstance(moved, Tensor) else [Numbers(part) for part in moved]
    if target in RULES:
        return RULES[target](known, *args, **kwargs)
    if isinstance(target, torch._ops.OpOverload) and torch.Tag.pointwise in target.tags:
        return pointwise(known, target, *args, **kwargs)
    raise NotScalarError(f"{target} has no entry-by-entry form")


def constants(known: Expressions, tensor: Tensor) -> Numbers:
    """Number the entries of a tensor that is known."""
    if tensor.numel() > known.max_size:
        raise NotScalarError(f"it holds a constant of {tensor.numel()} entries")
    values = tensor.detach().flatten().tolist()
    return _numbers([known.constant(value, tensor.dtype) for value in values], tensor.shape)


def pointwise(known: Expressions, target: Any, *args: Any, **kwargs: Any) -> Numbers:
    """Apply a pointwise operation, broadcasting."""
    tensors = torch.broadcast_tensors(*(arg.ids for arg in args if isinstance(arg, Numbers)))
    results = []
    for row in zip(*(tensor.flatten().tolist() for tensor in tensors), strict=True):
        refs = map(Ref, row)
        entries = [next(refs) if isinstance(arg, Numbers) else arg for arg in args]
        results.append(apply(known, target, entries, kwargs))
    return _numbers(results, tensors[0].shape)


def _reduction(combine: Any) -> Callable[..., Numbers]:
    """Make the rule of an operation that combines entries along some axes, all of them by default."""

    def rule(known: Expressions, x: Numbers, dim: Any = None, keepdim: bool = False) -> Numbers:
        axes = [dim] if isinstance(dim, int) else list(dim or range(x.ids.ndim))
        axes = sorted(axis % x.ids.ndim for axis in axes)
        kept = [axis for axis in range(x.ids.ndim) if axis not in axes]
        rows = x.ids.permute(*kept, *axes).flatten(len(kept)) if axes else x.ids.unsqueeze(-1)
        terms = map(Numbers, rows.unbind(-1))
        result = functools.reduce(functools.partial(pointwise, known, combine), terms).ids
        for axis in axes if keepdim else ():
            result = result.unsqueeze(axis)
        return Numbers(result)

    return rule


_add, _largest, _least = map(_reduction, (aten.add.Tensor, aten.maximum.default, aten.minimum.default))


def _sum(
    known: Expressions, x: Numbers, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Numbers:
    """Add; booleans and integers are counted in int64, as torch does."""
    counts = dtype is None and not _dtype(known, x).is_floating_point
    return _add(known, _cast(known, x, torch.int64 if counts else dtype), dim, keepdim)


def _mean(known: Expressions, x: Numbers, dim: Any = None, keepdim: bool = False, **rest: Any) -> Numbers:
    total = _sum(known, x, dim, keepdim, **rest)
    return pointwise(known, aten.mul.Tensor, total, total.ids.numel() / x.ids.numel())


def _matrix_product(known: Expressions, a: Numbers, b: Numbers) -> Numbers:
    left, right = Numbers(a.ids.unsqueeze(-1)), Numbers(b.ids.unsqueeze(-3))
    return _add(known, pointwise(known, aten.mul.Tensor, left, right), -2)


def _affine(known: Expressions, bias: Numbers, a: Numbers, b: Numbers) -> Numbers:
    return pointwise(known, aten.add.Tensor, bias, _matrix_product(known, a, b))


def _softmax(
    known: Expressions, x: Numbers, dim: int, half_to_float: bool, *, logarithm: bool = False
) -> Numbers:
    if x.ids.shape[dim] == 2:
        return _on_pairs(known, x, dim, logarithm=logarithm)
    centered = pointwise(known, aten.sub.Tensor, x, _largest(known, x, dim, True))
    scores = pointwise(known, aten.exp.default, centered)
    total = _add(known, scores, dim, True)
    if logarithm:
        return pointwise(known, aten.sub.Tensor, centered, pointwise(known, aten.log.default, total))
    return pointwise(known, aten.mul.Tensor, scores, pointwise(known, aten.reciprocal.default, total))


def _on_pairs(known: Expressions, x: Numbers, dim: int, *, logarithm: bool) -> Numbers:
    """Softmax of two by e = exp(-|difference|) alone: 1 / (1 + e) for the larger, e / (1 + e) for the other.

    Right in both tails, with one exponential and one reciprocal (or logarithm) for the pair.
    """
    apply = functools.partial(pointwise, known)
    first, second = map(Numbers, x.ids.unbind(dim))
    difference = apply(aten.sub.Tensor, first, second)
    distance = apply(aten.neg.default, apply(aten.abs.default, difference))
    e = apply(aten.exp.default, distance)
    if logarithm:
        larger = apply(aten.neg.default, apply(aten.log1p.default, e))
        other = apply(aten.add.Tensor, distance, larger)
    else:
        larger = apply(aten.reciprocal.default, apply(aten.add.Tensor, e, 1.0))
        other = apply(aten.mul.Tensor, e, larger)
    ahead = apply(aten.ge.Scalar, difference, 0)
    pair = (apply(aten.where.self, ahead, *order).ids for order in ((larger, other), (other, larger)))
    return Numbers(torch.stack(tuple(pair), dim))


def _softmax_backward(
    known: Expressions, grad: Numbers, output: Numbers, dim: int, input_dtype: Any
) -> Numbers:
    if output.ids.shape[dim] == 2:  # p (g - (p g + q h)) = p q (g - h)
        product, steepness = (
            pointwise(known, target, *map(Numbers, x.ids.unbind(dim)))
            for target, x in ((aten.mul.Tensor, output), (aten.sub.Tensor, grad))
        )
        first = pointwise(known, aten.mul.Tensor, product, steepness)
        second = pointwise(known, aten.neg.default, first)
        return Numbers(torch.stack((first.ids, second.ids), dim))
    weighted = pointwise(known, aten.mul.Tensor, grad, output)
    total = pointwise(known, aten.mul.Tensor, output, _add(known, weighted, dim, True))
    return pointwise(known, aten.sub.Tensor, weighted, total)


def _log_softmax_backward(
    known: Expressions, grad: Numbers, output: Numbers, dim: int, input_dtype: Any
) -> Numbers:
    weights = pointwise(known, aten.exp.default, output)
    total = pointwise(known, aten.mul.Tensor, weights, _add(known, grad, dim, True))
    return pointwise(known, aten.sub.Tensor, grad, total)


def _view(known: Expressions, x: Numbers, shape: Sequence[int]) -> Numbers:
    """Numbers may lie otherwise in memory than what they stand for, so that torch's view might refuse."""
    return Numbers(x.ids.reshape(shape))


def _pad(known: Expressions, x: Numbers, pad: Sequence[int], value: float = 0.0) -> Numbers:
    fill = known.constant(float(value), _dtype(known, x))
    return Numbers(aten.constant_pad_nd.default(x.ids, pad, fill))


def _full_like(known: Expressions, x: Numbers, value: Any, *, dtype: torch.dtype | None = None) -> Numbers:
    return constants(known, torch.full(x.ids.shape, value, dtype=dtype or _dtype(known, x)))


def _cast(known: Expressions, x: Numbers, dtype: torch.dtype | None = None, **_: Any) -> Numbers:
    if dtype is None or dtype == _dtype(known, x):
        return x
    return pointwise(known, aten._to_copy.default, x, dtype=dtype)


def _look_up(target: Any) -> Callable[..., Numbers]:
    """Make the rule of an operation that picks entries by indices, which must be constants."""

    def rule(known: Expressions, x: Numbers, *args: Any, **_: Any) -> Numbers:
        def index(leaf: Any) -> Any:
            if not _is_numbers(leaf):
                return leaf
            values = [known.value(Ref(number)) for number in leaf.ids.flatten().tolist()]
            if None in values:
                raise NotScalarError("an index depends on the input")
            return torch.tensor(values).reshape(leaf.ids.shape)

        return Numbers(target(x.ids, *pytree.tree_map(index, args, is_leaf=_is_numbers)))

    return rule


RULES: dict[Any, Callable[..., Numbers]] = {
    aten._log_softmax.default: functools.partial(_softmax, logarithm=True),
    aten._log_softmax_backward_data.default: _log_softmax_backward,
    aten._softmax.default: _softmax,
    aten._softmax_backward_data.default: _softmax_backward,
    aten._to_copy.default: _cast,
    aten._unsafe_view.default: _view,
    aten.amax.default: _largest,
    aten.amin.default: _least,
    aten.baddbmm.default: _affine,
    aten.bmm.default: _matrix_product,
    aten.constant_pad_nd.default: _pad,
    aten.full_like.default: _full_like,
    aten.gather.default: _look_up(aten.gather.default),
    aten.index.Tensor: _look_up(aten.index.Tensor),
    aten.index_select.default: _look_up(aten.index_select.default),
    aten.mean.default: _mean,
    aten.mean.dim: _mean,
    aten.mm.default: _matrix_product,
    aten.sum.default: _sum,
    aten.sum.dim_IntList: _sum,
    aten.view.default: _view,
}


def _dtype(known: Expressions, x: Numbers) -> torch.dtype:
    return known.dtypes[int(x.ids.flatten()[0])]


def _numbers(flat: list[int], shape: torch.Size) -> Numbers:
    return Numbers(torch.tensor(flat, dtype=torch.int64).reshape(shape))


def _is_numbers(leaf: Any) -> bool:
    return isinstance(leaf, Numbers)
