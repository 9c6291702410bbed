"""Derivatives of the agents' losses up to the second, by products, never as a matrix.

xi_i = grad_i L_i, and H is its Jacobian, H[i][j] = d xi_i / d theta_j; H_o are its blocks off the diagonal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bilevel.core import Losses, Tensors, Tree, leaves, split_floating, tree_map, under_transform
from games.core import require

Pullback = Callable[[Tree, Tree], tuple[Tree, Tree]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Derivatives:
    """First derivatives of the losses at theta, and products with the second; all like theta.

    >>> def losses(own, others):  # zero-sum: agent 0 minimizes x y, agent 1 maximizes it
    ...     return own * others.flip(-1) * torch.tensor([1.0, -1.0])
    >>> found = derivatives(losses, torch.tensor([1.0, 2.0]))
    >>> found.xi, found.interaction(found.xi), found.shaping()
    (tensor([ 2., -1.]), tensor([-1., -2.]), tensor([-1., -2.]))
    """

    losses: Losses
    theta: Tree
    batch_dims: int
    """Number of axes before the agents' axis."""
    agents: int
    xi: Tree
    """Each agent's gradient of its own loss."""
    by_others: Tree
    """Entry j: the gradient of the sum of all other agents' losses by agent j's parameters."""
    pullback: Pullback
    """(a, b) -> the gradients of <xi, a> + <by_others, b>, a and b fixed, in the arguments own and others."""

    def interaction(self, vector: Tree) -> Tree:
        """H_o v: the change of each agent's gradient as the other agents move along v."""
        return self.pullback(_zeros(vector), vector)[0]

    def transposed_interaction(self, vector: Tree) -> Tree:
        """H_o' v: entry i is sum_{j != i} H[j][i]' v_j."""
        return self.pullback(vector, _zeros(vector))[1]

    def jacobian(self, vector: Tree) -> Tree:
        """H v: the change of each agent's gradient as all agents move along v."""
        return self.pullback(vector, vector)[0]

    def transposed_jacobian(self, vector: Tree) -> Tree:
        """H' v; for v = xi it is the gradient of |xi|^2 / 2."""
        return tree_map(torch.add, *self.pullback(vector, _zeros(vector)))

    def shaping(self) -> Tree:
        """chi_i = sum_{j != i} H[j][i]' grad_j L_i: agent i's influence on its loss by the others' steps.

        With two agents `by_others` is grad_j L_i already; otherwise each agent takes two further passes.
        """
        if self.agents == 2:
            return self.transposed_interaction(self.by_others)

        def loss_of(agent: int) -> Losses:
            return lambda own, others: self.losses(own, others)[..., agent, None]

        crossed = [derivatives(loss_of(agent), self.theta).by_others for agent in range(self.agents)]
        rows = [self.transposed_interaction(cross) for cross in crossed]

        def own_entries(*products: Tensor) -> Tensor:
            axis = self.batch_dims
            return torch.stack([each.select(axis, agent) for agent, each in enumerate(products)], axis)

        return tree_map(own_entries, *rows)

    def inner(self, left: Tree, right: Tree) -> Tensor:
        """Inner product over agents and parameters, for each member of the batch: [*batch]."""
        pairs = zip(leaves(left), leaves(right), strict=True)
        return torch.stack([(a * b).flatten(self.batch_dims).sum(-1) for a, b in pairs]).sum(0)

    def scaled(self, factor: Tensor, tree: Tree) -> Tree:
        """Tree with each member of the batch multiplied by its entry of `factor`, [*batch]."""
        return tree_map(
            lambda leaf: factor.reshape(*factor.shape, *(1,) * (leaf.ndim - factor.ndim)) * leaf, tree
        )


def derivatives(losses: Losses, theta: Tree) -> Derivatives:
    """Differentiate the agents' losses, and keep what products with second derivatives need.

    Everything can be differentiated again. As for `bilevel.core.gradient`, derivatives are by
    `torch.autograd.grad` where that is known to suffice, otherwise by torch.func.

    Args:
        losses: (own, others) -> [..., agent], twice differentiable; see `bilevel.core.Losses`.
        theta: parameters of all agents, a nest of tensors [..., agent, *].

    Raises:
        ValueError: the losses have no agent axis.

    >>> found = derivatives(lambda own, others: own**2 * others.flip(-1), torch.tensor([1.0, 2.0]))
    >>> found.xi, found.by_others, found.jacobian(torch.tensor([1.0, 0.0]))
    (tensor([4., 4.]), tensor([4., 1.]), tensor([4., 4.]))
    """
    flat, rebuild = split_floating(theta)
    count, shape = len(flat), torch.Size()

    def total(*both: Tensor) -> Tensor:
        nonlocal shape
        each = losses(rebuild(both[:count]), rebuild(both[count:]))
        require(each.ndim >= 1, "A loss per agent must have shape [..., agent], but it is a single number.")
        shape = each.shape
        return each.sum()

    again = torch.is_grad_enabled()
    first: Tensors
    if under_transform() or (again and not all(leaf.requires_grad for leaf in flat)):
        places = tuple(range(2 * count))
        found: Any = torch.func.vjp(torch.func.grad(total, argnums=places), *flat, *flat)
        first, pull = found
    else:
        with torch.enable_grad():
            inputs = [leaf.view_as(leaf) if again else leaf.detach().requires_grad_() for leaf in flat * 2]
            first = _gradients((total(*inputs),), inputs, None, graph=True)

        def pull(cotangents: Tensors) -> Tensors:
            return _gradients(first, inputs, cotangents, graph=again)

    def pullback(by_own: Tree, by_others: Tree) -> tuple[Tree, Tree]:
        pulled = pull((*split_floating(by_own)[0], *split_floating(by_others)[0]))
        return rebuild(pulled[:count]), rebuild(pulled[count:])

    xi, by_others = (
        rebuild([leaf if again or under_transform() else leaf.detach() for leaf in part])
        for part in (first[:count], first[count:])
    )
    return Derivatives(
        losses=losses,
        theta=theta,
        batch_dims=len(shape) - 1,
        agents=shape[-1],
        xi=xi,
        by_others=by_others,
        pullback=pullback,
    )


def _gradients(values: Tensors, inputs: list[Tensor], cotangents: Tensors | None, *, graph: bool) -> Tensors:
    """Vector-Jacobian product, zeros for inputs that no value depends on; the graph is kept."""
    known = [place for place, value in enumerate(values) if value.requires_grad]
    if not known:
        return tuple(torch.zeros_like(each) for each in inputs)
    return torch.autograd.grad(
        [values[place] for place in known],
        inputs,
        None if cotangents is None else [cotangents[place] for place in known],
        retain_graph=True,
        create_graph=graph,
        allow_unused=True,
        materialize_grads=True,
    )


def minus(left: Tree, right: Tree, factor: float = 1.0) -> Tree:
    """Tree left - factor right."""
    return tree_map(lambda a, b: a - factor * b, left, right)


def _zeros(tree: Tree) -> Tree:
    return tree_map(torch.zeros_like, tree)
