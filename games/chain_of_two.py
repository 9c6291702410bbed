"""The discounted flow through the four joint actions of two memory-one agents, with derivatives of its own.

The agents' action probabilities in state s are first[s] and second[s], the chain between states is
P[s, (a, b)] = first[s, a] second[s, b], and the flow x out of a source b solves (I / discount - P') x = b.
Its derivatives are those of the solution, not of the way to it: they solve the same system or its transpose
for another source, and never form the derivative of P.

It is for steps that are traced: elimination is written out on one tensor per entry, without branches or
changes in place. That compiles to a single kernel, and a compiler finds that all the derivatives factorise
the matrix alike, so that a gradient of a gradient costs a few substitutions. Operation by operation it is
slow; there `games.memory_one.chain_occupancy` takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def flow(first: Tensor, second: Tensor, source: Tensor, discount: float) -> Tensor:
    """Solve (I / discount - P') x = source; differentiable any number of times, in both modes.

    Args:
        first: action probabilities [..., 4, 2] of the first agent in states CC, CD, DC, DD.
        second: those of the second agent in the same order of states.
        source: [..., 4].
        discount: in (0, 1); the matrix is then diagonally dominant by columns, so that elimination needs no
            pivoting.

    Returns:
        [..., 4].

    >>> never = torch.tensor([[0.0, 1.0]]).expand(4, 2)
    >>> flow(never, never, torch.tensor([1.0, 0.0, 0.0, 0.0]), 0.5)
    tensor([0.5000, 0.0000, 0.0000, 0.5000])
    """
    return _flow(first, second, source, discount, transposed=False)


class _Flow(torch.autograd.Function):
    """With A = I / discount - P': A dx = db + dP' x. Where x gets v and A' w = v, b gets w, P x w'."""

    generate_vmap_rule = True

    @staticmethod
    def forward(first: Tensor, second: Tensor, source: Tensor, discount: float, transposed: bool) -> Tensor:
        joint = _joint(first, second)
        rows = [row.unbind(-1) for row in joint.unbind(-2)]
        entries = [[1 / discount - rows[s][t] if s == t else -rows[s][t] for s in range(4)] for t in range(4)]
        return torch.stack(_eliminate(entries, source.unbind(-1), transposed=transposed), -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        first, second, _, *ctx.rest = inputs
        ctx.save_for_backward(first, second, output)
        ctx.save_for_forward(first, second, output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        first, second, solution = ctx.saved_tensors
        discount, transposed = ctx.rest
        pulled = _flow(first, second, gradients[0], discount, transposed=not transposed)
        x, w = (pulled, solution) if transposed else (solution, pulled)
        x, w = x.unsqueeze(-1), w.unflatten(-1, (1, 2, 2))
        by_first = x * (w * second.unsqueeze(-2)).sum(-1)
        by_second = x * (w * first.unsqueeze(-1)).sum(-2)
        return by_first, by_second, pulled, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        first, second, solution = ctx.saved_tensors
        discount, transposed = ctx.rest
        by_first, by_second, by_source, *_ = tangents
        change = _joint(by_first, second) + _joint(first, by_second)
        moved = (change * solution.unsqueeze(-2 if transposed else -1)).sum(-1 if transposed else -2)
        return _flow(first, second, by_source + moved, discount, transposed=transposed)


def _flow(first: Tensor, second: Tensor, source: Tensor, discount: float, *, transposed: bool) -> Tensor:
    """The flow, or with P in the place of P'."""
    result: Tensor = _Flow.apply(first, second, source, discount, transposed)  # type: ignore[no-untyped-call]
    return result


def _joint(first: Tensor, second: Tensor) -> Tensor:
    """[..., state, joint action] of two [..., state, action]."""
    return (first.unsqueeze(-1) * second.unsqueeze(-2)).flatten(-2)


def _eliminate(
    matrix: Sequence[Sequence[Tensor]], right: Sequence[Tensor], *, transposed: bool
) -> list[Tensor]:
    """Solve matrix x = right, or with its transpose: both with the factors of the matrix itself."""
    if not right:
        return []
    (pivot, *head), *rows = matrix
    first, *others = right
    inverse = pivot.reciprocal()
    scales = [row[0] * inverse for row in rows]
    smaller = [
        [entry - scale * above for entry, above in zip(row[1:], head, strict=True)]
        for row, scale in zip(rows, scales, strict=True)
    ]
    if transposed:
        first = first * inverse
    down, up = (head, scales) if transposed else (scales, head)
    others = [value - factor * first for value, factor in zip(others, down, strict=True)]
    rest = _eliminate(smaller, others, transposed=transposed)
    for factor, value in zip(up, rest, strict=True):
        first = first - factor * value
    return [first if transposed else first * inverse, *rest]
