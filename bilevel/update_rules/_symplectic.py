"""Symplectic gradient adjustment: the simultaneous gradient without its rotation."""

from __future__ import annotations

from bilevel.core import Losses, Tree
from bilevel.update_rules._derivatives import derivatives, minus

EPSILON = 0.1
"""Added to the alignment before its sign is taken, as in the source: near fixed points the sign is +1."""


def symplectic(losses: Losses, theta: Tree, weight: float = 1.0, *, align: bool = False) -> Tree:
    """Direction of symplectic gradient adjustment, xi + weight A' xi, with A = (H - H') / 2.

    A is the antisymmetric part of the Jacobian, which makes learners rotate around a fixed point; in games of
    a common loss A = 0, and nothing is adjusted. Needs: all losses, differentiated twice.

    Args:
        losses: (own, others) -> [..., agent], twice differentiable; see `bilevel.core.Losses`.
        theta: parameters of all agents, a nest of tensors [..., agent, *].
        weight: lambda, the weight of the adjustment.
        align: multiply lambda, for each member of the batch, by the sign of <xi, H' xi> <A' xi, H' xi> +
            0.1, which draws to stable fixed points and repels from unstable ones.
    Returns:
        The direction to descend, like theta.
    Source:
        Balduzzi et al., The mechanics of n-player differentiable games, arXiv 1802.05642.

    >>> import torch
    >>> def losses(own, others):  # zero-sum: agent 0 minimizes x y, agent 1 maximizes it
    ...     return own * others.flip(-1) * torch.tensor([1.0, -1.0])
    >>> symplectic(losses, torch.tensor([1.0, 2.0]), weight=0.5)
    tensor([2.5000, 0.0000])
    """
    at = derivatives(losses, theta)
    transposed = at.transposed_jacobian(at.xi)
    adjustment = minus(transposed, at.jacobian(at.xi))  # 2 A' xi
    if align:
        alignment = at.inner(at.xi, transposed) * at.inner(adjustment, transposed) / 2
        adjustment = at.scaled((alignment + EPSILON).sign(), adjustment)
    return minus(at.xi, adjustment, -weight / 2)
