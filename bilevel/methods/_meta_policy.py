"""Meta-policies, networks from the policies that were played to the next policy, and their PPO loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from bilevel.nn import Perceptron


@dataclass(frozen=True)
class MetaPolicy:
    """Meta-policies of a batch of agents, as functions of flat parameters [..., agent, parameter].

    A stochastic one is a Gaussian over the parameters of the next policy, whose means and variances are
    outputs of a network, with a critic of the same layers; the parameters are [policy's | critic's]. A
    deterministic one has means alone.

    Source:
        Lu et al., Model-free opponent shaping, arXiv 2205.01447; the released code's ppo.py and ga.py.

    >>> meta = MetaPolicy(num_features=10, num_outputs=5, hidden=(8,))
    >>> theta = meta.initial(torch.Generator().manual_seed(0), 2)  # two agents
    >>> means, variances = meta.distribution(theta, torch.zeros(2, 7, 10, dtype=theta.dtype))
    >>> means.shape, bool((variances > 0).all())
    (torch.Size([2, 7, 5]), True)
    """

    num_features: int
    num_outputs: int
    hidden: tuple[int, ...] = (256,)
    stochastic: bool = True

    @property
    def actor(self) -> Perceptron:
        return Perceptron((self.num_features, *self.hidden, self.num_outputs * (1 + self.stochastic)))

    @property
    def critic(self) -> Perceptron:
        return Perceptron((self.num_features, *self.hidden, 1))

    @property
    def num_parameters(self) -> int:
        return self.actor.num_parameters + self.stochastic * self.critic.num_parameters

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """Draw initial parameters, float64 [*batch, parameter]."""
        parts = [self.actor] + [self.critic] * self.stochastic
        return torch.cat([part.initial(generator, *batch) for part in parts], -1)

    def means(self, theta: Tensor, features: Tensor) -> Tensor:
        """Means of the next policy's parameters, [..., agent, sample, output]."""
        return self._outputs(theta, features)[..., : self.num_outputs]

    def distribution(self, theta: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Means and variances of the next policy's parameters, [..., agent, sample, output] each."""
        means, raw = self._outputs(theta, features).chunk(2, -1)
        return means, functional.softplus(raw)

    def values(self, theta: Tensor, features: Tensor) -> Tensor:
        """The critic's values, [..., agent, sample]."""
        return self.critic(theta[..., self.actor.num_parameters :], features).squeeze(-1)

    def _outputs(self, theta: Tensor, features: Tensor) -> Tensor:
        return self.actor(theta[..., : self.actor.num_parameters], features)


class MetaBatch(NamedTuple):
    """Meta-steps of each agent that shapes; `sample` runs over meta-steps and meta-episodes."""

    features: Tensor
    """[seed, agent, sample, feature]."""
    actions: Tensor
    """Chosen parameters of the next policy, [seed, agent, sample, output]."""
    log_probabilities: Tensor
    """Their log-probabilities when they were drawn, [seed, agent, sample]."""
    returns: Tensor
    """Standardized discounted returns from each meta-step on, [seed, agent, sample]."""


def log_probability(actions: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """Log-density of a diagonal Gaussian, [..., output] -> [...].

    >>> log_probability(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1, 2))  # -log(2 pi)
    tensor([-1.8379])
    """
    squares = (actions - means).square() / variances
    return -0.5 * (squares + variances.log() + math.log(2 * math.pi)).sum(-1)


def standardized_returns(rewards: Tensor, discount: float) -> Tensor:
    """Discounted returns from each step on, standardized over steps and episodes.

    Args:
        rewards: [seed, agent, step, episode].
        discount: per step, 0 to 1.

    >>> returns = standardized_returns(torch.tensor([1.0, 1.0, 1.0]).reshape(1, 1, 3, 1), discount=0.5)
    >>> returns.flatten()  # 1.75, 1.5 and 1, standardized
    tensor([ 0.8728,  0.2182, -1.0911])
    """
    steps = []
    total = torch.zeros_like(rewards[..., 0, :])
    for reward in reversed(rewards.unbind(-2)):
        total = reward + discount * total
        steps.append(total)
    returns = torch.stack(steps[::-1], -2)
    centered = returns - returns.mean((-2, -1), keepdim=True)
    count = returns.shape[-2:].numel()
    deviation = (centered.square().sum((-2, -1), keepdim=True) / max(count - 1, 1)).sqrt()
    return centered / (deviation + 1e-5)


def ppo_losses(
    policy: MetaPolicy,
    theta: Tensor,
    batch: MetaBatch,
    *,
    clip_coef: float,
    ent_coef: float,
    vf_coef: float,
) -> Tensor:
    """PPO's loss of each agent's meta-policy and critic, [seed, agent].

    Args:
        policy: a stochastic meta-policy.
        theta: its parameters, [seed, agent, parameter].
        batch: meta-steps drawn from an earlier policy.
        clip_coef: clipping range of the ratio of probabilities around 1.
        ent_coef: coefficient of the entropy, per nat.
        vf_coef: coefficient of the critic's mean squared error.

    Source:
        Schulman et al., Proximal policy optimization algorithms, arXiv 1707.06347.
    """
    means, variances = policy.distribution(theta, batch.features)
    values = policy.values(theta, batch.features)
    ratio = (log_probability(batch.actions, means, variances) - batch.log_probabilities).exp()
    advantages = batch.returns - values.detach()
    gains = torch.minimum(ratio * advantages, ratio.clamp(1 - clip_coef, 1 + clip_coef) * advantages)
    entropy = 0.5 * (variances.log() + math.log(2 * math.pi * math.e)).sum(-1)
    return (vf_coef * (values - batch.returns).square() - gains - ent_coef * entropy).mean(-1)
