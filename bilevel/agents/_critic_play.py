"""Sampled play with critics: actor-critic with generalized advantages, and PPO."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bilevel.agents._alignment import Alignment
from bilevel.agents._loss_terms import (
    LossTerms,
    TermWeights,
    centered_by_step,
    clipped_value_losses,
    deviation,
    normalized,
    value_losses,
)
from bilevel.agents._play import SampledPlay
from bilevel.agents._policy_forms import PolicyWithCritic
from bilevel.agents._surrogates import (
    discounts,
    generalized_advantages,
    leave_one_out,
    magic_box,
    returns_to_go,
    weighted_advantages,
)
from bilevel.core import Range
from bilevel.sharing import Trajectory, Transfer
from games.core import require


class RolloutBatch(NamedTuple):
    """Data of the gradient steps on one sample, with the critics' values before these steps."""

    episodes: Trajectory
    rewards: Tensor
    """Shared rewards, [seed, agent, time, episode], 0 after the end; differentiable in phi. The last one of a
    truncated episode includes the discounted value of the following observation."""
    values: Tensor
    """Values of each critic, like the rewards; differentiable with respect to theta before these steps."""


@dataclass(frozen=True)
class CriticPlay(SampledPlay):
    """Actor-critic: the chosen surrogate with a critic's values, and the critic's own loss.

    The critic is a value function of its agent's observations, [seed, agent, policy | critic] in one theta,
    and learns on the shared rewards. One loss updates both:

        policy weight x -surrogate(A) + value weight x 1/2 mean (V(own) - (A + V))^2 - bonus x entropy,

    with A the generalized advantages of the shared rewards and of V, the critics' values BEFORE the step.

    * In the step A and V are constants. The policy's parameters are updated by the surrogate and the entropy
      alone, the critic's by the value loss alone, towards fixed targets A + V, TD(lambda) returns.
    * In the hypergradient through steps, rewards are differentiable in phi, and V in the parameters after
      earlier steps: it includes the effect of phi on critics, and of these on policies. The surrogate
      determines if it includes that episodes depend on policies, as without a critic.
    * The extrinsic `values` of the outer loss use no critic, as critics learn on shared rewards.

    The last reward of a truncated episode (`Trajectory.cut`) includes the critic's discounted value of the
    following observation; after termination there is none.

    Where observations do not show the time and episodes have a fixed length, a critic can only learn a mean
    over times; a gae_lambda near 1 relies on it least. A recurrent critic's loss unrolls the whole horizon.

    Raises:
        ValueError: the policy has no critic, or a number is out of range.

    Source:
        Schulman et al., Generalized advantage estimation, arXiv 1506.02438; Mnih et al., A3C, arXiv
        1602.01783, for the one loss.

    >>> import games
    >>> from bilevel.agents import PolicyWithCritic, Reinforce, Tabular
    >>> from bilevel.sharing import SharedBy
    >>> policy = PolicyWithCritic.of(Tabular(num_observations=1, num_actions=2))
    >>> game, surrogate = games.make("prisoners-dilemma"), Reinforce(gae_lambda=0.9)
    >>> play = CriticPlay(game, policy, surrogate, 3, gae_lambda=0.9)
    >>> theta = torch.tensor([[[-50.0, 0.0]]]).expand(1, 2, 2)  # always defect; values of 0
    >>> keep, generator = SharedBy(torch.eye(2)[None]), torch.Generator().manual_seed(0)
    >>> (data,) = play.batches(theta, keep, play.sample(theta, keep, generator))
    >>> play.terms(theta, theta, keep, data).value  # rewards of -2 against 0
    tensor([[2., 2.]])
    """

    policy: PolicyWithCritic
    gae_lambda: float = 1.0
    """Lambda of the critic's targets, from 0 to 1; a surrogate that has advantages has its own."""
    weights: TermWeights = field(default_factory=TermWeights)
    """Weights of the policy and value terms; the entropy bonus is an argument of `losses`."""
    alignment: Alignment | None = None
    """Alignment of the policies' advantages with the other agents'; the surrogate is then that of `Reinforce`
    with the aligned advantages. Critics' targets are not aligned. None: off."""

    def __post_init__(self) -> None:
        require(isinstance(self.policy, PolicyWithCritic), "Actor-critic and PPO need a critic.")
        Range(min=0, max=1).require("gae_lambda", self.gae_lambda)
        for name in ("policy", "value"):
            weight = getattr(self.weights, name)
            if not isinstance(weight, Tensor):  # learned weights are not checked
                Range(above=0).require(f"{name}_weight", weight)

    @property
    def critic_discount(self) -> float:
        """Discount of the critic's values and of advantages, per step: the game's."""
        return self.game.discount

    def batches(self, theta: Tensor, transfer: Transfer, data: Trajectory) -> Sequence[Any]:
        """Data of each gradient step on one sample, for `losses`; here one step, on all episodes.

        Args:
            theta: the policies and critics before these steps.
            transfer: turns individual rewards into learners' rewards.
            data: from `sample`.
        """
        values = self.policy.values(theta, data.observations) * data.acting
        rewards = transfer.rewards(data)
        if data.cut is not None and data.following is not None:
            observed = torch.cat((data.observations[:, :, :1], data.following), 2)  # one step more
            bootstrap = self.policy.values(theta, observed)[:, :, 1:]
            rewards = rewards + self.critic_discount * bootstrap * data.cut * data.acting
        return (RolloutBatch(data, rewards, values),)

    def terms(
        self, own: Tensor, others: Tensor, transfer: Transfer, data: RolloutBatch, *, regularized: bool = True
    ) -> LossTerms:
        episodes, rewards, values = data
        logits = self._logits(own, episodes)
        own_log, joint = self._log_probabilities(logits, others, episodes)
        if self.alignment is None:
            returns = self.surrogate(own_log, joint, rewards, episodes.acting, self.game.discount, values)
        else:
            aligned = self._aligned(self._advantages(data))
            returns = weighted_advantages(own_log, aligned, self.game.discount)
        value = value_losses(
            self.policy.values(own, episodes.observations), self._targets(data), episodes.acting
        )
        if not regularized:
            return LossTerms(-returns, value, None)
        nats = self._entropy(logits, episodes)
        if self.scaled_entropy:
            nats = nats * deviation(self._advantages(data), episodes.acting)
        return LossTerms(-returns, value, nats)

    def _advantages(self, data: RolloutBatch) -> Tensor:
        return generalized_advantages(data.rewards, data.values, self.critic_discount, self.gae_lambda)

    def _aligned(self, advantages: Tensor) -> Tensor:
        if self.alignment is None:
            return advantages
        return self.alignment(advantages, self.critic_discount, self.gae_lambda)

    def _targets(self, data: RolloutBatch) -> Tensor:
        """TD(lambda) returns."""
        return self._advantages(data) + data.values


