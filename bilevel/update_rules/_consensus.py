"""Consensus optimization: descent that also reduces the norm of the simultaneous gradient."""

from __future__ import annotations

from bilevel.core import Losses, Tree
from bilevel.update_rules._derivatives import derivatives, minus


def consensus(losses: Losses, theta: Tree, weight: float = 1.0) -> Tree:
    """Direction of consensus optimization, xi + weight H' xi, where H' xi is the gradient of |xi|^2 / 2.

    All agents take part in the reduction of |xi|, so the rule presumes cooperation. It may also converge
    to fixed points that are not equilibria. Needs: all losses, differentiated twice.

    Args:
        losses: (own, others) -> [..., agent], twice differentiable; see `bilevel.core.Losses`.
        theta: parameters of all agents, a nest of tensors [..., agent, *].
        weight: weight of the norm's gradient, 0 or more.
    Returns:
        The direction to descend, like theta.
    Source:
        Mescheder et al., The numerics of GANs, arXiv 1705.10461.

    >>> import torch
    >>> def losses(own, others):  # zero-sum: agent 0 minimizes x y, agent 1 maximizes it
    ...     return own * others.flip(-1) * torch.tensor([1.0, -1.0])
    >>> consensus(losses, torch.tensor([1.0, 2.0]), weight=0.5)
    tensor([2.5000, 0.0000])
    """
    at = derivatives(losses, theta)
    return minus(at.xi, at.transposed_jacobian(at.xi), -weight)
