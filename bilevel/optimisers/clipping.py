"""Clipping of gradients, differentiable and for each member of a batch on its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bilevel.errors import require
from bilevel.optimisers.torchopt_adaptor import GradientTransformation, stateless
from bilevel.tree import Tree, batch_shape, leaves, tree_map


def clip_by_norm(max_norm: float, *, batch_dims: int = 0) -> GradientTransformation:
    """Scale the gradient down to at most `max_norm`: g min(1, max_norm / |g|).

    |g| is the Euclidean norm over all leaves together. The meta-gradient goes through the coefficient.
    TorchOpt's `clip_grad_norm` differs: it treats the coefficient as a constant (its meta-gradient is not
    the derivative of what it does), takes one norm over all members of a batch, and adds 1e-6 to the norm.

    Args:
        max_norm: the greatest norm, in units of the gradient, above 0.
        batch_dims: how many leading axes (seeds, agents) count members, each clipped on its own; all leaves
            share them.

    Raises:
        ValueError: a setting is out of range; or, in `update`, leaves do not share those axes.

    >>> clip = clip_by_norm(1.0, batch_dims=1)
    >>> clip.update(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), clip.init(None))[0]
    tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]])
    """
    require(math.isfinite(max_norm) and max_norm > 0, f"max_norm must be a number above 0, not {max_norm}.")
    require(batch_dims >= 0, f"batch_dims must be at least 0, not {batch_dims}.")

    def clip(updates: Tree, params: Tree) -> Tree:
        batch = batch_shape(updates, batch_dims)
        squares = [update.square().reshape(*batch, -1).sum(-1) for update in leaves(updates)]
        # Clamped before the root, so that a gradient of zero has a derivative.
        coefficient = max_norm * torch.stack(squares).sum(0).clamp(min=max_norm**2).rsqrt()

        def scale(update: Tensor) -> Tensor:
            return update * coefficient.reshape(*batch, *[1] * (update.ndim - batch_dims))

        return tree_map(scale, updates)

    return stateless(clip)


def clip_by_value(limit: float) -> GradientTransformation:
    """Clip each entry of the gradient to [-limit, limit].

    Args:
        limit: in units of the gradient, above 0.

    Raises:
        ValueError: the limit is out of range.

    >>> clip = clip_by_value(1.0)
    >>> clip.update(torch.tensor([-3.0, 0.5]), clip.init(None))[0]
    tensor([-1.0000,  0.5000])
    """
    require(math.isfinite(limit) and limit > 0, f"limit must be a number above 0, not {limit}.")
    return stateless(lambda updates, params: tree_map(lambda g: g.clamp(-limit, limit), updates))
