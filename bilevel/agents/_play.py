"""Two ways to play a game with a policy, behind one interface: exactly, or by sampled episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from bilevel.agents._distributions import Distribution, allowed, distribution_of
from bilevel.agents._loss_terms import LossTerms, TermWeights, weighted
from bilevel.agents._policy import Policy
from bilevel.agents._policy_forms import Tabular
from bilevel.agents._rollout import Trajectory, concatenated, rollout, rollout_blocks
from bilevel.agents._surrogates import Surrogate, dice, entropy
from bilevel.sharing import Report, Reporting, Transfer, combine_reports
from games.core import ExactGame, Game, cached_constants, constant
from games.matrix import CountedFamily


class Measured(NamedTuple):
    """What an evaluation reports, over all agents and seeds."""

    values: Tensor
    """Each agent's `episode_value`, [seed, agent], in the game's units."""
    cooperation: Tensor | None
    """Each agent's share of cooperating actions, [seed, agent]; None where the word has no meaning."""


class Play(Protocol):
    """How losses and values come out of a game. Theta is [seed, agent, parameter] everywhere."""

    @property
    def policy(self) -> Policy:
        """The agents' policy."""

    @property
    def draws(self) -> bool:
        """Whether `sample` draws anything; where it does not, it gives an empty tuple."""

    def sample(self, theta: Tensor, transfer: Transfer, generator: torch.Generator) -> Any:
        """Draw what a loss will need under these policies; an exact game needs nothing."""

    def losses(
        self, own: Tensor, others: Tensor, transfer: Transfer, data: Any, entropy_bonus: Tensor | None
    ) -> Tensor:
        """Each agent's inner loss on the rewards it sees, as a function of its own and the others' policies.

        Args:
            own: the policies differentiated: agent i's loss sees own[i] ...
            others: ... and others[j] for every j other than i.
            transfer: how own rewards become those which are seen.
            data: from `sample`; of a critic, one of its `parts`.
            entropy_bonus: scalar, reward units per nat; None: there is none, which costs nothing.

        Returns:
            [seed, agent].
        """

    def terms(
        self, own: Tensor, others: Tensor, transfer: Transfer, data: Any, *, regularized: bool = True
    ) -> LossTerms:
        """The terms that `losses` adds up, for whoever weighs them otherwise; the arguments are its own.

        The entropy is computed if the loss is `regularized` by it.
        """

    def values(self, theta: Tensor, data: Any) -> Tensor:
        """Each agent's extrinsic value, [seed, agent], whose derivative in theta is the policy gradient."""

    def measure(self, theta: Tensor, data: Any) -> Measured:
        """Report on the policies that `data` was drawn from."""

    def evaluate(
        self, theta: Tensor, transfer: Transfer, generator: torch.Generator, episodes: int
    ) -> tuple[Measured, Report]:
        """Measure policies on this many fresh episodes per seed, and report on the transfer."""


@dataclass(frozen=True)
class ExactPlay:
    """Exact values: no sampling, no variance; the policy is a table.

    >>> import games
    >>> from bilevel.sharing._transfer import SharedBy
    >>> play = ExactPlay(games.make("prisoners-dilemma"), Tabular(num_observations=1, num_actions=2))
    >>> theta = torch.zeros(1, 2, 1)  # seed, agent, parameter: cooperate half of the time
    >>> play.losses(theta, theta, SharedBy(torch.eye(2)[None]), (), torch.tensor(0.0))
    tensor([[1.5000, 1.5000]])
    """

    game: ExactGame
    policy: Tabular

    @property
    def draws(self) -> bool:
        """It never does."""
        return False

    def sample(self, theta: Tensor, transfer: Transfer, generator: torch.Generator) -> tuple[()]:
        """Nothing is drawn."""
        return ()

    def losses(
        self, own: Tensor, others: Tensor, transfer: Transfer, data: Any, entropy_bonus: Tensor | None
    ) -> Tensor:
        """The weighted sum of `terms`."""
        terms = self.terms(own, others, transfer, data, regularized=entropy_bonus is not None)
        return weighted(terms, TermWeights(entropy=0.0 if entropy_bonus is None else entropy_bonus))

    def terms(
        self, own: Tensor, others: Tensor, transfer: Transfer, data: Any, *, regularized: bool = True
    ) -> LossTerms:
        """Minus each agent's shared discounted return, and the mean entropy over observations."""
        seen = self._counted(own, others, transfer)
        if seen is None:
            profiles = profiles_of_learners(own, others)
            seen = self.seen(self.policy.probabilities(profiles), transfer)
        nats = entropy(self.policy.table(own)).mean(-1) if regularized else None
        return LossTerms(seen * -self.game.effective_horizon, None, nats)

    def _counted(self, own: Tensor, others: Tensor, transfer: Transfer) -> Tensor | None:
        """As `seen`, without laying out what each learner takes each policy to be, where the game can."""
        if not isinstance(self.game, CountedFamily) or transfer.matrix is None:
            return None
        policies = self.policy.probabilities(own), self.policy.probabilities(others)
        return self.game.shared_values(*policies, transfer.matrix)

    def seen(self, policies: Tensor, transfer: Transfer) -> Tensor:
        """What each learner's episodes are worth to it, in the game's units.

        Args:
            policies: what each learner takes them to be, [..., learner, agent, observation, action].
            transfer: how own rewards become those which are seen.

        Returns:
            [..., learner].
        """
        assert transfer.matrix is not None  # learners see to it when they are built
        return (self.game.values(policies) * transfer.matrix.mT).sum(-1)  # [learner, giver], [giver, learner]

    def values(self, theta: Tensor, data: Any) -> Tensor:
        """Exact values, in the game's units."""
        return self.game.values(self.policy.probabilities(theta))

    def measure(self, theta: Tensor, data: Any) -> Measured:
        """Exact values and cooperation."""
        return Measured(*self.game.values_and_cooperation(self.policy.probabilities(theta)))

    def evaluate(
        self, theta: Tensor, transfer: Transfer, generator: torch.Generator, episodes: int
    ) -> tuple[Measured, Report]:
        """Exact values and cooperation; `generator` and `episodes` are not used."""
        return self.measure(theta, ()), transfer.report(None)


