"""Exact play and sampled play: losses and values of policies in a game, behind one interface."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bilevel.agents._distributions import Distribution, allowed, distribution_of
from bilevel.agents._loss_terms import LossTerms, TermWeights, deviation, weighted
from bilevel.agents._policy import Policy
from bilevel.agents._policy_forms import Tabular
from bilevel.agents._rollout import concatenated, rollout, rollout_blocks
from bilevel.agents._surrogates import Surrogate, dice, divergence, entropy, leave_one_out, returns_to_go
from bilevel.sharing import Report, Reporting, SharedOnEdges, Trajectory, Transfer, combine_reports
from games.core import ExactGame, Game, cached_constants, constant
from games.matrix import CountedFamily
from games.networked import Aid

MAX_PROFILES = 64
"""Maximum number of agents whose exact values on a sparse graph take a policy profile for each learner, N^2
policies; values of more are computed along the edges, equal but for rounding."""


class Measured(NamedTuple):
    """Results of an evaluation, over all agents and seeds.

    >>> import games
    >>> from bilevel.agents import ExactPlay, Tabular
    >>> play = ExactPlay(games.make("prisoners-dilemma"), Tabular(num_observations=1, num_actions=2))
    >>> play.measure(torch.zeros(1, 2, 1), ())  # both cooperate half of the time
    Measured(values=tensor([[-1.5000, -1.5000]]), cooperation=tensor([[0.5000, 0.5000]]))
    """

    values: Tensor
    """Each agent's `episode_value`, [seed, agent], in the game's units."""
    cooperation: Tensor | None
    """Each agent's fraction of cooperative actions, [seed, agent]; None where the game does not define
    cooperation."""


@dataclass(frozen=True)
class Play(abc.ABC):
    """Losses and values of policies in a game. Theta is [seed, agent, parameter] everywhere.

    >>> import games
    >>> from bilevel.methods import PolicyGradient, Selfish
    >>> game = games.make("prisoners-dilemma")
    >>> exact, sampled = (Selfish(inner=PolicyGradient(exact=choice)).play(game) for choice in (True, False))
    >>> type(exact).__name__, exact.draws, type(sampled).__name__, sampled.draws
    ('ExactPlay', False, 'SampledPlay', True)
    >>> isinstance(exact, Play)
    True
    """

    game: Game
    policy: Policy
    draws: ClassVar[bool]
    """True if `sample` draws episodes; else it returns an empty tuple."""
    weights = TermWeights()

    @abc.abstractmethod
    def sample(self, theta: Tensor, transfer: Transfer, generator: torch.Generator) -> Any:
        """Draw the data of a loss under these policies."""

    def losses(
        self, own: Tensor, others: Tensor, transfer: Transfer, data: Any, entropy_bonus: Tensor | None
    ) -> Tensor:
        """Inner losses on learners' rewards, [seed, agent], of own policies and the other agents'.

        Args:
            own: the policies to differentiate; agent i's loss depends on own[i].
            others: the fixed policies; agent i's loss depends on others[j] for all j != i.
            transfer: turns individual rewards into learners' rewards.
            data: from `sample`; with a critic, one of its `batches`.
            entropy_bonus: scalar, reward units per nat; None: no bonus; the entropy is not computed.
        """
        terms = self.terms(own, others, transfer, data, regularized=entropy_bonus is not None)
        return weighted(terms, self.weights._replace(entropy=0.0 if entropy_bonus is None else entropy_bonus))

    @abc.abstractmethod
    def terms(
        self, own: Tensor, others: Tensor, transfer: Transfer, data: Any, *, regularized: bool = True
    ) -> LossTerms:
        """Terms of `losses`, with its arguments; the entropy only if `regularized`."""

    @abc.abstractmethod
    def divergence(self, reference: Tensor, theta: Tensor, data: Any) -> Tensor:
        """KL(reference || policy) of each agent's policies, mean over observations, [seed, agent], in nats.

        Args:
            reference: parameters of the reference policies, like theta.
            theta: the policies.
            data: from `sample`; its observations are constants. In exact play the mean is over all
                observations.
        """

    @abc.abstractmethod
    def values(self, theta: Tensor, data: Any) -> Tensor:
        """Each agent's extrinsic value, [seed, agent], whose derivative in theta is the policy gradient."""

    @abc.abstractmethod
    def measure(self, theta: Tensor, data: Any) -> Measured:
        """Evaluate the policies that `data` was drawn from."""

    @abc.abstractmethod
    def evaluate(
        self, theta: Tensor, transfer: Transfer, generator: torch.Generator, episodes: int
    ) -> tuple[Measured, Report]:
        """Evaluate policies on this many fresh episodes per seed, and report on the transfer."""


