"""Advantage estimates and decayed dependencies over sampled episodes: what Loaded DiCE is made of."""

from __future__ import annotations

import torch
from torch import Tensor

from bilevel.agents.returns import returns_to_go


def decayed_sums(values: Tensor, decay: float) -> Tensor:
    """Sum of what came before, oneself included: S_t = sum_{u <= t} decay^(t - u) x_u; 0^0 is 1.

    Args:
        values: [..., time, episode].
        decay: per step, in [0, 1].

    Returns:
        the same shape.

    >>> decayed_sums(torch.tensor([[4.0], [0.0], [1.0]]), 0.5).squeeze(-1)
    tensor([4., 2., 2.])
    """
    return returns_to_go(values.flip(-2), decay).flip(-2)


def generalised_advantages(rewards: Tensor, values: Tensor, discount: float, trace: float) -> Tensor:
    """Generalised advantage estimates: A_t = sum_{u >= t} (discount trace)^(u - t) delta_u.

    delta_t = r_t + discount V_{t+1} - V_t, with nothing after the last step. With trace 1 it is G_t - V_t.

    Args:
        rewards: [..., time, episode], zero after an episode's end.
        values: estimated returns-to-go, zero after an episode's end, shaped like `rewards`.
        discount: per step, in [0, 1].
        trace: from 0 (one step, then the values) to 1 (the sampled return).

    Returns:
        the same shape.

    Source:
        Schulman et al., Generalized advantage estimation, arXiv 1506.02438.

    >>> rewards, values = torch.tensor([[1.0], [4.0]]), torch.tensor([[2.0], [3.0]])
    >>> [generalised_advantages(rewards, values, 0.5, trace).flatten().tolist() for trace in (0.0, 1.0)]
    [[0.5, 1.0], [1.0, 1.0]]
    """
    following = torch.cat((values[..., 1:, :], torch.zeros_like(values[..., :1, :])), -2)
    return returns_to_go(rewards + discount * following - values, discount * trace)
