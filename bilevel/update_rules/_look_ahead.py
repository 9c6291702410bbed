"""LookAhead: the gradient at the parameters that the others are expected to move to."""

from __future__ import annotations

from bilevel.core import Losses, Tree
from bilevel.update_rules._derivatives import derivatives, minus


def look_ahead(losses: Losses, theta: Tree, rate: float = 1.0) -> Tree:
    """Direction of LookAhead, xi_0 = (I - rate H_o) xi: each agent expects one naive step of all others.

    It does not account for its own effect on that step (`lola` does). First order in `rate`. Stable fixed
    points of `simultaneous_gradient` keep attracting it. Needs: the others' losses; two backward passes.

    Args:
        losses: (own, others) -> [..., agent], twice differentiable; see `bilevel.core.Losses`.
        theta: parameters of all agents, a nest of tensors [..., agent, *].
        rate: learning rate of the expected step.
    Returns:
        The direction to descend, like theta.
    Source:
        Zhang and Lesser, Multi-agent learning with policy prediction, AAAI 2010; in the form of Letcher et
        al., Stable opponent shaping in differentiable games, arXiv 1811.08469.

    Tandem, where both agents pay for a total s = x + y away from 1; a shared step doubles its effect:

    >>> import torch
    >>> def losses(own, others):
    ...     total = own + others.flip(-1)
    ...     return total**2 - 2 * own
    >>> look_ahead(losses, torch.tensor([1.0, 1.0]), rate=0.1)
    tensor([1.6000, 1.6000])
    """
    at = derivatives(losses, theta)
    return minus(at.xi, at.interaction(at.xi), rate)
