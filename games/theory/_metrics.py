"""Social metrics of Perolat et al., A multi-agent reinforcement learning model of common-pool resource
appropriation, arXiv 1707.06600.

Everything is batched. `rewards` is [time, ..., agent] and `returns`, its undiscounted sum over time, is
[..., agent]; the leading axes (seeds, copies) stay. `mask`, boolean [time, ...], marks the steps played
(default: all; ValueError if its shape differs); other steps are ignored. A quantity that is not
defined is NaN, never 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from games.core import require

MAX_PAIRWISE = 1024
"""Maximum number of agents whose returns are compared pair by pair; those of more are sorted."""


def efficiency(rewards: Tensor, mask: Tensor | None = None) -> Tensor:
    """Efficiency: the group's reward per step, U = sum_i R_i / T, T being the number of steps played.

    Args:
        rewards: [time, ..., agent], in the game's units.
        mask: steps played, boolean [time, ...]; None: all.
    Returns:
        Reward per step, [...].
    Raises:
        ValueError: the mask does not have the shape of the rewards without their last axis.
    Source:
        Perolat et al., A multi-agent reinforcement learning model of common-pool resource appropriation,
        arXiv 1707.06600.

    >>> efficiency(torch.tensor([[-1.0, 0.0], [0.0, 10.0]]))
    tensor(4.5000)
    """
    mask = _mask(rewards, mask)
    return torch.where(mask, rewards.sum(-1), 0).sum(0) / mask.sum(0)


def equality(returns: Tensor) -> Tensor:
    """Equality: 1 minus the Gini coefficient, E = 1 - sum_ij |R_i - R_j| / (2 N sum_i R_i).

    From 1/N (one agent has it all) to 1 (all have the same), as long as no return is negative; a negative one
    can push it below 1/N, and below 0. With N = 1 it is 1.

    Args:
        returns: sums of rewards, [..., agent], in the game's units.
    Returns:
        Equality, [...]; NaN where the returns sum to 0 or less.
    Source:
        Perolat et al., arXiv 1707.06600.

    >>> equality(torch.tensor([[2.0, 2.0], [4.0, 0.0], [1.0, -1.0]]))
    tensor([1.0000, 0.5000, nan])
    """
    total = returns.sum(-1)
    agents = returns.shape[-1]
    if agents <= MAX_PAIRWISE:
        differences = (returns.unsqueeze(-1) - returns.unsqueeze(-2)).abs().sum((-1, -2))
    else:  # the k-th smallest is above k others and below the rest
        ranks = torch.arange(agents, dtype=returns.dtype, device=returns.device)
        differences = 2 * ((2 * ranks - (agents - 1)) * returns.sort(-1).values).sum(-1)
    return torch.where(total > 0, 1 - differences / (2 * agents * total), torch.nan)


def sustainability(rewards: Tensor, mask: Tensor | None = None) -> Tensor:
    """Sustainability: the mean, over agents, of the mean step in which the agent got a positive reward.

    Steps count from 1. An agent that never got a positive reward has no such step and is left out of the mean
    over agents (the paper does not say how it is counted).

    Args:
        rewards: [time, ..., agent], in the game's units.
        mask: steps played, boolean [time, ...]; None: all.
    Returns:
        The mean step, from 1, [...]; NaN where no reward is positive.
    Raises:
        ValueError: as for `efficiency`.
    Source:
        Perolat et al., arXiv 1707.06600.

    >>> sustainability(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0], [1.0, 0.0, -1.0]]))
    tensor(2.)
    """
    positive = ((rewards > 0) & _mask(rewards, mask).unsqueeze(-1)).to(rewards.dtype)
    steps = torch.arange(1, rewards.shape[0] + 1, dtype=rewards.dtype, device=rewards.device)
    times = positive.movedim(0, -1) @ steps / positive.sum(0)  # 0/0 = NaN: the agent is left out
    return times.nanmean(-1)


def peace(timed_out: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peace: the mean number of agents that are not timed out, P = (N T - agent-steps timed out) / T.

    Args:
        timed_out: steps in which an agent was out of the game (tagged), boolean [time, ..., agent].
        mask: steps played, boolean [time, ...]; None: all.
    Returns:
        Number of agents, [...].
    Raises:
        ValueError: as for `efficiency`.
    Source:
        Perolat et al., arXiv 1707.06600.

    >>> peace(torch.tensor([[True, False], [False, False]]))
    tensor(1.5000)
    """
    mask = _mask(timed_out, mask)
    return torch.where(mask, (~timed_out).sum(-1), 0).sum(0) / mask.sum(0)


def _mask(per_agent: Tensor, mask: Tensor | None) -> Tensor:
    """Mask of the steps played, [time, ...], for values [time, ..., agent]."""
    steps = per_agent.shape[:-1]
    if mask is None:
        return torch.ones(steps, dtype=torch.bool, device=per_agent.device)
    require(
        mask.shape == steps,
        f"mask must be [time, ...] = {tuple(steps)}, one entry for each step, not {tuple(mask.shape)}.",
    )
    return mask