@dataclass(frozen=True)
class PPOPlay(CriticPlay):
    """Proximal policy optimization: several clipped gradient steps on each sample.

    The policy's term is minus the mean over episodes of

        sum_t discount^t min(ratio_t A_t, clamp(ratio_t, 1 - clip_range, 1 + clip_range) A_t),

    ratio_t = pi(a_t) / pi_old(a_t) of the agent itself, the others fixed. (Steps are weighted by
    discount^t, as in every surrogate here, so that one epoch without normalization is the first-order step
    of actor-critic; released code often omits that factor.) One inner step is `epochs` passes over the
    sample, each in `minibatches` gradient steps; rewards and critics' values are those before the first.

    The hypergradient goes through all of these gradient steps, and through A to the rewards (in phi) and the
    critics before them. pi_old(a_t) are recorded numbers, constants even there: the step is differentiated
    as a function of theta on a fixed sample. At pi = pi_old the step's derivative then has those terms of
    DiCE that belong to one action of one agent, and no cross terms between times or agents: it ignores that
    later states, and the other agents' actions, depend on policies. Where a ratio is clipped that action has
    no gradient, neither in the step nor in the hypergradient.

    Raises:
        ValueError: the policy has no critic, or a number is out of range; in a step, there are more
            minibatches than episodes.

    Source:
        Schulman et al., Proximal policy optimization algorithms, arXiv 1707.06347.

    >>> import games
    >>> from bilevel.agents import PolicyWithCritic, Reinforce, Tabular
    >>> from bilevel.sharing import SharedBy
    >>> policy = PolicyWithCritic.of(Tabular(num_observations=1, num_actions=2))
    >>> play = PPOPlay(games.make("prisoners-dilemma"), policy, Reinforce(), 6, epochs=2, minibatches=3)
    >>> theta, keep = torch.zeros(1, 2, 2), SharedBy(torch.eye(2)[None])
    >>> episodes = play.sample(theta, keep, torch.Generator().manual_seed(0))
    >>> len(play.batches(theta, keep, episodes))  # gradient steps of one inner step
    6
    """

    clip_range: float = 0.2
    """Clipping range of the ratio around 1, above 0."""
    epochs: int = 4
    """Passes over a sample, 1 or more."""
    minibatches: int = 1
    """Gradient steps of a pass, on equal parts of the episodes, which are the same in every pass."""
    normalize: bool = False
    """Normalize advantages, for each agent and seed over a minibatch."""
    center: bool = False
    """Subtract from advantages their mean over a minibatch's episodes at the same step."""
    discount: float | None = None
    """Discount of the critic's values and of advantages, also those of `values`, from 0 to 1; None: the
    game's. Steps keep the game's weight discount^t, and returns the game's discount."""
    value_clip: float | None = None
    """Clipping range of values around those before the steps, above 0, in reward units; None: off."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            not self.scaled_entropy,
            "PPO has normalized advantages in place of a scaled entropy: choose normalize.",
        )
        Range(above=0).require("clip_range", self.clip_range)
        if self.discount is not None:
            Range(min=0, max=1).require("discount", self.discount)
        if self.value_clip is not None:
            Range(above=0).require("value_clip", self.value_clip)
        for name in ("epochs", "minibatches"):
            value = getattr(self, name)
            require(isinstance(value, int) and value >= 1, f"{name} is a whole number from 1, not {value}.")

    @property
    def critic_discount(self) -> float:
        return self.game.discount if self.discount is None else self.discount

    def sample(self, theta: Tensor, transfer: Transfer, generator: torch.Generator) -> Trajectory:
        data = super().sample(theta, transfer, generator)
        with torch.no_grad():
            log_probabilities = self._chosen(self._logits(theta, data), data)
        return data._replace(log_probabilities=log_probabilities)

    def values(self, theta: Tensor, data: Trajectory) -> Tensor:
        """Each agent's discounted return, [seed, agent]; its derivative is unbiased without `discount`.

        With `discount` the value is the same, and its first derivative attributes to a joint action only the
        rewards that follow it, less the other episodes' and discounted: less variance, for a bias.
        """
        if self.discount is None:
            return super().values(theta, data)
        log = self._chosen(self._logits(theta, data), data)
        joint = log.sum(-3, keepdim=True)
        returns = returns_to_go(data.rewards, self.discount)
        advantages = (returns - leave_one_out(returns, data.acting)) * data.acting
        weights = discounts(data.rewards.shape[-2], self.game.discount, data.rewards).unsqueeze(-1)
        steps = data.rewards + (magic_box(joint) - 1) * advantages
        return (weights * steps).sum(-2).mean(-1) / self.game.effective_horizon

    def batches(self, theta: Tensor, transfer: Transfer, data: Trajectory) -> Sequence[RolloutBatch]:
        """Every minibatch of every epoch, evaluated by the critics before the first."""
        ((episodes, rewards, values),) = super().batches(theta, transfer, data)
        count = rewards.shape[-1]
        check_minibatches(self.minibatches, count)
        bounds = [count * index // self.minibatches for index in range(self.minibatches + 1)]
        slices = [slice(*ends) for ends in itertools.pairwise(bounds)]
        return [
            RolloutBatch(episodes.select_episodes(part), rewards[..., part], values[..., part])
            for part in slices
        ] * self.epochs

    def terms(
        self, own: Tensor, others: Tensor, transfer: Transfer, data: RolloutBatch, *, regularized: bool = True
    ) -> LossTerms:
        episodes, rewards, old = data
        acting, drawn = episodes.acting, episodes.log_probabilities
        require(
            drawn is not None,
            "PPO needs the log-probabilities of the actions when they were drawn: sample them by PPOPlay.",
        )
        assert drawn is not None
        advantages, targets = self._advantages(data), self._targets(data)
        advantages = centered_by_step(advantages, acting) if self.center else advantages
        advantages = normalized(advantages, acting) if self.normalize else advantages
        advantages = self._aligned(advantages)
        logits = self._logits(own, episodes)
        ratio = (self._chosen(logits, episodes) - drawn).exp()
        clipped = ratio.clamp(1 - self.clip_range, 1 + self.clip_range)
        gains = torch.minimum(ratio * advantages, clipped * advantages)
        steps = discounts(rewards.shape[-2], self.game.discount, rewards).unsqueeze(-1)
        values = self.policy.values(own, episodes.observations)
        if self.value_clip is None:
            value = value_losses(values, targets, acting)
        else:
            value = clipped_value_losses(values, targets, acting, old, self.value_clip)
        nats = self._entropy(logits, episodes) if regularized else None
        return LossTerms(-(steps * gains).sum(-2).mean(-1), value, nats)


def check_minibatches(minibatches: int, episodes: int) -> None:
    """Raise ValueError unless there are as many episodes as minibatches.

    Args:
        minibatches: parts of a sample in each epoch.
        episodes: episodes of the sample, per seed.

    >>> check_minibatches(4, episodes=3)
    Traceback (most recent call last):
    ValueError: 3 episodes cannot be split into 4 minibatches: play more of them.
    """
    require(
        minibatches <= episodes,
        f"{episodes} episodes cannot be split into {minibatches} minibatches: play more of them.",
    )
