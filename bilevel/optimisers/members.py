"""A transformation for one, applied to each member of a batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bilevel.errors import require
from bilevel.optimisers.torchopt_adaptor import GradientTransformation
from bilevel.tree import Tree, batch_shape, leaves, tree_map


def per_member(transformation: GradientTransformation, batch_dims: int = 1) -> GradientTransformation:
    """Run a transformation that mixes its inputs on each member of a batch separately.

    A batch of seeds is then equal to its members, which is not so for TorchOpt's `clip_grad_norm` as it is.
    It is a Python loop over the members: where there is a transformation with a batch axis of its own
    (`clip_by_norm`), that one is faster.

    Args:
        transformation: what to run; its state must consist of tensors.
        batch_dims: how many leading axes of every leaf count members, at least 1.

    Returns:
        a transformation whose state has the batch's axes in front.

    Raises:
        ValueError: `batch_dims` is below 1; or, in `init`, the leaves do not share the leading axes, or the
            state holds something else than tensors.

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
                f"per_member needs an optimiser state of tensors, but it holds a {type(leaf).__name__}.",
            )
        return _join(states, batch)

    def update(updates: Tree, state: Tree, *, params: Tree = None, inplace: bool = True) -> tuple[Tree, Tree]:
        batch = batch_shape(updates, batch_dims)
        of_params = [None] * math.prod(batch) if params is None else _split(params, batch)
        results = [
            transformation.update(*member, params=own, inplace=False)
            for *member, own in zip(_split(updates, batch), _split(state, batch), of_params, strict=True)
        ]
        return _join([result[0] for result in results], batch), _join([r[1] for r in results], batch)

    return GradientTransformation(init, update)


def _split(tree: Tree, batch: tuple[int, ...]) -> list[Tree]:
    flat = tree_map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(batch) :]).unbind(0), tree)
    members = range(math.prod(batch))
    return [tree_map(lambda _, parts, m=member: parts[m], tree, flat) for member in members]


def _join(members: list[Tree], batch: tuple[int, ...]) -> Tree:
    def stack(*parts: Tensor) -> Tensor:
        return torch.stack(parts).reshape(*batch, *parts[0].shape)

    return tree_map(stack, *members)
