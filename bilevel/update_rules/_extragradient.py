"""Extragradient: the simultaneous gradient after a tentative step."""

from __future__ import annotations

from bilevel.core import Losses, Tree, simultaneous_gradient
from bilevel.update_rules._derivatives import minus


def extragradient(losses: Losses, theta: Tree, rate: float = 1.0) -> Tree:
    """Direction of the extragradient method: xi at theta - rate xi(theta), where all agents have moved.

    With sgd of learning rate `rate` it is the classic method, whose last iterate converges in monotone games,
    such as bilinear ones, where plain descent diverges. Evaluates losses away from theta: not for sampled
    surrogate losses. Needs: own gradients; no second derivatives.

    Args:
        losses: (own, others) -> [..., agent]; see `bilevel.core.Losses`.
        theta: parameters of all agents, a nest of tensors [..., agent, *].
        rate: learning rate of the tentative step.
    Returns:
        The direction to descend, like theta.
    Source:
        Korpelevich, The extragradient method for finding saddle points and other problems, 1976; for GANs:
        Gidel et al., arXiv 1802.10551.

    >>> import torch
    >>> def losses(own, others):  # zero-sum: agent 0 minimizes x y, agent 1 maximizes it
    ...     return own * others.flip(-1) * torch.tensor([1.0, -1.0])
    >>> extragradient(losses, torch.tensor([1.0, 2.0]), rate=0.1)
    tensor([ 2.1000, -0.8000])
    """
    ahead = minus(theta, simultaneous_gradient(losses, theta), rate)
    return simultaneous_gradient(losses, ahead)
