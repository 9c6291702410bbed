"""Discounted returns and baselines over sampled episodes."""

from __future__ import annotations

import torch
from torch import Tensor

from games.constants import apart, kept


def discounts(steps: int, discount: float, like: Tensor) -> Tensor:
    """1, discount, discount^2, ...: [time], in the dtype and on the device of `like`; 0^0 is 1.

    >>> discounts(3, 0.5, torch.zeros(1))
    tensor([1.0000, 0.5000, 0.2500])
    """
    return discount ** torch.arange(steps, dtype=like.dtype, device=like.device)


def returns_to_go(rewards: Tensor, discount: float) -> Tensor:
    """Discounted sum of what follows, oneself included: G_t = sum_{u >= t} discount^(u - t) r_u.

    Args:
        rewards: [..., time, episode], zero after an episode's end.
        discount: per step, in [0, 1].

    Returns:
        the same shape.

    >>> returns_to_go(torch.tensor([[1.0], [0.0], [4.0]]), 0.5).squeeze(-1)
    tensor([2., 2., 4.])
    """
    learned = isinstance(discount, Tensor)
    weights = (_weights if learned else _kept_weights)(
        rewards.shape[-2], discount, rewards.dtype, rewards.device
    )
    return weights @ rewards


def _weights(steps: int, discount: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What each reward counts in the return from each step on: [time, time of the reward]."""
    time = torch.arange(steps, device=device)
    ahead = time[None, :] - time[:, None]
    return discount ** ahead.clamp(min=0).to(dtype) * (ahead >= 0)


@kept
def _kept_weights(steps: int, discount: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return apart(lambda: _weights(steps, discount, dtype, device))


def leave_one_out(returns: Tensor, alive: Tensor) -> Tensor:
    """The mean return of the OTHER episodes still alive at the same step: a baseline that adds no bias.

    Args:
        returns: [..., time, episode].
        alive: 1 where the episode was still running, else 0; broadcasts to `returns`.

    Returns:
        the same shape as `returns`; 0 where no other episode is alive.

    >>> leave_one_out(torch.tensor([[1.0, 2.0, 6.0]]), torch.ones(1, 3))
    tensor([[4.0000, 3.5000, 1.5000]])
    """
    kept = returns * alive
    others = kept.sum(-1, keepdim=True) - kept
    count = alive.sum(-1, keepdim=True) - alive
    return others / count.clamp(min=1)
