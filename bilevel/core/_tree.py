"""Pytrees of tensors (dicts, lists, tuples, NamedTuples) in optree's order, which sorts the keys of dicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeGuard, cast

import optree
import torch
from torch import Tensor

from games.core import require

Tree = Any
"""A pytree of tensors; None is empty."""

Tensors = tuple[Tensor, ...]
"""A flat tuple of tensors, for instance the leaves of a tree."""

NAMESPACE = "torchopt"
"""TorchOpt's optree namespace, so that its states and ours flatten alike."""


def is_floating(leaf: object) -> TypeGuard[Tensor]:
    """True if a leaf is a floating-point tensor, which can be differentiated.

    >>> is_floating(torch.tensor(1.0)), is_floating(torch.tensor(1)), is_floating(1.0)
    (True, False, False)
    """
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def leaves(tree: Tree, *, none_is_leaf: bool = False) -> list[Any]:
    """List the leaves, in the tree's order.

    Args:
        tree: a pytree.
        none_is_leaf: count None, which is otherwise empty, as a leaf (an absent gradient).

    >>> leaves({"b": 1, "a": (2, None)})
    [2, 1]
    """
    if isinstance(tree, Tensor):  # the most frequent case, and optree is slow beside small operations
        return [tree]
    return optree.tree_leaves(tree, none_is_leaf=none_is_leaf, namespace=NAMESPACE)


def paths(tree: Tree) -> list[str]:
    """List the names of the leaves, in the tree's order; a tree that is one leaf is named "(itself)".

    >>> paths({"b": 1, "a": (2, 3)})
    ['a/0', 'a/1', 'b']
    """
    return ["/".join(map(str, path)) or "(itself)" for path in optree.tree_paths(tree, namespace=NAMESPACE)]


def structure(tree: Tree) -> Any:
    """Describe the structure of a tree without its leaves; equal for trees of the same form.

    >>> structure({"w": torch.zeros(2)}) == structure({"w": torch.ones(3)}), structure({"w": (1, 2)})
    (True, PyTreeSpec({'w': (*, *)}))
    """
    return optree.tree_structure(tree, namespace=NAMESPACE)


def tree_map(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Apply a function leaf by leaf.

    Args:
        function: leaves, one of each tree -> leaf.
        tree: a pytree.
        others: further trees of the same structure.

    Returns:
        The tree of results.

    >>> tree_map(lambda x, y: x + y, {"a": 1, "b": 2}, {"a": 10, "b": 20})
    {'a': 11, 'b': 22}
    """
    if isinstance(tree, Tensor):
        return function(tree, *others)
    return optree.tree_map(function, tree, *others, namespace=NAMESPACE)


def detach(tree: Tree) -> Tree:
    """Detach every tensor of a tree from its graph; other leaves stay as they are.

    >>> weight = torch.ones(2, requires_grad=True)
    >>> detach({"weight": 2 * weight, "steps": 3})
    {'weight': tensor([2., 2.]), 'steps': 3}
    """
    return tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, tree)


def split_floating(tree: Tree) -> tuple[Tensors, Callable[[Sequence[Tensor]], Tree]]:
    """Split a tree into its floating tensors and a function that rebuilds it around others.

    Integer tensors and all other leaves stay inside that function, as they are.

    Returns:
        The floating tensors, in the tree's order; and (as many tensors) -> tree.

    >>> floating, rebuild = split_floating({"count": torch.tensor(3), "trace": torch.tensor(1.0)})
    >>> rebuild([2 * floating[0]])
    {'count': tensor(3), 'trace': tensor(2.)}
    """
    if is_floating(tree):
        return (tree,), _only
    flat, spec = optree.tree_flatten(cast(Any, tree), namespace=NAMESPACE)
    places = [place for place, leaf in enumerate(flat) if is_floating(leaf)]

    def rebuild(floating: Sequence[Tensor]) -> Tree:
        filled = list(flat)
        for place, leaf in zip(places, floating, strict=True):
            filled[place] = leaf
        return optree.tree_unflatten(spec, filled)

    return tuple(flat[place] for place in places), rebuild


def _only(floating: Sequence[Tensor]) -> Tree:
    (leaf,) = floating
    return leaf


def batch_shape(tree: Tree, batch_dims: int) -> tuple[int, ...]:
    """Return the leading axes that all leaves share.

    Args:
        tree: a pytree of tensors.
        batch_dims: number of these axes.

    Raises:
        ValueError: the leaves do not share them.

    >>> batch_shape([torch.zeros(4, 2, 3), torch.zeros(4, 2)], 2)
    (4, 2)
    """
    shapes = sorted({tuple(leaf.shape[:batch_dims]) for leaf in leaves(tree)})
    require(
        len(shapes) == 1 and len(shapes[0]) == batch_dims,
        f"With batch_dims={batch_dims} all leaves must share that many leading axes, but they begin with "
        f"{' and '.join(map(str, shapes))}.",
    )
    return shapes[0]


def cast_floating(tree: Tree, dtype: torch.dtype) -> Tree:
    """Convert the floating tensors of a tree to a dtype; other leaves stay as they are.

    >>> cast_floating({"weight": torch.ones(1), "count": torch.tensor(3)}, torch.float64)
    {'weight': tensor([1.], dtype=torch.float64), 'count': tensor(3)}
    """
    return tree_map(lambda leaf: leaf.to(dtype) if is_floating(leaf) else leaf, tree)
