"""Two ways to play a game with a policy, behind one interface: exactly, or by sampled episodes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from bilevel.agents.policies import Policy, Tabular
from bilevel.agents.rollout import Episodes, rollout
from bilevel.agents.surrogates import Surrogate, chosen, dice, entropy
from bilevel.outer.sharing import redistribute
from games.base import ExactGame, Game


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

    def sample(self, theta: Tensor, sharing: Tensor, generator: torch.Generator) -> Any:
        """Draw what a loss will need under these policies; an exact game needs nothing."""

    def losses(
        self, own: Tensor, others: Tensor, sharing: Tensor, data: Any, entropy_bonus: Tensor
    ) -> Tensor:
        """Each agent's inner loss on shared rewards, as a function of its own and of the others' policies.

        Args:
            own: the policies differentiated: agent i's loss sees own[i] ...
            others: ... and others[j] for every j other than i.
            sharing: [seed, giver, receiver].
            data: from `sample`.
            entropy_bonus: scalar, reward units per nat.

        Returns:
            [seed, agent].
        """

    def values(self, theta: Tensor, data: Any) -> Tensor:
        """Each agent's extrinsic value, [seed, agent], whose derivative in theta is the policy gradient."""

    def measure(self, theta: Tensor, data: Any) -> Measured:
        """Report on the policies that `data` was drawn from."""

    def with_episodes(self, episodes: int) -> Play:
        """Build the same play with larger or smaller samples; an exact one is as it was."""


@dataclass(frozen=True)
class ExactPlay:
    """Exact values: no sampling, no variance; the policy is a table."""

    game: ExactGame
    policy: Tabular

    def sample(self, theta: Tensor, sharing: Tensor, generator: torch.Generator) -> tuple[()]:
        """Nothing is drawn."""
        return ()

    def losses(
        self, own: Tensor, others: Tensor, sharing: Tensor, data: Any, entropy_bonus: Tensor
    ) -> Tensor:
        """Minus each agent's shared discounted return and its bonus: the mean entropy over observations."""
        agents = self.game.num_agents
        mine = torch.eye(agents, dtype=torch.bool, device=own.device).unsqueeze(-1)
        profiles = torch.where(
            mine, own.unsqueeze(-3), others.unsqueeze(-3)
        )  # [.., learner, agent, parameter]
        values = self.game.values(self.policy.probabilities(profiles)) * self.game.effective_horizon
        shared = (values * sharing.mT).sum(-1)  # values[learner, giver], sharing[giver, learner]
        bonus = entropy(self.policy.table(own)).mean(-1)
        return -(shared + entropy_bonus * bonus)

    def values(self, theta: Tensor, data: Any) -> Tensor:
        """Exact values, in the game's units."""
        return self.game.values(self.policy.probabilities(theta))

    def measure(self, theta: Tensor, data: Any) -> Measured:
        """Exact values and cooperation."""
        policies = self.policy.probabilities(theta)
        return Measured(self.game.values(policies), self.game.cooperation(policies))

    def with_episodes(self, episodes: int) -> ExactPlay:
        """Itself: nothing is sampled."""
        return self


@dataclass(frozen=True)
class SampledPlay:
    """Sampled episodes and surrogate losses, for any game and any policy."""

    game: Game
    policy: Policy
    surrogate: Surrogate
    episodes: int
    """Episodes per seed in each sample."""

    def sample(self, theta: Tensor, sharing: Tensor, generator: torch.Generator) -> Episodes:
        """Play the episodes."""
        return rollout(self.game, self.policy, theta, sharing, self.episodes, generator)

    def losses(
        self, own: Tensor, others: Tensor, sharing: Tensor, data: Any, entropy_bonus: Tensor
    ) -> Tensor:
        """Minus the surrogate of the shared discounted return and the bonus: entropy per episode."""
        logits = self._logits(own, data)
        own_log = chosen(logits, data.actions) * data.alive
        others_log = chosen(self._logits(others, data), data.actions) * data.alive
        joint = own_log + others_log.sum(-3, keepdim=True) - others_log
        shared = redistribute(data.rewards.flatten(-2), sharing).reshape(data.rewards.shape)
        returns: Tensor = self.surrogate(own_log, joint, shared, data.alive, self.game.discount)
        bonus: Tensor = (entropy(logits) * data.alive).sum(-2).mean(-1)
        return -(returns + entropy_bonus * bonus)

    def values(self, theta: Tensor, data: Any) -> Tensor:
        """DiCE estimates, in the game's units: right in value, and in derivative through every agent."""
        log = chosen(self._logits(theta, data), data.actions) * data.alive
        joint = log.sum(-3, keepdim=True).expand_as(log)
        return dice(log, joint, data.rewards, data.alive, self.game.discount) / self.game.effective_horizon

    def measure(self, theta: Tensor, data: Any) -> Measured:
        """Means over the episodes."""
        by_time = data.rewards.permute(2, 0, 3, 1)  # time, seed, episode, agent
        values = self.game.episode_value(by_time).mean(1)
        if data.cooperated is None:
            return Measured(values, None)
        steps = data.alive.sum((-2, -1))
        return Measured(values, (data.cooperated * data.alive).sum((-2, -1)) / steps)

    def with_episodes(self, episodes: int) -> SampledPlay:
        """Build the same play with this many episodes per sample."""
        return dataclasses.replace(self, episodes=episodes)

    def _logits(self, theta: Tensor, data: Episodes) -> Tensor:
        """Logits of every observation: [seed, agent, time, episode, action]."""
        logits = self.policy.logits(theta, data.observations.flatten(2, 3))
        return logits.reshape(*data.actions.shape, -1)
