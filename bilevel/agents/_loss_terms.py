"""Terms of an inner loss, and their weighted sum."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class LossTerms(NamedTuple):
    """Terms of each agent's inner loss, [seed, agent] each.

    >>> import games
    >>> from bilevel.agents import ExactPlay, Tabular
    >>> from bilevel.sharing import SharedBy
    >>> play = ExactPlay(games.make("prisoners-dilemma"), Tabular(num_observations=1, num_actions=2))
    >>> theta = torch.zeros(1, 2, 1)  # seed, agent, parameter: cooperate half of the time
    >>> terms: LossTerms = play.terms(theta, theta, SharedBy(torch.eye(2)[None]), ())
    >>> terms.policy, terms.value, terms.entropy
    (tensor([[1.5000, 1.5000]]), None, tensor([[0.6931, 0.6931]]))
    """

    policy: Tensor
    """Minus the surrogate of the shared return, in reward units."""
    value: Tensor | None
    """Half the critic's mean squared error, in squared reward units; None: there is no critic."""
    entropy: Tensor | None
    """Entropy of the policy, in nats, to be maximized: summed over an episode's steps, or, where values are
    exact, the mean over observations; None: its weight is 0."""


class TermWeights(NamedTuple):
    """Weights of the terms: numbers, or tensors that broadcast to [seed, agent] and may be learned.

    >>> from bilevel.agents import LossTerms, weighted
    >>> terms = LossTerms(policy=torch.tensor([[-3.0]]), value=torch.tensor([[4.0]]), entropy=None)
    >>> weighted(terms, TermWeights(value=0.25))
    tensor([[-2.]])
    """

    policy: Tensor | float = 1.0
    """Weight of the policy term."""
    value: Tensor | float = 0.5
    """Weight of the critic's term."""
    entropy: Tensor | float = 0.0
    """Entropy bonus, in reward units per nat."""


def weighted(terms: LossTerms, weights: TermWeights) -> Tensor:
    """Weighted sum of loss terms: policy weight x policy + value weight x value - entropy weight x entropy.

    Args:
        terms: terms, [seed, agent] each; None counts as 0.
        weights: numbers, or tensors that broadcast to [seed, agent].

    Returns:
        Each agent's loss, [seed, agent], in reward units.

    >>> from bilevel.agents import LossTerms, TermWeights
    >>> one = torch.ones(1, 2)
    >>> weighted(LossTerms(policy=-3 * one, value=4 * one, entropy=one), TermWeights(1.0, 0.5, 0.1))
    tensor([[-1.1000, -1.1000]])
    """
    scaled = isinstance(weights.policy, Tensor) or weights.policy != 1
    total = weights.policy * terms.policy if scaled else terms.policy
    if terms.value is not None:
        total = total + weights.value * terms.value
    return total if terms.entropy is None else total - weights.entropy * terms.entropy


def value_losses(values: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Half the mean squared error of values [..., agent, time, episode] over steps played: [..., agent]."""
    return _mean((values - targets).square(), mask).squeeze((-2, -1)) / 2


def clipped_value_losses(values: Tensor, targets: Tensor, mask: Tensor, old: Tensor, clip: float) -> Tensor:
    """`value_losses` with clipping: the greater of the errors of the value and of the clipped value.

    Source: released code of Schulman et al., PPO, arXiv 1707.06347 (it is not in the paper).
    """
    clipped = old + (values - old).clamp(-clip, clip)
    errors = torch.maximum((values - targets).square(), (clipped - targets).square())
    return _mean(errors, mask).squeeze((-2, -1)) / 2


def centered_by_step(advantages: Tensor, mask: Tensor) -> Tensor:
    """Subtract the mean over the episodes that still run at a step: [..., agent, time, episode].

    A baseline that depends on the time, in addition to a critic. It does not bias the policy gradient, but
    scales the gradient of n running episodes by (n - 1) / n.
    """
    mean = (advantages * mask).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)
    return (advantages - mean) * mask


def normalized(advantages: Tensor, mask: Tensor) -> Tensor:
    """Standardize advantages, differentiably, over the steps played of each agent and seed.

    Where all advantages are equal they become 0.
    """
    centered = advantages - _mean(advantages, mask)
    return centered * (_mean(centered.square(), mask) + 1e-8).rsqrt() * mask


def deviation(advantages: Tensor, mask: Tensor) -> Tensor:
    """Standard deviation of advantages, differentiable, over the steps played of each agent and seed.

    Where all advantages are equal it is 1e-4; the `normalized` ones are divided by it.

    Args:
        advantages: [..., agent, time, episode].
        mask: 1 for steps played, broadcasts to the advantages.

    Returns:
        [..., agent].
    """
    count = mask.sum((-2, -1), keepdim=True).clamp(min=1)
    centered = advantages - (advantages * mask).sum((-2, -1), keepdim=True) / count
    variance = (centered.square() * mask).sum((-2, -1), keepdim=True) / count
    return (variance + 1e-8).sqrt().squeeze((-2, -1))


def _mean(steps: Tensor, mask: Tensor) -> Tensor:
    """Mean over the steps played: [..., agent, time, episode] -> [..., agent, 1, 1]."""
    return (steps * mask).sum((-2, -1), keepdim=True) / mask.sum((-2, -1), keepdim=True)
