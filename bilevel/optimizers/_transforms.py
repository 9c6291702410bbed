"""Gradient transformations in TorchOpt's functional interface; the only module that imports it.

A transformation is a pair of pure functions: `init(params) -> state` and `update(updates, state, *,
params=None, inplace=True) -> (updates, state)`. Any of TorchOpt's own can be used as an inner optimizer too,
with these flaws (0.7.3), which ours do not have: Adam's bias correction is computed in the default dtype, so
float64 parameters lose eight digits unless `torch.set_default_dtype(torch.float64)`; Adam at a zero second
moment has a hypergradient of NaN; momentum with dampening keeps its first call outside its state, so that
`Unrolled` refuses it as impure; radam and adamax count in Python numbers; clip_grad_norm takes its norm
without a gradient, so that its hypergradient is wrong (`check_hypergradient` shows it), and over all members
at once; adam with use_accelerated_op cannot be differentiated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchopt import base, combine

from bilevel.core import Tree, batch_shape, leaves, tree_map
from games.core import require

GradientTransformation = base.GradientTransformation
"""Pair of pure functions, in TorchOpt's interface: the type of every optimizer.

`init(params)` returns the first state. `update(updates, state, *, params=None, inplace=True)` turns gradients
into the updates to add to the parameters, and returns these and the next state.
`GradientTransformation(init, update)` builds one.
"""


def chain(*transformations: GradientTransformation) -> GradientTransformation:
    """Apply transformations one after the other: each transforms the updates of the one before.

    Args:
        transformations: in order; the last is usually an optimizer. None at all leave updates as they are.

    Returns:
        One transformation, whose state is a tuple of theirs.

    >>> from bilevel.optimizers import clip_by_norm, sgd
    >>> optimizer = chain(clip_by_norm(1.0), sgd(0.5))
    >>> theta = torch.tensor([1.0, 1.0])
    >>> optimizer.update(torch.tensor([3.0, 4.0]), optimizer.init(theta), params=theta)[0]
    tensor([-0.3000, -0.4000])
    """
    return combine.chain(*transformations)


def stateful(init: Any, function: Callable[[Tree, Any, Tree], tuple[Tree, Any]]) -> GradientTransformation:
    """A transformation from functions params -> state and (updates, state, params) -> (updates, state)."""

    def update(updates: Tree, state: Tree, *, params: Tree = None, inplace: bool = True) -> tuple[Tree, Tree]:
        return function(updates, state, params)

    return GradientTransformation(init, update)


def stateless(function: Callable[[Tree, Tree], Tree]) -> GradientTransformation:
    """A transformation without state, from a function (updates, params) -> updates."""

    return stateful(
        lambda params: base.EmptyState(), lambda updates, state, params: (function(updates, params), state)
    )


def clip_by_norm(max_norm: float, *, batch_dims: int = 0, eps: float = 0.0) -> GradientTransformation:
    """Scale the gradient down to at most `max_norm`: g min(1, max_norm / |g|).

    |g| is the Euclidean norm over all leaves together. The hypergradient goes through the coefficient.
    TorchOpt's `clip_grad_norm` differs: it treats the coefficient as a constant (its hypergradient is not
    the derivative of what it does), takes one norm over all members of a batch, and adds 1e-6 to the norm.

    Args:
        max_norm: the greatest norm, in units of the gradient, above 0.
        batch_dims: how many leading axes (seeds, agents) count members, each clipped on its own; all leaves
            share them.
        eps: added to the norm, 0 or more; `torch.nn.utils.clip_grad_norm_` adds 1e-6.

    Raises:
        ValueError: a setting is out of range; or, in `update`, leaves do not share those axes.

    >>> clip = clip_by_norm(1.0, batch_dims=1)
    >>> clip.update(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), clip.init(None))[0]
    tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]])
    """
    require(math.isfinite(max_norm) and max_norm > 0, f"max_norm must be a number above 0, not {max_norm}.")
    require(batch_dims >= 0, f"batch_dims must be at least 0, not {batch_dims}.")
    require(eps >= 0, f"eps must be at least 0, not {eps}.")

    def clip(updates: Tree, params: Tree) -> Tree:
        batch = batch_shape(updates, batch_dims)
        squares = [update.square().reshape(*batch, -1).sum(-1) for update in leaves(updates)]
        square = torch.stack(squares).sum(0)
        # Clamped before the root, so that a gradient of zero has a derivative.
        if eps == 0:
            coefficient = max_norm * square.clamp(min=max_norm**2).rsqrt()
        else:
            norm = square.clamp(min=torch.finfo(square.dtype).tiny).sqrt()
            coefficient = (max_norm / (norm + eps)).clamp(max=1)

        def scale(update: Tensor) -> Tensor:
            return update * coefficient.reshape(*batch, *[1] * (update.ndim - batch_dims))

        return tree_map(scale, updates)

    return stateless(clip)


def clip_by_value(limit: float) -> GradientTransformation:
    """Clip each entry of the gradient to [-limit, limit].

    Args:
        limit: above 0, in units of the gradient.

    Raises:
        ValueError: the limit is out of range.

    >>> clip = clip_by_value(1.0)
    >>> clip.update(torch.tensor([-3.0, 0.5]), clip.init(None))[0]
    tensor([-1.0000,  0.5000])
    """
    require(math.isfinite(limit) and limit > 0, f"limit must be a number above 0, not {limit}.")
    return stateless(lambda updates, params: tree_map(lambda g: g.clamp(-limit, limit), updates))


def per_member(transformation: GradientTransformation, batch_dims: int = 1) -> GradientTransformation:
    """Apply a transformation that mixes its inputs (TorchOpt's `clip_grad_norm`) to each member of a batch.

    It is a Python loop over the members: a transformation with a batch axis of its own (`clip_by_norm`) is
    faster.

    Args:
        transformation: its state must consist of tensors.
        batch_dims: how many leading axes of every leaf count members, at least 1; the state has them too.

    Raises:
        ValueError: `batch_dims` is below 1; or, in `init`, the state holds something other than tensors.

    >>> import torchopt
    >>> clip = per_member(torchopt.clip_grad_norm(1.0))
    >>> gradient = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    >>> clip.update(gradient, clip.init(gradient))[0]
    tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]])
    """
    require(batch_dims >= 1, f"batch_dims must be at least 1, not {batch_dims}.")

    def init(params: Tree) -> Tree:
        batch = batch_shape(params, batch_dims)
        states = [transformation.init(member) for member in _split(params, batch)]
        for leaf in leaves(states):
            require(
                isinstance(leaf, Tensor),
                f"per_member needs an optimizer state of tensors, but it holds a {type(leaf).__name__}.",
            )
        return _join(states, batch)

    def update(updates: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        batch = batch_shape(updates, batch_dims)
        of_params = [None] * math.prod(batch) if params is None else _split(params, batch)
        results = [
            transformation.update(*member, params=own, inplace=False)
            for *member, own in zip(_split(updates, batch), _split(state, batch), of_params, strict=True)
        ]
        moved, states = map(list, zip(*results, strict=True))
        return _join(moved, batch), _join(states, batch)

    return stateful(init, update)


def _split(tree: Tree, batch: tuple[int, ...]) -> list[Tree]:
    flat = tree_map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(batch) :]).unbind(0), tree)
    members = range(math.prod(batch))
    return [tree_map(lambda _, parts, m=member: parts[m], tree, flat) for member in members]


def _join(members: list[Tree], batch: tuple[int, ...]) -> Tree:
    def stack(*parts: Tensor) -> Tensor:
        return torch.stack(parts).reshape(*batch, *parts[0].shape)

    return tree_map(stack, *members)


def tied(optimizer: GradientTransformation, axis: int = -2) -> GradientTransformation:
    """Descend the mean gradient along an axis, so that its members stay equal: shared parameters.

    With `inner_step_per_agent` the members are agents, and all descend the mean of their OWN gradients,
    1/N sum_i d L_i(own_i, others) / d own_i at own_i = others = theta. It is not the gradient of the mean
    loss, which also holds the effect on the other agents; in general it is the gradient of no function.

    Parameters that are not equal are replaced by their mean. Else a step would keep their differences, and no
    estimator that solves for a fixed point could invert its Jacobian.

    Args:
        optimizer: descends the mean.
        axis: axis of the members in every leaf that has them, counted from the end: -2 of [..., agent,
            parameter].

    Returns:
        A transformation that needs `params` in its `update`.

    Source:
        Gupta, Egorov and Kochenderfer, Cooperative multi-agent control using deep reinforcement learning,
        2017 (parameter sharing).

    >>> from bilevel.optimizers import sgd
    >>> optimizer, theta = tied(sgd(1.0)), torch.tensor([[5.0], [5.0]])  # agent, parameter
    >>> optimizer.update(torch.tensor([[1.0], [2.0]]), optimizer.init(theta), params=theta)[0]
    tensor([[-1.5000],
            [-1.5000]])
    """

    def mean(leaf: Tensor) -> Tensor:
        return leaf.mean(axis, keepdim=True).expand_as(leaf)

    def update(updates: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        together = tree_map(mean, updates)
        moves, state = optimizer.update(together, state, params=params, inplace=False)
        apart = tree_map(lambda leaf: mean(leaf) - leaf, params)
        return tree_map(torch.add, moves, apart), state

    return stateful(optimizer.init, update)