@dataclass(frozen=True)
class ExactPlay(Play):
    """Exact values: no sampling, no variance; the policy is a table.

    >>> import games
    >>> from bilevel.agents import Tabular
    >>> from bilevel.sharing import SharedBy
    >>> play = ExactPlay(games.make("prisoners-dilemma"), Tabular(num_observations=1, num_actions=2))
    >>> theta = torch.zeros(1, 2, 1)  # seed, agent, parameter: cooperate half of the time
    >>> play.losses(theta, theta, SharedBy(torch.eye(2)[None]), (), torch.tensor(0.0))
    tensor([[1.5000, 1.5000]])
    """

    game: ExactGame
    policy: Tabular
    draws = False

    @property
    def _many(self) -> bool:
        """True if exact values are computed along the edges of a sparse graph."""
        return self.game.num_agents > MAX_PROFILES

    def sample(self, theta: Tensor, transfer: Transfer, generator: torch.Generator) -> Any:
        return ()

    def terms(
        self, own: Tensor, others: Tensor, transfer: Transfer, data: Any, *, regularized: bool = True
    ) -> LossTerms:
        """Minus each agent's shared discounted return, and the mean entropy over observations."""
        values = None
        if isinstance(self.game, CountedFamily) and transfer.matrix is not None:
            # needs no policy profile for each learner; None where the game has no such formula
            policies = self.policy.probabilities(own), self.policy.probabilities(others)
            values = self.game.shared_values(*policies, transfer.matrix)
        elif isinstance(self.game, Aid) and isinstance(transfer, SharedOnEdges) and self._many:
            policies = self.policy.probabilities(own), self.policy.probabilities(others)
            values = self.game.shared_values(*policies, transfer.shares)
        if values is None:
            values = self.learner_values(
                self.policy.probabilities(profiles_of_learners(own, others)), transfer
            )
        nats = entropy(self.policy.table(own)).mean(-1) if regularized else None
        return LossTerms(values * -self.game.effective_horizon, None, nats)

    def learner_values(self, policies: Tensor, transfer: Transfer) -> Tensor:
        """Each learner's value on its transferred rewards, [..., learner], in the game's units.

        Args:
            policies: as each learner differentiates them, [..., learner, agent, observation, action].
            transfer: turns individual rewards into learners' rewards.
        """
        assert transfer.matrix is not None  # checked when a learner is built
        return (self.game.values(policies) * transfer.matrix.mT).sum(-1)  # [learner, giver], [giver, learner]

    def divergence(self, reference: Tensor, theta: Tensor, data: Any) -> Tensor:
        return divergence(self.policy.table(reference), self.policy.table(theta)).mean(-1)

    def values(self, theta: Tensor, data: Any) -> Tensor:
        return self.game.values(self.policy.probabilities(theta))

    def measure(self, theta: Tensor, data: Any) -> Measured:
        return Measured(*self.game.values_and_cooperation(self.policy.probabilities(theta)))

    def evaluate(
        self, theta: Tensor, transfer: Transfer, generator: torch.Generator, episodes: int
    ) -> tuple[Measured, Report]:
        """Exact values and cooperation; `generator` and `episodes` are not used."""
        return self.measure(theta, ()), transfer.report(None)


