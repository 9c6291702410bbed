"""Social metrics: what a game's rewards say about the group.

Everything is batched. `rewards` is [time, ..., agent] and `returns`, its sum over time without discount, is
[..., agent]; the leading axes (seeds, copies) stay. `alive`, boolean [time, ...], tells which steps were
played, and defaults to all; what stands in the others does not count. A quantity that is not defined is
NaN, never 0.

Efficiency, equality, sustainability and peace are those of Perolat et al., A multi-agent reinforcement
learning model of common-pool resource appropriation, arXiv 1707.06600.
"""

from __future__ import annotations

import torch
from torch import Tensor

from games.core import require


def alive_steps(done: Tensor) -> Tensor:
    """Which steps were played: those up to and with the first in which the copy ended.

    Args:
        done: boolean [time, ...], as `Game.step` gave it.

    Returns:
        boolean [time, ...].

    >>> alive_steps(torch.tensor([False, True, False, True]))
    tensor([ True,  True, False, False])
    """
    ends = done.to(torch.int64)
    return ends.cumsum(0) == ends


def efficiency(rewards: Tensor, alive: Tensor | None = None) -> Tensor:
    """The group's reward per step, U = sum_i R_i / T, T being the number of steps played.

    Args:
        rewards: [time, ..., agent].
        alive: boolean [time, ...].

    Returns:
        [...]; NaN where no step was played.

    Raises:
        ValueError: `alive` has another shape than the rewards without their last axis.

    >>> efficiency(torch.tensor([[-1.0, 0.0], [0.0, 10.0]]))
    tensor(4.5000)
    """
    alive = _alive(rewards, alive)
    return torch.where(alive, rewards.sum(-1), 0).sum(0) / alive.sum(0)


def equality(returns: Tensor) -> Tensor:
    """One less the Gini coefficient, E = 1 - sum_ij |R_i - R_j| / (2 N sum_i R_i).

    From 1/N (one agent has it all) to 1 (all have the same), as long as no return is negative; a negative
    one can push it below 1/N, and below 0. With N = 1 it is 1.

    Args:
        returns: [..., agent].

    Returns:
        [...]; NaN where the returns sum to 0 or less, for which equality is not defined.

    >>> equality(torch.tensor([[2.0, 2.0], [4.0, 0.0], [1.0, -1.0]]))
    tensor([1.0000, 0.5000, nan])
    """
    total = returns.sum(-1)
    differences = (returns.unsqueeze(-1) - returns.unsqueeze(-2)).abs().sum((-1, -2))
    return torch.where(total > 0, 1 - differences / (2 * returns.shape[-1] * total), torch.nan)


def sustainability(rewards: Tensor, alive: Tensor | None = None) -> Tensor:
    """The mean, over agents, of the mean step in which the agent got a positive reward.

    Steps count from 1. An agent that never got a positive reward has no such step and is left out of the
    mean over agents (the paper does not say how it is counted).

    Args:
        rewards: [time, ..., agent].
        alive: boolean [time, ...].

    Returns:
        [...], in steps; NaN where no agent got a positive reward.

    Raises:
        ValueError: `alive` has another shape than the rewards without their last axis.

    >>> sustainability(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0], [1.0, 0.0, -1.0]]))
    tensor(2.)
    """
    positive = ((rewards > 0) & _alive(rewards, alive).unsqueeze(-1)).to(rewards.dtype)
    steps = torch.arange(1, rewards.shape[0] + 1, dtype=rewards.dtype, device=rewards.device)
    times = positive.movedim(0, -1) @ steps / positive.sum(0)  # 0/0 = NaN: the agent is left out
    return times.nanmean(-1)


def peace(timed_out: Tensor, alive: Tensor | None = None) -> Tensor:
    """The mean number of agents who are not timed out, P = (N T - agent-steps timed out) / T.

    Args:
        timed_out: boolean [time, ..., agent]: who was out of the game (tagged) in which step.
        alive: boolean [time, ...].

    Returns:
        [...], from 0 to N; NaN where no step was played.

    Raises:
        ValueError: `alive` has another shape than `timed_out` without its last axis.

    >>> peace(torch.tensor([[True, False], [False, False]]))
    tensor(1.5000)
    """
    alive = _alive(timed_out, alive)
    return torch.where(alive, (~timed_out).sum(-1), 0).sum(0) / alive.sum(0)


