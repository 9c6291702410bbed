"""Discounted returns, baselines and advantages over sampled episodes."""

from __future__ import annotations

import torch
from torch import Tensor

from games.core import cached_constants, in_fresh_thread


def discounts(steps: int, discount: float, like: Tensor) -> Tensor:
    """Powers 1, discount, discount^2, ...: [time], in the dtype and on the device of `like`; 0^0 is 1."""
    return discount ** torch.arange(steps, dtype=like.dtype, device=like.device)


def returns_to_go(rewards: Tensor, discount: float) -> Tensor:
    """Discounted returns to go, G_t = sum_{u >= t} discount^(u - t) r_u, of rewards [..., time, episode]."""
    learned = isinstance(discount, Tensor)
    weights = (_weights if learned else _cached_weights)(
        rewards.shape[-2], discount, rewards.dtype, rewards.device
    )
    return weights @ rewards


def _weights(steps: int, discount: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Weight of each reward in the return from each step on: [time, time of the reward]."""
    time = torch.arange(steps, device=device)
    ahead = time[None, :] - time[:, None]
    return discount ** ahead.clamp(min=0).to(dtype) * (ahead >= 0)


@cached_constants
def _cached_weights(steps: int, discount: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return in_fresh_thread(lambda: _weights(steps, discount, dtype, device))


def leave_one_out(returns: Tensor, mask: Tensor) -> Tensor:
    """Leave-one-out baseline: the mean return of the OTHER episodes still running at a step, else 0."""
    running = returns * mask
    others = running.sum(-1, keepdim=True) - running
    count = mask.sum(-1, keepdim=True) - mask
    return others / count.clamp(min=1)


def decayed_sums(values: Tensor, decay: float) -> Tensor:
    """Decayed sums: S_t = sum_{u <= t} decay^(t - u) x_u of values [..., time, episode]; 0^0 is 1."""
    return returns_to_go(values.flip(-2), decay).flip(-2)


def generalized_advantages(rewards: Tensor, values: Tensor, discount: float, trace: float) -> Tensor:
    """Generalized advantage estimates: A_t = sum_{u >= t} (discount trace)^(u - t) delta_u.

    delta_t = r_t + discount V_{t+1} - V_t, with V = 0 after the last step. With trace 1 it is G_t - V_t.
    Rewards and values are [..., time, episode], zero after an episode's end; discount and trace from 0 to 1.

    Source:
        Schulman et al., Generalized advantage estimation, arXiv 1506.02438.

    >>> rewards, values = torch.tensor([[1.0], [4.0]]), torch.tensor([[2.0], [3.0]])
    >>> [generalized_advantages(rewards, values, 0.5, trace).flatten().tolist() for trace in (0.0, 1.0)]
    [[0.5, 1.0], [1.0, 1.0]]
    """
    following = torch.cat((values[..., 1:, :], torch.zeros_like(values[..., :1, :])), -2)
    return returns_to_go(rewards + discount * following - values, discount * trace)
