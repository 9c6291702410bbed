"""Members of an axis that move as one: copies of one parameter vector."""

from __future__ import annotations

import torch
from torch import Tensor

from bilevel.optimisers.torchopt_adaptor import GradientTransformation
from bilevel.tree import Tree, tree_map


def tied(optimiser: GradientTransformation, axis: int = -2) -> GradientTransformation:
    """Descend the mean gradient along an axis, with all its members, which stay equal.

    With `inner_step_per_agent` the members are agents, and what all of them descend is the mean of their OWN
    gradients, 1/N sum_i d L_i(own_i, others) / d own_i at own_i = others = theta: what each would change of
    itself, the others as they are. That is the usual learning with shared parameters. It is not the gradient
    of the mean loss, in which a parameter would count for what it makes the others do, too; and in general
    it is the gradient of no function at all.

    Parameters that are not equal are made so, by their mean. Else a step would keep their differences for
    ever, and no estimator that solves for a fixed point could invert its Jacobian.

    Args:
        optimiser: what descends the mean.
        axis: of every leaf that has members, counted from the end: -2 of [..., agent, parameter].

    Returns:
        a transformation that needs `params` in its `update`.

    Source:
        Gupta, Egorov and Kochenderfer, Cooperative multi-agent control using deep reinforcement learning,
        2017 (parameter sharing).

    >>> from bilevel.optimisers import sgd
    >>> optimiser, theta = tied(sgd(1.0)), torch.tensor([[5.0], [5.0]])  # agent, parameter
    >>> optimiser.update(torch.tensor([[1.0], [2.0]]), optimiser.init(theta), params=theta)[0]
    tensor([[-1.5000],
            [-1.5000]])
    """

    def mean(leaf: Tensor) -> Tensor:
        return leaf.mean(axis, keepdim=True).expand_as(leaf)

    def update(updates: Tree, state: Tree, *, params: Tree = None, inplace: bool = True) -> tuple[Tree, Tree]:
        together = tree_map(mean, updates)
        moves, state = optimiser.update(together, state, params=params, inplace=False)
        apart = tree_map(lambda leaf: mean(leaf) - leaf, params)
        return tree_map(torch.add, moves, apart), state

    return GradientTransformation(optimiser.init, update)
