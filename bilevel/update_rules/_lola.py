"""LOLA: the gradient through one learning step of the other agents."""

from __future__ import annotations

from bilevel.core import Losses, Tree
from bilevel.update_rules._derivatives import derivatives, minus


def lola(losses: Losses, theta: Tree, rate: float = 1.0, *, detached: bool = False) -> Tree:
    """Direction of LOLA, xi_0 - rate chi: each agent differentiates through one naive step of all others.

    chi_i = sum_{j != i} H[j][i]' grad_j L_i is agent i's influence on the steps of the others, weighted by
    the effect of these steps on its own loss; xi_0 = (I - rate H_o) xi is `look_ahead`. First order in `rate`
    (`hola` is exact in it). LOLA may leave stable fixed points, or converge to points that are no fixed
    points of the game (`sos` does not). Needs: the others' losses, differentiated twice.

    Args:
        losses: (own, others) -> [..., agent], twice differentiable; see `bilevel.core.Losses`.
        theta: parameters of all agents, a nest of tensors [..., agent, *].
        rate: learning rate that each agent ascribes to the others.
        detached: leave out the effect of the others' steps on the own gradient, as the released code does:
            xi - rate chi.
    Returns:
        The direction to descend, like theta.
    Source:
        Foerster et al., Learning with opponent-learning awareness, arXiv 1709.04326; `detached`: its code,
        lola/train_exact.py in alshedivat/lola.

    >>> import torch
    >>> def losses(own, others):  # zero-sum: agent 0 minimizes x y, agent 1 maximizes it
    ...     return own * others.flip(-1) * torch.tensor([1.0, -1.0])
    >>> lola(losses, torch.tensor([1.0, 2.0]), rate=0.1, detached=True)
    tensor([ 2.1000, -0.8000])
    >>> lola(losses, torch.tensor([1.0, 2.0]), rate=0.1)
    tensor([ 2.2000, -0.6000])
    """
    at = derivatives(losses, theta)
    start = at.xi if detached else minus(at.xi, at.interaction(at.xi), rate)
    return minus(start, at.shaping(), rate)
