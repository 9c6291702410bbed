"""How policies learn inside, as settings: by policy gradients alone, with critics, or by PPO."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from bilevel.agents.critic_play import RANGES, CriticPlay, PPOPlay, check_minibatches, check_numbers
from bilevel.agents.loss_terms import TermWeights
from bilevel.agents.play import SampledPlay
from bilevel.agents.policies import ActorCritic, Policy
from bilevel.agents.surrogates import SURROGATES, Surrogate
from bilevel.errors import require, require_name
from bilevel.methods.policy_settings import PolicySettings
from games.base import Game

INNER_LEARNERS = ("policy-gradient", "actor-critic", "ppo")


@dataclass(frozen=True, kw_only=True)
class InnerLearnerSettings(PolicySettings):
    """Settings of the inner learner; those which a learner has no use for are not looked at.

    `CriticPlay` and `PPOPlay` say what is a constant where, and what a meta-gradient sees.

    Raises:
        ValueError: a number is out of range, or a name is unknown.
    """

    inner_learner: Literal["policy-gradient", "actor-critic", "ppo"] = "policy-gradient"
    """How policies learn: by the surrogate of sampled, or exact, returns (policy-gradient); by the surrogate
    with a critic's values (actor-critic); or by several clipped gradient steps on each sample, with a critic
    (ppo). Critics are networks, or tables, of the policy's kind, and need sampled episodes."""
    trace: float = 0.95
    """With a critic: lambda of generalised advantage estimation, from 0 (the next step's value is believed)
    to 1 (sampled returns, no bias)."""
    policy_weight: float = 1.0
    """With a critic: of the policy's term in the loss, above 0."""
    value_weight: float = 0.5
    """With a critic: of half its mean squared error in the loss, above 0."""
    clip_range: float = 0.2
    """Of ppo: how far from 1 the ratio of new to old probabilities may go and still gain, above 0."""
    epochs: int = 4
    """Of ppo: passes over each sample, 1 or more; one inner step is all of them."""
    minibatches: int = 1
    """Of ppo: gradient steps of each pass, each on a part of the episodes, 1 or more."""
    normalise_advantages: bool = False
    """Of ppo: whether advantages are centred and scaled, for each agent and seed; the entropy bonus is then
    in units of their standard deviation per nat (docs/learners.md says why not)."""
    value_clip: float | None = None
    """Of ppo: how far values may move in an inner step and still count, above 0, in reward units; None: as
    far as they like."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_name(self.inner_learner, INNER_LEARNERS, "inner_learner")
        check_numbers({name: getattr(self, name) for name in (*RANGES, "epochs", "minibatches")})

    @property
    def needs_episodes(self) -> bool:
        """Whether the learner has a critic, for whom exact values leave nothing to learn."""
        return self.inner_learner != "policy-gradient"

    def sampled_play(self, game: Game, policy: Policy, surrogate: str, episodes: int) -> SampledPlay:
        """How this learner plays a game by episodes.

        Args:
            game: what is played.
            policy: everybody's, without a critic.
            surrogate: one of `SURROGATES`.
            episodes: per seed in each sample, 2 or more.

        Raises:
            ValueError: the surrogate does not suit the learner, or there are more minibatches than episodes.

        >>> import games
        >>> game, settings = games.make("escape-room"), InnerLearnerSettings(inner_learner="ppo", trace=0.9)
        >>> play = settings.sampled_play(game, settings.policy_for(game), "reinforce", episodes=8)
        >>> play.trace, play.policy.critic.num_actions
        (0.9, 1)
        """
        if self.inner_learner == "policy-gradient":
            return SampledPlay(game, policy, SURROGATES[surrogate], episodes)
        common: dict[str, Any] = {
            "game": game,
            "policy": ActorCritic.of(policy),
            "surrogate": self._surrogate(surrogate),
            "episodes": episodes,
            "trace": self.trace,
            "weights": TermWeights(self.policy_weight, self.value_weight),
        }
        if self.inner_learner == "actor-critic":
            return CriticPlay(**common)
        check_minibatches(self.minibatches, episodes)
        return PPOPlay(
            **common,
            clip_range=self.clip_range,
            epochs=self.epochs,
            minibatches=self.minibatches,
            normalise=self.normalise_advantages,
            value_clip=self.value_clip,
        )

    def _surrogate(self, name: str) -> Surrogate:
        """A surrogate that takes a critic's values, with this trace."""
        require(
            self.inner_learner != "ppo" or name == "reinforce",
            f"PPO has a surrogate of its own, and {name} would not be used: leave surrogate at reinforce, or "
            "choose actor-critic.",
        )
        if name == "dice":
            require(
                self.trace == 1,
                f"With the surrogate dice a critic is a baseline of sampled returns, and a trace of "
                f"{self.trace:g} would not be used: set trace to 1, or choose loaded-dice.",
            )
            return SURROGATES[name]
        surrogate: Any = SURROGATES[name]
        traced: Surrogate = dataclasses.replace(surrogate, trace=self.trace)
        return traced