@dataclass(frozen=True)
class SampledPlay:
    """Sampled episodes and surrogate losses, for any game and any policy.

    >>> import games
    >>> from bilevel.sharing._transfer import SharedBy
    >>> game, policy = games.make("prisoners-dilemma"), Tabular(num_observations=1, num_actions=2)
    >>> play = SampledPlay(game, policy, dice, episodes=3)
    >>> theta = torch.full((1, 2, 1), -50.0)  # seed, agent, parameter: always defect
    >>> keep = SharedBy(torch.eye(2)[None])
    >>> episodes = play.sample(theta, keep, torch.Generator().manual_seed(0))
    >>> play.values(theta, episodes)
    tensor([[-2., -2.]])
    """

    game: Game
    policy: Policy
    surrogate: Surrogate
    """How the policies' gradient is estimated."""
    episodes: int
    """Episodes per seed in each sample."""

    @property
    def draws(self) -> bool:
        """It always does."""
        return True

    @property
    def distribution(self) -> Distribution:
        """What the policy's outputs mean."""
        return distribution_of(self.game)

    def sample(self, theta: Tensor, transfer: Transfer, generator: torch.Generator) -> Trajectory:
        """Play the episodes."""
        return rollout(self.game, self.policy, theta, transfer, self.episodes, generator)

    def losses(
        self, own: Tensor, others: Tensor, transfer: Transfer, data: Any, entropy_bonus: Tensor | None
    ) -> Tensor:
        """The weighted sum of `terms`."""
        terms = self.terms(own, others, transfer, data, regularized=entropy_bonus is not None)
        return weighted(terms, TermWeights(entropy=0.0 if entropy_bonus is None else entropy_bonus))

    def terms(
        self, own: Tensor, others: Tensor, transfer: Transfer, data: Any, *, regularized: bool = True
    ) -> LossTerms:
        """Minus the surrogate of the shared discounted return, and the entropy per episode.

        The entropy takes the observations as given: it does not see that they depend on the policies.
        """
        logits = self._logits(own, data)
        own_log, joint = self._log_probabilities(logits, others, data)
        seen = transfer.rewards(data)
        returns = self.surrogate(own_log, joint, seen, data.acting, self.game.discount)
        return LossTerms(-returns, None, self._entropy(logits, data) if regularized else None)

    def values(self, theta: Tensor, data: Any) -> Tensor:
        """DiCE estimates of the discounted return: right in value, and in derivative through every agent.

        In the units of `episode_value` (see `Game.effective_horizon`), which it equals, on the sample, where
        the game does not discount or discounts in its `episode_value`, too.
        """
        log = self._chosen(self._logits(theta, data), data)
        joint = log.sum(-3, keepdim=True)
        return dice(log, joint, data.rewards, data.acting, self.game.discount) / self.game.effective_horizon

    def measure(self, theta: Tensor, data: Any) -> Measured:
        """Means over the episodes; see `measure_episodes`."""
        return measure_episodes(self.game, data)

    def evaluate(
        self, theta: Tensor, transfer: Transfer, generator: torch.Generator, episodes: int
    ) -> tuple[Measured, Report]:
        """Means over the episodes, of which blocks of time steps are in memory, one at a time.

        A block has as many observations as a training sample, or one step, of these seeds.
        """
        reporting = transfer.reporting
        steps = block_length(self.game.horizon, self.episodes, episodes, reporting)
        blocks = rollout_blocks(self.game, self.policy, theta, transfer, episodes, generator, steps)
        return measure_blocks(self.game, blocks, transfer.report, reporting)

    def _log_probabilities(self, logits: Tensor, others: Tensor, data: Trajectory) -> tuple[Tensor, Tensor]:
        """Of what each agent did, and of what all did as each one sees it: [seed, agent, time, episode].

        To a surrogate that makes no use of the second, the first is given twice.
        """
        own = self._chosen(logits, data)
        if not getattr(self.surrogate, "uses_joint", True):
            return own, own
        theirs = self._chosen(self._logits(others, data), data)
        return own, own + theirs.sum(-3, keepdim=True) - theirs

    def _entropy(self, logits: Tensor, data: Trajectory) -> Tensor:
        """Of an episode's steps together, mean over episodes: [seed, agent], in nats."""
        whole: Tensor = (self.distribution.entropy(logits) * data.acting).sum(-2).mean(-1)
        return whole

    def _chosen(self, logits: Tensor, data: Trajectory) -> Tensor:
        """Log-probability of what each agent did, 0 where it did not count: [seed, agent, time, episode]."""
        return self.distribution.log_probability(logits, data.actions) * data.acting

    def _logits(self, theta: Tensor, data: Trajectory) -> Tensor:
        """Outputs for every observation, illegal actions left out: [seed, agent, time, episode, output]."""
        return allowed(self.policy.unroll(theta, data.observations), data.legal)


