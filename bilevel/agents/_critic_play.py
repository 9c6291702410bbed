"""Sampled play with critics: actor-critic with generalized advantages, and PPO, as losses of inner steps."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bilevel.agents._loss_terms import (
    LossTerms,
    TermWeights,
    clipped_value_losses,
    normalized,
    value_losses,
    weighted,
)
from bilevel.agents._play import SampledPlay
from bilevel.agents._policy_with_critic import PolicyWithCritic
from bilevel.agents._returns import discounts, generalized_advantages
from bilevel.agents._rollout import Trajectory
from bilevel.core import Range
from bilevel.sharing import Transfer
from games.core import require

RANGES: Mapping[str, Range] = {
    "trace": Range(least=0, most=1),
    "policy_weight": Range(above=0),
    "value_weight": Range(above=0),
    "clip_range": Range(above=0),
    "value_clip": Range(above=0),
}
"""Numbers of these learners -> where they lie."""


def check_numbers(settings: Mapping[str, Any]) -> None:
    """Raise ValueError unless numbers of these learners lie where they may.

    Args:
        settings: name in `RANGES`, or epochs or minibatches -> its value; a value_clip of None is not used,
            and tensors, which may be learned, are not looked at.

    >>> check_numbers({"trace": 1.5})
    Traceback (most recent call last):
    ValueError: trace must be a finite number from 0 to 1, not 1.5.
    """
    for name, value in settings.items():
        if name in RANGES:
            unused = name == "value_clip" and value is None
            if not unused and not isinstance(value, Tensor):
                RANGES[name].require(name, value)
        else:
            require(isinstance(value, int) and value >= 1, f"{name} is a whole number from 1, not {value}.")


class RolloutBatch(NamedTuple):
    """Episodes as the critics see them before they move: data of the gradient steps."""

    episodes: Trajectory
    rewards: Tensor
    """Those which each agent sees, [seed, agent, time, episode], 0 after the end; differentiable in phi. The
    last of an episode that was cut off has the discounted value of what would have come."""
    values: Tensor
    """Each critic's, like the rewards; differentiable in theta before these steps."""


