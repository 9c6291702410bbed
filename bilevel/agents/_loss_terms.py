"""An inner loss in its terms, and their sum: what a learner weighs, and what may learn the weights."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class LossTerms(NamedTuple):
    """The terms of each agent's inner loss, [seed, agent] each."""

    policy: Tensor
    """Minus the surrogate of the return that the agent sees, in reward units."""
    value: Tensor | None
    """Half the critic's mean squared error, in squared reward units; None: there is no critic."""
    entropy: Tensor | None
    """Of the policy, in nats: of an episode's steps together, or, where values are exact, of an observation
    on average. More of it is better. None: nobody asks, as it counts nothing."""


class TermWeights(NamedTuple):
    """What the terms count: numbers, or tensors that broadcast to [seed, agent] and may be learned."""

    policy: Tensor | float = 1.0
    value: Tensor | float = 0.5
    entropy: Tensor | float = 0.0
    """Reward units per nat."""


def weighted(terms: LossTerms, weights: TermWeights) -> Tensor:
    """Add the terms up: policy's weight x policy + value's weight x value - entropy's weight x entropy.

    Args:
        terms: of the loss.
        weights: of the terms; the result is differentiable in them.

    Returns:
        [seed, agent], what each agent minimizes.

    >>> one = torch.ones(1, 2)
    >>> weighted(LossTerms(policy=-3 * one, value=4 * one, entropy=one), TermWeights(1.0, 0.5, 0.1))
    tensor([[-1.1000, -1.1000]])
    """
    counted = isinstance(weights.policy, Tensor) or weights.policy != 1
    total = weights.policy * terms.policy if counted else terms.policy
    if terms.value is not None:
        total = total + weights.value * terms.value
    return total if terms.entropy is None else total - weights.entropy * terms.entropy


def value_losses(values: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Half the mean squared error of a critic, over the steps that were played.

    Args:
        values: the critic's, differentiated, [..., agent, time, episode].
        targets: what they should have been, like the values.
        mask: 1 while the episode runs, [..., 1, time, episode].

    Returns:
        [..., agent], in squared reward units.

    >>> value_losses(torch.zeros(1, 2, 1), torch.tensor([[[3.0], [9.0]]]), torch.tensor([[[1.0], [0.0]]]))
    tensor([4.5000])
    """
    return _mean((values - targets).square(), mask).squeeze((-2, -1)) / 2


def clipped_value_losses(values: Tensor, targets: Tensor, mask: Tensor, old: Tensor, clip: float) -> Tensor:
    """As `value_losses`, each step with the greater error: the value's, or that of one held near the old one.

    Args:
        values: as in `value_losses`, like `targets` and `mask`.
        targets: what they should have been.
        mask: 1 while the episode runs.
        old: the critic's values before it moved, like the values.
        clip: how far from the old ones values may go and still count, above 0, in reward units.

    Returns:
        [..., agent], in squared reward units.

    Source:
        Released code of Schulman et al., PPO, arXiv 1707.06347 (it is not in the paper).

    >>> one = torch.ones(1, 1, 1)
    >>> clipped_value_losses(3 * one, 3 * one, one, 0 * one, clip=1.0)  # |1 - 3|: moved too fast
    tensor([2.])
    """
    held = old + (values - old).clamp(-clip, clip)
    errors = torch.maximum((values - targets).square(), (held - targets).square())
    return _mean(errors, mask).squeeze((-2, -1)) / 2


def normalized(advantages: Tensor, mask: Tensor) -> Tensor:
    """Advantages less their mean, over their standard deviation, for each agent and seed on its own.

    Both are taken over all steps that were played, and are differentiable: what scales or shifts the rewards
    of all steps alike, scales and shifts nothing here. Where all advantages are equal they become 0.

    Args:
        advantages: [..., agent, time, episode].
        mask: 1 while the episode runs, [..., 1, time, episode].

    Returns:
        the same shape, 0 after the end; pure numbers.

    >>> normalized(torch.tensor([[[1.0, 5.0]]]), torch.ones(1, 1, 2))
    tensor([[[-1.,  1.]]])
    """
    apart = advantages - _mean(advantages, mask)
    return apart * (_mean(apart.square(), mask) + 1e-8).rsqrt() * mask


def _mean(steps: Tensor, mask: Tensor) -> Tensor:
    """Over the steps that were played: [..., agent, time, episode] -> [..., agent, 1, 1]."""
    return (steps * mask).sum((-2, -1), keepdim=True) / mask.sum((-2, -1), keepdim=True)
