"""Advantages of roll-outs, and REINFORCE with them."""

from __future__ import annotations

import torch
from torch import Tensor

from bilevel.tasks.world_model.rollouts import RollOut


def advantages_with_values(
    roll_out: RollOut, values: Tensor, discount: float, trace: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantages, and what values are trained towards.

    A_t = d_t + discount trace A_{t+1}, d_t = r_t + discount V_{t+1} - V_t; V is 0 after an episode's end, and
    no trace reaches over a stop.

    Args:
        roll_out: rewards, ends and stops.
        values: of each picture, [time + 1, copy].
        discount: of later rewards.
        trace: of later advantages.

    Returns:
        advantages and targets, each [time, copy].

    Source:
        Schulman et al., arXiv 1506.02438.
    """
    after = values[1:] * (1 - roll_out.ended)
    errors = roll_out.rewards + discount * after - values[:-1]
    advantages = _summed_back(errors, discount * trace, roll_out.stopped)
    return advantages, advantages + values[:-1]


def advantages_without_values(roll_out: RollOut, discount: float) -> Tensor:
    """Discounted rewards to come within the window, less their mean over the copies at the same time.

    Args:
        roll_out: rewards and stops.
        discount: of later rewards.

    Returns:
        [time, copy].
    """
    to_come = _summed_back(roll_out.rewards, discount, roll_out.stopped)
    counts = roll_out.counts
    mean = (to_come * counts).sum(1, keepdim=True) / counts.sum(1, keepdim=True).clamp(min=1)
    return to_come - mean


def normalised(advantages: Tensor, counts: Tensor) -> Tensor:
    """With mean 0 and standard deviation 1 over what counts, [time, copy]."""
    some = advantages[counts]
    return (advantages - some.mean()) / (some.std(correction=0) + 1e-6)


def reinforce(log_policy: Tensor, before: Tensor, advantages: Tensor, clip_ratio: float) -> Tensor:
    """Minus the mean advantage, each weighed by how much likelier its action has become.

    Where the policy is still the one that acted this is REINFORCE's gradient. The ratio corrects for a policy
    that has moved since, and is cut off where it has moved far.

    Args:
        log_policy: of the actions taken, [step].
        before: the same of the policy that acted, [step].
        advantages: [step].
        clip_ratio: how far from 1 the ratio counts; 0 or more.

    Source:
        Williams 1992; Schulman et al., Proximal policy optimization, arXiv 1707.06347.

    >>> reinforce(torch.zeros(2), torch.zeros(2), torch.tensor([1.0, 3.0]), 0.2)
    tensor(-2.)
    """
    ratio = (log_policy - before).exp()
    clipped = ratio.clamp(1 - clip_ratio, 1 + clip_ratio)
    return -torch.minimum(ratio * advantages, clipped * advantages).mean()


def _summed_back(terms: Tensor, factor: float, stopped: Tensor) -> Tensor:
    """s_t = terms_t + factor s_{t+1} unless stopped in t, [time, copy]."""
    sums, later = [], torch.zeros_like(terms[0])
    for term, stop in zip(terms.flip(0), stopped.flip(0), strict=True):
        later = term + factor * later * ~stop
        sums.append(later)
    return torch.stack(sums).flip(0)