@dataclass(frozen=True)
class CriticPlay(SampledPlay):
    """Actor-critic: the user's surrogate with a critic's values, and what the critic learns by.

    The critic is a value function of what its agent sees, [seed, agent, policy | critic] in one theta, and
    learns on the rewards that the agent sees, after the transfer. One loss moves both:

        policy's weight x -surrogate(A) + value's weight x 1/2 mean (V(own) - (A + V))^2 - bonus x entropy,

    with A the generalized advantages of the rewards seen and of V, the critics' values BEFORE the step. What
    depends on what:

    * The step: A and V are constants. The policy's parameters move by the surrogate and the entropy alone,
      the critic's by the value loss alone, whose targets A + V, TD(trace) returns, stand still.
    * The meta-gradient through steps: rewards are differentiable in phi, and V in the parameters that earlier
      steps led to: what phi made critics learn, and what that makes policies learn, is all there. Whether it
      sees that episodes depend on policies is the surrogate's matter, as without a critic.
    * The extrinsic `values` above do not use critics, who know other rewards.

    Where an episode was cut off that would have gone on (`Trajectory.cut`), its last reward has the critic's
    value of what is seen then, discounted, in addition; where it ended by the rules nothing comes.

    Where an observation does not show the time and episodes end after some steps, a critic can only learn a
    mean over times; a trace near 1 leans on it least. A recurrent critic's loss unrolls the whole horizon.

    Raises:
        ValueError: the policy has no critic, or a number is out of range.

    Source:
        Schulman et al., Generalized advantage estimation, arXiv 1506.02438; Mnih et al., A3C, arXiv
        1602.01783, for the one loss.

    >>> import games
    >>> from bilevel.agents import Tabular
    >>> from bilevel.agents._surrogates import Reinforce
    >>> from bilevel.sharing._transfer import SharedBy
    >>> policy = PolicyWithCritic.of(Tabular(num_observations=1, num_actions=2))
    >>> play = CriticPlay(games.make("prisoners-dilemma"), policy, Reinforce(trace=0.9), 3, trace=0.9)
    >>> theta = torch.tensor([[[-50.0, 0.0]]]).expand(1, 2, 2)  # always defect; values of 0
    >>> keep = SharedBy(torch.eye(2)[None])
    >>> episodes = play.sample(theta, keep, torch.Generator().manual_seed(0))
    >>> (data,) = play.parts(theta, keep, episodes)
    >>> play.terms(theta, theta, keep, data).value  # rewards of -2 against 0
    tensor([[2., 2.]])
    """

    policy: PolicyWithCritic
    trace: float = 1.0
    """Lambda of the critic's targets, from 0 to 1; a surrogate that has advantages has its own."""
    weights: TermWeights = field(default_factory=TermWeights)
    """Of the policy's and the value's term; the entropy's comes with the data."""

    def __post_init__(self) -> None:
        require(isinstance(self.policy, PolicyWithCritic), "Actor-critic and PPO need a critic.")
        weights = {"policy_weight": self.weights.policy, "value_weight": self.weights.value}
        check_numbers({"trace": self.trace, **weights})

    def parts(self, theta: Tensor, transfer: Transfer, data: Trajectory) -> Sequence[Any]:
        """Judge one sample, for each of the gradient steps that are taken on it; `losses` takes each.

        Here one gradient step, on all episodes, batch by the critics as they are before it.

        Args:
            theta: the policies before these steps.
            transfer: how own rewards become those which are seen.
            data: from `sample`.
        """
        values = self.policy.values(theta, data.observations) * data.acting
        rewards = transfer.rewards(data)
        if data.cut is not None and data.following is not None:
            seen = torch.cat((data.observations[:, :, :1], data.following), 2)  # one step more
            beyond = self.policy.values(theta, seen)[:, :, 1:]
            rewards = rewards + self.game.discount * beyond * data.cut * data.acting
        return (RolloutBatch(data, rewards, values),)

    def losses(
        self, own: Tensor, others: Tensor, transfer: Transfer, data: Any, entropy_bonus: Tensor | None
    ) -> Tensor:
        """The weighted sum of `terms`."""
        terms = self.terms(own, others, transfer, data, regularized=entropy_bonus is not None)
        return weighted(terms, self.weights._replace(entropy=0.0 if entropy_bonus is None else entropy_bonus))

    def terms(
        self, own: Tensor, others: Tensor, transfer: Transfer, data: RolloutBatch, *, regularized: bool = True
    ) -> LossTerms:
        """The policy's, the critic's and the entropy's term; see the class."""
        episodes, rewards, values = data
        logits = self._logits(own, episodes)
        own_log, joint = self._log_probabilities(logits, others, episodes)
        returns = self.surrogate(own_log, joint, rewards, episodes.acting, self.game.discount, values)
        value = value_losses(
            self.policy.values(own, episodes.observations), self._targets(data), episodes.acting
        )
        return LossTerms(-returns, value, self._entropy(logits, episodes) if regularized else None)

    def _advantages(self, data: RolloutBatch) -> Tensor:
        return generalized_advantages(data.rewards, data.values, self.game.discount, self.trace)

    def _targets(self, data: RolloutBatch) -> Tensor:
        """TD(trace) returns."""
        return self._advantages(data) + data.values


