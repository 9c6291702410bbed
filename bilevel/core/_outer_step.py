"""The outer step: gradient -> outer optimizer -> projection, over a pytree of outer variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Union

import torch

from bilevel.core._tree import Tree, leaves, tree_map
from games.core import require

if TYPE_CHECKING:
    from bilevel.optimizers import GradientTransformation

OuterOptimizer = Union["GradientTransformation", torch.optim.Optimizer, Mapping[str, "OuterOptimizer"]]
"""A transformation of `bilevel.optimizers`; one of torch's own; or one of these for each group of phi, with
its own learning rate and state."""


def init_outer(phi: Tree, optimizer: OuterOptimizer) -> Tree:
    """Initialize the outer optimizer's state.

    Args:
        phi: outer variables, a pytree of tensors; if `optimizer` is a dict, a dict of the same groups.
        optimizer: see `OuterOptimizer`.

    Returns:
        The state for `outer_step`, by group where the optimizer is; None for one of torch's own.

    >>> from bilevel.core import leaves
    >>> from bilevel.optimizers import momentum
    >>> state = init_outer({"sharing": torch.ones(2)}, {"sharing": momentum(0.1)})
    >>> leaves(state["sharing"])  # velocity and number of steps
    [tensor([0., 0.]), tensor(0)]
    """
    if isinstance(optimizer, torch.optim.Optimizer):
        return None
    if isinstance(optimizer, Mapping):
        return {name: init_outer(phi[name], each) for name, each in optimizer.items()}
    return optimizer.init(phi)


def outer_step(
    phi: Tree,
    gradient: Tree,
    opt_state: Tree,
    optimizer: OuterOptimizer,
    project: Callable[[Tree], Tree] | None = None,
) -> tuple[Tree, Tree]:
    """Update the outer variables by a hypergradient: phi' = project(phi + optimizer(gradient)).

    The step is pure, except with an optimizer from torch.optim, which updates the leaves of phi, its
    parameters, in place, stores its own state, and skips parameters whose gradient is None.

    Args:
        phi: outer variables, a pytree of tensors; if `optimizer` is a dict, a dict of the same groups.
        gradient: gradient of the outer loss, structured like phi.
        opt_state: from `init_outer` or the last step.
        optimizer: see `OuterOptimizer`.
        project: the projection onto allowed values; None: all are allowed.

    Returns:
        phi' and the optimizer's new state.

    Raises:
        ValueError: the optimizers' groups are not those of phi.

    Two groups, each with its own learning rate:

    >>> from bilevel.core import init_outer, tree_map
    >>> from bilevel.optimizers import sgd
    >>> phi = {"sharing": torch.tensor(0.5), "loss_weights": torch.tensor(1.0)}
    >>> optimizer = {"sharing": sgd(1.0), "loss_weights": sgd(0.1)}
    >>> gradient = {"sharing": torch.tensor(2.0), "loss_weights": torch.tensor(2.0)}
    >>> state = init_outer(phi, optimizer)
    >>> outer_step(phi, gradient, state, optimizer, lambda phi: tree_map(torch.relu, phi))[0]
    {'sharing': tensor(0.), 'loss_weights': tensor(0.8000)}
    """
    moved: Tree
    if isinstance(optimizer, torch.optim.Optimizer):
        for parameter, slope in zip(leaves(phi), leaves(gradient, none_is_leaf=True), strict=True):
            parameter.grad = slope
        optimizer.step()
        optimizer.zero_grad()
        moved = phi
    elif isinstance(optimizer, Mapping):
        require(
            set(phi) == set(optimizer),
            f"There are outer optimizers for {', '.join(optimizer)}, but phi's groups are {', '.join(phi)}.",
        )
        each = {name: outer_step(phi[name], gradient[name], opt_state[name], optimizer[name]) for name in phi}
        moved, opt_state = ({name: pair[place] for name, pair in each.items()} for place in (0, 1))
    else:
        updates, opt_state = optimizer.update(gradient, opt_state, params=phi, inplace=False)
        moved = tree_map(torch.add, phi, updates)
    return moved if project is None else project(moved), opt_state
