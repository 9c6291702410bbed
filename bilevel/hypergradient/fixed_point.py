"""The step near its fixed point: its linear map on theta, with the optimiser's state held as it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.hypergradient.solvers import System
from bilevel.step import Step
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


def linearise(step: Step, state: tuple[Tree, Tree], phi: Tree, data: Tree, *, rows: Rows) -> LinearStep:
    """Take a step and its derivative, holding the optimiser's state.

    Args:
        step: the step.
        state: (theta, opt_state), the place.
        phi: the outer variables.
        data: what the step sees.
        rows: how theta is laid out.
    """
    flat, rebuild = split_floating(state[0])
    flat_phi, rebuild_phi = split_floating(phi)

    def advance(flat: Tensors, flat_phi: Tensors) -> Tensors:
        return split_floating(step(rebuild(flat), state[1], rebuild_phi(flat_phi), data)[0])[0]

    result, pull = torch.func.vjp(advance, flat, flat_phi)[:2]
    # J v is the transpose of the transpose: it needs no forward mode, which loses float32 in places.
    push = torch.func.vjp(lambda v: pull(v)[0], tuple(map(torch.zeros_like, result)))[1]

    def times(v: Tensor) -> Tensor:
        return v - rows.pack(torch.vmap(lambda *flat: push(flat)[0])(*rows.unpack(v)))

    def times_transpose(v: Tensor) -> Tensor:
        return v - rows.pack(torch.vmap(lambda *flat: pull(flat)[0])(*rows.unpack(v)))

    def pull_phi(v: Tensor) -> Tensors:
        pulled: Tensors = torch.vmap(lambda *flat: pull(flat)[1])(*rows.unpack(v))
        return pulled

    move = rows.pack(tuple((new - old).unsqueeze(0) for new, old in zip(result, flat, strict=True)))
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
    u, w = (
        torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device) for _ in range(2)
    )
    u_image, w_image = system.apply(u), system.apply(w)
    difference = ((u * w_image).sum(-1) - (w * u_image).sum(-1)).abs()
    size: Tensor = u.norm(dim=-1) * w_image.norm(dim=-1) + w.norm(dim=-1) * u_image.norm(dim=-1)
    return difference / size
