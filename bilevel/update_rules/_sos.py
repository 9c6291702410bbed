"""SOS: as much of LOLA's shaping as keeps stable fixed points attractive."""

from __future__ import annotations

import torch

from bilevel.core import Losses, Tree
from bilevel.update_rules._derivatives import derivatives, minus


def sos(losses: Losses, theta: Tree, rate: float = 1.0, *, a: float = 0.5, b: float = 0.1) -> Tree:
    """Direction of stable opponent shaping, xi_0 - p rate chi, with p in [0, 1] for each member of the batch.

    p = min(p1, p2): p1 = 1 if <-rate chi, xi_0> >= 0, else min(1, a |xi_0|^2 / <rate chi, xi_0>), so that
    the direction never opposes `look_ahead`; p2 = |xi|^2 if |xi| < b, else 1, so that shaping ends near fixed
    points. With p = 1 it is `lola`, with p = 0 `look_ahead`. A hypergradient differentiates p, but
    not the choice of its case. Needs: the others' losses, differentiated twice.

    Args:
        losses: (own, others) -> [..., agent], twice differentiable; see `bilevel.core.Losses`.
        theta: parameters of all agents, a nest of tensors [..., agent, *].
        rate: learning rate that each agent ascribes to the others.
        a: largest part of xi_0 that shaping may cancel, between 0 and 1.
        b: norm of xi below which shaping fades, in units of xi, between 0 and 1.
    Returns:
        The direction to descend, like theta.
    Source:
        Letcher et al., Stable opponent shaping in differentiable games, arXiv 1811.08469.

    >>> def losses(own, others):  # tandem
    ...     total = own + others.flip(-1)
    ...     return total**2 - 2 * own
    >>> sos(losses, torch.tensor([0.6, 0.6], dtype=torch.float64), rate=0.1)
    tensor([0.1600, 0.1600], dtype=torch.float64)
    """
    at = derivatives(losses, theta)
    xi_0, chi = minus(at.xi, at.interaction(at.xi), rate), at.shaping()
    opposition = rate * at.inner(chi, xi_0)
    opposed = opposition > 0
    size = a * at.inner(xi_0, xi_0)
    p1 = torch.where(opposed, (size / torch.where(opposed, opposition, 1.0)).clamp(max=1.0), 1.0)
    norm_squared = at.inner(at.xi, at.xi)
    p2 = torch.where(norm_squared < b**2, norm_squared, 1.0)
    return minus(xi_0, at.scaled(torch.minimum(p1, p2), chi), rate)