def seed_groups(seeds: int, training: int, episodes: int, horizon: int) -> list[slice]:
    """Which seeds are evaluated together, so that a time step has no more observations than training.

    Args:
        seeds: how many there are.
        training: episodes per seed of a training sample.
        episodes: per seed, of the evaluation.
        horizon: of the game, in steps.

    Returns:
        Slices of all seeds, in order, whose lengths differ by 1 at most; every seed alone, where even one
        has more observations in a step than training in all.

    >>> seed_groups(32, training=8, episodes=1024, horizon=50)
    [slice(0, 11, None), slice(11, 22, None), slice(22, 32, None)]
    """
    most = max(1, min(seeds, seeds * training * horizon // episodes))
    groups = np.array_split(np.arange(seeds), -(-seeds // most))
    return [slice(int(group[0]), int(group[-1]) + 1) for group in groups]


def block_length(horizon: int, training: int, episodes: int, reporting: Reporting | None) -> int:
    """How many time steps of `episodes` have as many observations as the episodes of training.

    Args:
        horizon: of the game, in steps.
        training: episodes per seed of a training sample.
        episodes: per seed, of the evaluation.
        reporting: says of what length blocks must be multiples.

    >>> block_length(150, 32, 1024, None), block_length(5, 64, 1024, Reporting("steps", 2))
    (4, 2)
    """
    hold = 1 if reporting is None else reporting.hold
    return min(horizon, max(hold, horizon * training // episodes // hold * hold))


def measure_blocks(
    game: Game,
    blocks: Iterable[Trajectory],
    report: Callable[[Trajectory], Report],
    reporting: Reporting | None,
) -> tuple[Measured, Report]:
    """Measure episodes that come in blocks of successive time steps, and keep no observations.

    Args:
        game: what is played.
        blocks: of `rollout_blocks` or `play_blocks`.
        report: of the transfer, on a block.
        reporting: how reports on blocks combine; None: `report` is asked once, for the whole episodes.
    """
    outcomes, reports, steps = [], [], []
    for block in blocks:
        outcomes.append(block.outcome)
        if reporting is not None:
            reports.append(report(block))
            steps.append(block.mask.sum((-3, -2, -1)))
        del block  # before the next one is made
    whole = concatenated(outcomes)
    measured = measure_episodes(game, whole)
    return measured, report(whole) if reporting is None else combine_reports(reports, steps, reporting)


def profiles_of_learners(own: Tensor, others: Tensor) -> Tensor:
    """What each learner takes everybody's policies to be: its own, and the others'.

    Args:
        own: [..., agent, parameter].
        others: of the same shape.

    Returns:
        [..., learner, agent, parameter].

    >>> profiles_of_learners(torch.ones(2, 1), torch.zeros(2, 1)).squeeze(-1)
    tensor([[1., 0.],
            [0., 1.]])
    """
    return torch.where(_oneself(own.shape[-2], own.device), own.unsqueeze(-3), others.unsqueeze(-3))


@cached_constants
def _oneself(agents: int, device: torch.device) -> Tensor:
    """Which agent is which learner, boolean [learner, agent, 1]."""
    return constant(np.eye(agents, dtype=bool)[..., None], torch.bool, device)


def measure_episodes(game: Game, data: Trajectory) -> Measured:
    """Means over episodes of a game; cooperation over all steps of an agent alike, not discounted."""
    by_time = data.rewards.permute(2, 0, 3, 1)  # time, seed, episode, agent
    values = game.episode_value(by_time).mean(1)
    if data.cooperated is None:
        return Measured(values, None)
    steps = data.acting.sum((-2, -1))
    return Measured(values, (data.cooperated * data.acting).sum((-2, -1)) / steps)
