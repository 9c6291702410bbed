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

NAMESPACE = "torchopt"
"""TorchOpt's optree namespace, so that its states and ours flatten alike."""


def is_floating(leaf: object) -> TypeGuard[Tensor]:
    """True for a floating tensor."""
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def leaves(tree: Tree, *, none_is_leaf: bool = False) -> list[Any]:
    """The leaves, in the tree's order; with `none_is_leaf`, None (an absent gradient) is one.

    >>> leaves({"b": 1, "a": (2, None)})
    [2, 1]
    """
    if isinstance(tree, Tensor):  # the most frequent case, and optree is slow beside small operations
        return [tree]
    return optree.tree_leaves(tree, none_is_leaf=none_is_leaf, namespace=NAMESPACE)


def paths(tree: Tree) -> list[str]:
    """The names of the leaves, in the tree's order; a tree that is one leaf is named "(itself)".

    >>> paths({"b": 1, "a": (2, 3)})
    ['a/0', 'a/1', 'b']
    """
    return ["/".join(map(str, path)) or "(itself)" for path in optree.tree_paths(tree, namespace=NAMESPACE)]


def structure(tree: Tree) -> Any:
    """The structure of a tree without its leaves, which can be compared."""
    return optree.tree_structure(tree, namespace=NAMESPACE)


def tree_map(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Apply a function leaf by leaf.

    >>> tree_map(lambda x, y: x + y, {"a": 1, "b": 2}, {"a": 10, "b": 20})
    {'a': 11, 'b': 22}
    """
    if isinstance(tree, Tensor):
        return function(tree, *others)
    return optree.tree_map(function, tree, *others, namespace=NAMESPACE)


def detach(tree: Tree) -> Tree:
    """Detach every tensor; other leaves stay as they are."""
    return tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, tree)


def split_floating(tree: Tree) -> tuple[Tensors, Callable[[Sequence[Tensor]], Tree]]:
    """Split a tree into its floating tensors and a function that rebuilds it around others.

    Integer tensors and all other leaves stay inside that function, as they are.

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
    """The `batch_dims` leading axes that all leaves share; ValueError if they do not.

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
    """Convert the floating tensors of a tree."""
    return tree_map(lambda leaf: leaf.to(dtype) if is_floating(leaf) else leaf, tree)