@dataclass(frozen=True)
class SampledPlay(Play):
    """Sampled episodes and surrogate losses, for any game and any policy.

    >>> import games
    >>> from bilevel.agents import SURROGATES, Tabular
    >>> from bilevel.sharing import SharedBy
    >>> game, policy = games.make("prisoners-dilemma"), Tabular(num_observations=1, num_actions=2)
    >>> play = SampledPlay(game, policy, SURROGATES["dice"], episodes=3)
    >>> theta, keep = torch.full((1, 2, 1), -50.0), SharedBy(torch.eye(2)[None])  # always defect
    >>> episodes = play.sample(theta, keep, torch.Generator().manual_seed(0))
    >>> play.values(theta, episodes)
    tensor([[-2., -2.]])
    """

    surrogate: Surrogate
    """Surrogate loss that estimates the policies' gradient."""
    episodes: int
    """Episodes per seed in each sample."""
    scaled_entropy: bool = False
    """Multiply each agent's entropy by the standard deviation of its advantages, so that the bonus is in
    units of it; constant in the step's own policies."""
    draws = True

    @property
    def distribution(self) -> Distribution:
        """The distribution of actions by the policy's outputs."""
        return distribution_of(self.game)

    def sample(self, theta: Tensor, transfer: Transfer, generator: torch.Generator) -> Trajectory:
        return rollout(self.game, self.policy, theta, transfer, self.episodes, generator)

    def terms(
        self, own: Tensor, others: Tensor, transfer: Transfer, data: Any, *, regularized: bool = True
    ) -> LossTerms:
        """Minus the surrogate of the shared discounted return, and the entropy per episode.

        The entropy's derivative ignores that observations depend on the policies. A scaled entropy is in nats
        times reward units.
        """
        logits = self._logits(own, data)
        own_log, joint = self._log_probabilities(logits, others, data)
        rewards = transfer.rewards(data)
        returns = self.surrogate(own_log, joint, rewards, data.acting, self.game.discount)
        if not regularized:
            return LossTerms(-returns, None, None)
        nats = self._entropy(logits, data)
        if self.scaled_entropy:
            to_go = returns_to_go(rewards, self.game.discount)
            nats = nats * deviation(to_go - leave_one_out(to_go, data.acting), data.acting)
        return LossTerms(-returns, None, nats)

    def divergence(self, reference: Tensor, theta: Tensor, data: Any) -> Tensor:
        target = self._logits(reference, data).detach()
        nats = self.distribution.divergence(target, self._logits(theta, data)) * data.acting
        mean: Tensor = nats.sum((-2, -1)) / data.acting.sum((-2, -1)).clamp(min=1)
        return mean

    def values(self, theta: Tensor, data: Any) -> Tensor:
        """DiCE estimates of the discounted return, unbiased in value and in derivatives by all agents.

        In the units of `episode_value` (see `Game.effective_horizon`), which it equals, on the sample, where
        the game does not discount or discounts in its `episode_value`, too.
        """
        log = self._chosen(self._logits(theta, data), data)
        joint = log.sum(-3, keepdim=True)
        return dice(log, joint, data.rewards, data.acting, self.game.discount) / self.game.effective_horizon

    def measure(self, theta: Tensor, data: Any) -> Measured:
        return measure_episodes(self.game, data)

    def evaluate(
        self, theta: Tensor, transfer: Transfer, generator: torch.Generator, episodes: int
    ) -> tuple[Measured, Report]:
        """Evaluate in blocks of time steps, one in memory at a time.

        A block has as many observations as a training sample, or one step, of these seeds.
        """
        reporting = transfer.reporting
        steps = block_length(self.game.horizon, self.episodes, episodes, reporting)
        blocks = rollout_blocks(self.game, self.policy, theta, transfer, episodes, generator, steps)
        return measure_blocks(self.game, blocks, transfer.report, reporting)

    def _log_probabilities(self, logits: Tensor, others: Tensor, data: Trajectory) -> tuple[Tensor, Tensor]:
        """Log-probabilities of each agent's actions, and of joint actions, if the surrogate uses these."""
        own = self._chosen(logits, data)
        if not getattr(self.surrogate, "uses_joint", True):
            return own, own
        fixed = self._chosen(self._logits(others, data), data)
        return own, own + fixed.sum(-3, keepdim=True) - fixed

    def _entropy(self, logits: Tensor, data: Trajectory) -> Tensor:
        """Entropy, summed over an episode's steps, mean over episodes: [seed, agent], in nats."""
        whole: Tensor = (self.distribution.entropy(logits) * data.acting).sum(-2).mean(-1)
        return whole

    def _chosen(self, logits: Tensor, data: Trajectory) -> Tensor:
        """Log-probability of each agent's action, 0 where masked: [seed, agent, time, episode]."""
        return self.distribution.log_probability(logits, data.actions) * data.acting

    def _logits(self, theta: Tensor, data: Trajectory) -> Tensor:
        """Outputs for every observation, illegal actions masked: [seed, agent, time, episode, output]."""
        return allowed(self.policy.unroll(theta, data.observations), data.legal)