def lowest_return(returns: Tensor) -> Tensor:
    """The return of the agent who got least (Rawls's welfare): [..., agent] -> [...].

    >>> lowest_return(torch.tensor([3.0, -1.0, 2.0]))
    tensor(-1.)
    """
    return returns.amin(-1)


def nash_welfare(returns: Tensor) -> Tensor:
    """The geometric mean of the returns, (prod_i R_i)^(1/N), in the game's units.

    Args:
        returns: [..., agent].

    Returns:
        [...]; 0 where a return is 0 and none is negative; NaN where a return is negative, for which Nash
        welfare is not defined.

    Source:
        Kaneko and Nakamura, The Nash Social Welfare Function, Econometrica 47(2), 1979.

    >>> nash_welfare(torch.tensor([[1.0, 4.0], [0.0, 9.0], [-1.0, -4.0]]))
    tensor([2., 0., nan])
    """
    return returns.log().mean(-1).exp()  # the log keeps a product of many returns from overflowing


def cooperation_rate(cooperates: Tensor, alive: Tensor | None = None) -> Tensor:
    """Each agent's share of actions that cooperated.

    Args:
        cooperates: boolean [time, ..., agent], as `Game.cooperates` gave it.
        alive: boolean [time, ...].

    Returns:
        [..., agent], from 0 to 1; NaN where no step was played.

    Raises:
        ValueError: `alive` has another shape than `cooperates` without its last axis.

    >>> cooperation_rate(torch.tensor([[True, False], [True, True]]))
    tensor([1.0000, 0.5000])
    """
    played = _alive(cooperates, alive).unsqueeze(-1)
    return (cooperates & played).sum(0) / played.sum(0)


def gifts_given(gifts: Tensor, alive: Tensor | None = None) -> Tensor:
    """What each agent gave to others over the episode; what it kept (the diagonal) does not count.

    Args:
        gifts: [time, ..., giver, receiver], in the game's units.
        alive: boolean [time, ...].

    Returns:
        [..., giver].

    Raises:
        ValueError: the last two axes differ, or `alive` has another shape than the gifts without them.

    >>> gifts_given(torch.tensor([[[5.0, 1.0], [2.0, 5.0]], [[0.0, 3.0], [0.0, 0.0]]]))
    tensor([4., 2.])
    """
    return _transfers(gifts, alive).sum(-1)


def gifts_received(gifts: Tensor, alive: Tensor | None = None) -> Tensor:
    """What each agent got from others over the episode: see `gifts_given`; returns [..., receiver].

    >>> gifts_received(torch.tensor([[[5.0, 1.0], [2.0, 5.0]], [[0.0, 3.0], [0.0, 0.0]]]))
    tensor([2., 4.])
    """
    return _transfers(gifts, alive).sum(-2)


def _transfers(gifts: Tensor, alive: Tensor | None) -> Tensor:
    """The sum over the steps played, [..., giver, receiver], with an empty diagonal."""
    givers, receivers = gifts.shape[-2:]
    require(
        givers == receivers,
        f"Gifts need one row and one column for each agent; there are {givers} rows and {receivers} columns.",
    )
    alive = _alive(gifts[..., 0], alive)
    total = torch.where(alive[..., None, None], gifts, 0).sum(0)
    kept = torch.eye(givers, dtype=torch.bool, device=gifts.device)
    return total.masked_fill(kept, 0)


def _alive(per_agent: Tensor, alive: Tensor | None) -> Tensor:
    """The mask of steps played for what has the shape [time, ..., agent]: as given, or all of them."""
    steps = per_agent.shape[:-1]
    if alive is None:
        return torch.ones(steps, dtype=torch.bool, device=per_agent.device)
    require(
        alive.shape == steps,
        f"alive must be [time, ...] = {tuple(steps)}, one entry for each step, not {tuple(alive.shape)}.",
    )
    return alive
