"""The step near its fixed point: its linear map on theta, with the optimiser's state held as it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.hypergradient.kernels import Kernels, State
from bilevel.hypergradient.solvers import System
from bilevel.tree import Tensors, Tree, batch_shape, split_floating


class Rows:
    """Theta as rows: [system, *members, unknown], and back to its leaves, [system, *leaf.shape]."""

    def __init__(self, theta: Tree, batch_dims: int) -> None:
        self._batch = batch_shape(theta, batch_dims)
        self._leaves, _ = split_floating(theta)

    def pack(self, flat: Tensors) -> Tensor:
        """Join leaves [system, *leaf.shape] to rows."""
        return torch.cat([leaf.reshape(len(leaf), *self._batch, -1) for leaf in flat], -1)

    def unpack(self, rows: Tensor) -> Tensors:
        """Split rows into leaves [system, *leaf.shape]."""
        sizes = [leaf.numel() // math.prod(self._batch) for leaf in self._leaves]
        parts = zip(rows.split(sizes, -1), self._leaves, strict=True)
        return tuple(part.reshape((len(rows), *leaf.shape)).to(leaf) for part, leaf in parts)


@dataclass(frozen=True)
class LinearStep:
    """A step theta -> theta' at one place, with J = d theta'/d theta."""

    move: Tensor
    """theta' - theta, [1, *members, unknown]."""
    system: System
    """I - J, on rows."""
    pull_phi: Callable[[Tensor], Tensors]
    """Rows v -> (d theta'/d phi)' v, [system, *leaf.shape] for each leaf of phi."""


def linearise(kernels: Kernels, state: State, data: Tree, *, rows: Rows) -> LinearStep:
    """Take a step and its derivative, holding the optimiser's state.

    Args:
        kernels: of the problem.
        state: (theta, opt_state), the place, in the kernels' form.
        data: what the step sees.
        rows: how theta is laid out.
    """
    held = kernels.hold(state, data)

    def times(v: Tensor) -> Tensor:
        return v - rows.pack(held.push(rows.unpack(v)))

    def times_transpose(v: Tensor) -> Tensor:
        return v - rows.pack(held.pull(rows.unpack(v))[0])

    def pull_phi(v: Tensor) -> Tensors:
        return held.pull(rows.unpack(v))[1]

    flat, _ = split_floating(kernels.trees(state)[0])
    move = rows.pack(tuple((new - old).unsqueeze(0) for new, old in zip(held.result, flat, strict=True)))
    return LinearStep(move, System(times, times_transpose), pull_phi)


def halve_state(opt_state: Tree) -> Tree | None:
    """Halve what an optimiser remembers; None if it remembers no floating tensor."""
    floating, rebuild = split_floating(opt_state)
    return rebuild([leaf / 2 for leaf in floating]) if floating else None


def asymmetry(system: System, like: Tensor) -> Tensor:
    """Compare u'Mw with w'Mu for random u and w: their difference over the sizes, for each row [...].

    Args:
        system: M, on rows.
        like: rows of the shape and dtype to try.
    """
    generator = torch.Generator(like.device).manual_seed(0)
    u, w = (  # the same for all rows, so that none of them depends on how many there are
        torch.randn(like.shape[-1:], generator=generator, dtype=like.dtype, device=like.device).expand_as(
            like
        )
        for _ in range(2)
    )
    u_image, w_image = system.apply(u), system.apply(w)
    difference = ((u * w_image).sum(-1) - (w * u_image).sum(-1)).abs()
    size: Tensor = u.norm(dim=-1) * w_image.norm(dim=-1) + w.norm(dim=-1) * u_image.norm(dim=-1)
    return difference / size