@dataclass(frozen=True)
class PPOPlay(CriticPlay):
    """Proximal policy optimization: several gradient steps on a sample, held near the policies that drew it.

    The policy's term is minus the mean over episodes of

        sum_t discount^t min(ratio_t A_t, clamp(ratio_t, 1 - clip_range, 1 + clip_range) A_t),

    ratio_t = pi(a_t) / pi_old(a_t) of the agent itself, the others as they were. (It counts steps by
    discount^t, as every surrogate here does, so that one epoch without normalization is the first-order step
    of actor-critic; released code often leaves that factor out.) One inner step is `epochs` passes over the
    sample, each in `minibatches` gradient steps; rewards and critics' values are those before the first.

    What the meta-gradient sees: all of these gradient steps, and through A the rewards (in phi) and the
    critics before them. pi_old(a_t) are numbers that came with the sample, constants even there: the step is
    differentiated as a function of theta on a sample that stays as it was drawn. At pi = pi_old the step's
    derivative then has those terms of DiCE that belong to one action of one agent, and none of those between
    times or between agents: that later states, and what others do, depend on policies, it does not see.
    Where a ratio is clipped nothing goes through that action, neither in the step nor in the meta-gradient.

    Raises:
        ValueError: the policy has no critic, or a number is out of range; in a step, there are more
            minibatches than episodes.

    Source:
        Schulman et al., Proximal policy optimization algorithms, arXiv 1707.06347.
    """

    clip_range: float = 0.2
    """How far from 1 a ratio may go and still gain, above 0."""
    epochs: int = 4
    """Passes over a sample, 1 or more."""
    minibatches: int = 1
    """Gradient steps of a pass, each on as many whole episodes, always the same ones together."""
    normalize: bool = False
    """Whether advantages are normalized, for each agent and seed over a minibatch."""
    value_clip: float | None = None
    """How far values may go from those before the steps and still count, above 0, in reward units; None: as
    far as they like."""

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ("clip_range", "epochs", "minibatches", "value_clip")
        check_numbers({name: getattr(self, name) for name in names})

    def sample(self, theta: Tensor, transfer: Transfer, generator: torch.Generator) -> Trajectory:
        """Play the episodes, and write down how likely each action was."""
        data = super().sample(theta, transfer, generator)
        with torch.no_grad():
            log_probabilities = self._chosen(self._logits(theta, data), data)
        return data._replace(log_probabilities=log_probabilities)

    def parts(self, theta: Tensor, transfer: Transfer, data: Trajectory) -> Sequence[Any]:
        """Every minibatch of every epoch, batch by the critics before the first."""
        (batch,) = super().parts(theta, transfer, data)
        count = data.rewards.shape[-1]
        check_minibatches(self.minibatches, count)
        bounds = [count * place // self.minibatches for place in range(self.minibatches + 1)]
        return [_episodes(batch, *ends) for ends in itertools.pairwise(bounds)] * self.epochs

    def terms(
        self, own: Tensor, others: Tensor, transfer: Transfer, data: RolloutBatch, *, regularized: bool = True
    ) -> LossTerms:
        """The policy's, the critic's and the entropy's term; see the class."""
        episodes, rewards, old = data
        acting, drawn = episodes.acting, episodes.log_probabilities
        require(drawn is not None, "PPO needs to know how likely actions were when they were drawn.")
        assert drawn is not None
        advantages, targets = self._advantages(data), self._targets(data)
        advantages = normalized(advantages, acting) if self.normalize else advantages
        logits = self._logits(own, episodes)
        ratio = (self._chosen(logits, episodes) - drawn).exp()
        held = ratio.clamp(1 - self.clip_range, 1 + self.clip_range)
        gains = torch.minimum(ratio * advantages, held * advantages)
        steps = discounts(rewards.shape[-2], self.game.discount, rewards).unsqueeze(-1)
        values = self.policy.values(own, episodes.observations)
        if self.value_clip is None:
            value = value_losses(values, targets, acting)
        else:
            value = clipped_value_losses(values, targets, acting, old, self.value_clip)
        nats = self._entropy(logits, episodes) if regularized else None
        return LossTerms(-(steps * gains).sum(-2).mean(-1), value, nats)


def check_minibatches(minibatches: int, episodes: int) -> None:
    """Raise ValueError unless so many episodes can be cut into minibatches.

    >>> check_minibatches(4, episodes=3)
    Traceback (most recent call last):
    ValueError: 3 episodes cannot be cut into 4 minibatches: play more of them.
    """
    require(
        minibatches <= episodes,
        f"{episodes} episodes cannot be cut into {minibatches} minibatches: play more of them.",
    )


def _episodes(data: RolloutBatch, first: int, end: int) -> RolloutBatch:
    """Some of the episodes: [seed, agent, time, episode, ...] of everything."""
    which = slice(first, end)
    return RolloutBatch(data.episodes.some(which), data.rewards[..., which], data.values[..., which])