def seed_groups(seeds: int, training: int, episodes: int, horizon: int) -> list[slice]:
    """Group seeds for evaluation, so that a time step has at most a training sample's observations.

    Args:
        seeds: number of seeds.
        training: episodes per seed of a training sample.
        episodes: episodes per seed of the evaluation.
        horizon: time steps of an episode.

    Returns:
        Slices of all seeds, in order, whose lengths differ by 1 at most; one seed each, if a step of one seed
        alone has more.

    >>> seed_groups(32, training=8, episodes=1024, horizon=50)
    [slice(0, 11, None), slice(11, 22, None), slice(22, 32, None)]
    """
    largest = max(1, min(seeds, seeds * training * horizon // episodes))
    groups = np.array_split(np.arange(seeds), -(-seeds // largest))
    return [slice(int(group[0]), int(group[-1]) + 1) for group in groups]


def block_length(horizon: int, training: int, episodes: int, reporting: Reporting | None) -> int:
    """Length of an evaluation block in time steps: at most a training sample's observations, if possible.

    Args:
        horizon: time steps of an episode.
        training: episodes per seed of a training sample.
        episodes: episodes per seed of the evaluation.
        reporting: the transfer's `reporting`; a block is a multiple of its `interval`.

    >>> from bilevel.sharing import Reporting
    >>> block_length(150, 32, 1024, None), block_length(5, 64, 1024, Reporting("steps", 2))
    (4, 2)
    """
    interval = 1 if reporting is None else reporting.interval
    return min(horizon, max(interval, horizon * training // episodes // interval * interval))


def measure_blocks(
    game: Game,
    blocks: Iterable[Trajectory],
    report: Callable[[Trajectory], Report],
    reporting: Reporting | None,
) -> tuple[Measured, Report]:
    """Evaluate episodes from blocks of successive time steps, without keeping observations.

    Args:
        game: the game that was played.
        blocks: the same episodes in every block (`play_blocks`).
        report: called on each block, or, if `reporting` is None, once on whole episodes.
        reporting: the rule by which reports on blocks are combined (`Transfer.reporting`).

    Returns:
        Values and cooperation, and the report.

    >>> import games
    >>> from bilevel.agents import play_blocks
    >>> game, ones = games.make("escape-room"), torch.ones(1, 1, 4)  # one seed, four episodes
    >>> pull = lambda step: torch.zeros(1, 2, 4, dtype=torch.int64)  # both agents pull the lever
    >>> blocks = play_blocks(game, pull, lambda *step: torch.zeros(4, 2, 2), ones, torch.Generator(), 2)
    >>> measured, report = measure_blocks(game, blocks, lambda block: {}, None)
    >>> measured.values
    tensor([[-1., -1.]])
    """
    outcomes, reports, steps = [], [], []
    for block in blocks:
        outcomes.append(block.outcome)
        if reporting is not None:
            reports.append(report(block))
            steps.append(block.mask.sum((-3, -2, -1)))
        del block  # frees its memory before the next one is allocated
    whole = concatenated(outcomes)
    measured = measure_episodes(game, whole)
    return measured, report(whole) if reporting is None else combine_reports(reports, steps, reporting)


def profiles_of_learners(own: Tensor, others: Tensor) -> Tensor:
    """Policy profile of each learner: its own policy and the other agents'.

    Args:
        own: policies that learners differentiate, [..., agent, parameter].
        others: policies that stay fixed, of the same shape.

    Returns:
        Profiles, [..., learner, agent, parameter]: of own for the learner itself, of others elsewhere.

    >>> profiles_of_learners(torch.ones(2, 1), torch.zeros(2, 1)).squeeze(-1)
    tensor([[1., 0.],
            [0., 1.]])
    """
    return torch.where(_oneself(own.shape[-2], own.device), own.unsqueeze(-3), others.unsqueeze(-3))


@cached_constants
def _oneself(agents: int, device: torch.device) -> Tensor:
    """The identity, boolean [learner, agent, 1]."""
    return constant(np.eye(agents, dtype=bool)[..., None], torch.bool, device)


def measure_episodes(game: Game, data: Trajectory) -> Measured:
    """Mean values over episodes, and mean cooperation over an agent's steps, not discounted.

    Args:
        game: the game that was played.
        data: whole episodes.

    >>> import games
    >>> from bilevel.agents import play_blocks
    >>> game, mask = games.make("prisoners-dilemma"), torch.ones(1, 1, 4)  # one seed, four episodes
    >>> defect = lambda step: torch.ones_like(step.observed)
    >>> (episodes,) = play_blocks(game, defect, lambda *step: None, mask, torch.Generator(), game.horizon)
    >>> measure_episodes(game, episodes)
    Measured(values=tensor([[-2., -2.]]), cooperation=tensor([[0., 0.]]))
    """
    by_time = data.rewards.permute(2, 0, 3, 1)  # time, seed, episode, agent
    values = game.episode_value(by_time).mean(1)
    if data.cooperated is None:
        return Measured(values, None)
    steps = data.acting.sum((-2, -1))
    return Measured(values, (data.cooperated * data.acting).sum((-2, -1)) / steps)
