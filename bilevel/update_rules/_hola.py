"""Higher-order LOLA: learners that differentiate through learners of the order below."""

from __future__ import annotations

import torch
from torch import Tensor

from bilevel.core import Losses, Tree, gradient, simultaneous_gradient, tree_map
from bilevel.update_rules._derivatives import minus
from games.core import require


def hola(losses: Losses, theta: Tree, rate: float = 1.0, *, order: int = 1) -> Tree:
    """Direction of higher-order LOLA: each agent differentiates through the others' steps of the order below.

    d^0 = xi, and d^n_i = grad_i L_i(theta_i, theta_j - rate d^{n-1}_j(theta) for all j != i), derivatives of
    d^{n-1} included. `lola` is order 1, expanded to first order in `rate`. Directions need not converge as
    the order grows; for small rates their limit may be mutually consistent. Evaluates
    losses away from theta: not for sampled surrogate losses. Cost: (number of agents)^order gradients, of
    derivatives of order n + 1. Needs: the others' losses.

    Args:
        losses: (own, others) -> [..., agent], order + 1 times differentiable; see `bilevel.core.Losses`.
        theta: parameters of all agents, a nest of tensors [..., agent, *].
        rate: learning rate that each agent ascribes to the others.
        order: n, 0 or more.
    Returns:
        The direction to descend, like theta.
    Raises:
        ValueError: the order is below 0.
    Source:
        Willi et al., COLA: Consistent learning with opponent-learning awareness, arXiv 2203.04098.

    >>> def losses(own, others):  # zero-sum: agent 0 minimizes x y, agent 1 maximizes it
    ...     return own * others.flip(-1) * torch.tensor([1.0, -1.0])
    >>> hola(losses, torch.tensor([1.0, 2.0]), rate=0.1, order=1)
    tensor([ 2.2000, -0.6000])
    """
    require(order >= 0, f"The order of hola must be 0 or more, not {order}.")
    if order == 0:
        return simultaneous_gradient(losses, theta)
    *batch, agents = losses(theta, theta).shape

    def loss_ahead(own: Tree, agent: int) -> Tensor:
        """Loss of an agent after the steps that the others take where only this agent has moved to `own`."""

        def only_agent(moved: Tensor, fixed: Tensor) -> Tensor:
            mask = torch.arange(agents, device=moved.device) == agent
            return torch.where(mask.reshape(-1, *(1,) * (moved.ndim - len(batch) - 1)), moved, fixed)

        point = tree_map(only_agent, own, theta)
        others = minus(point, hola(losses, point, rate, order=order - 1), rate)
        return losses(own, others)[..., agent].sum()

    def total(own: Tree) -> Tensor:
        return torch.stack([loss_ahead(own, agent) for agent in range(agents)]).sum()

    return gradient(total, theta)
