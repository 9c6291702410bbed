"""Settings of the inner loop: policy gradients, actor-critic, PPO, V-trace actor-critic."""

from __future__ import annotations

import abc
import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from bilevel.agents import (
    SURROGATES,
    Alignment,
    CriticPlay,
    Policy,
    PolicyWithCritic,
    PPOPlay,
    SampledPlay,
    TermWeights,
    VTracePlay,
    check_minibatches,
)
from bilevel.core import Range, Scheduled
from bilevel.methods._settings import OptimizerName, SettingsGroup, Whole
from games.core import Game, require

Positive = Annotated[float, Range(above=0)]
SurrogateName = Literal["reinforce", "dice", "loaded-dice"]
AlignmentName = Literal["none", "paper", "causal", "released"]
EntropyScale = Literal["none", "advantage-std"]


@dataclass(frozen=True, kw_only=True)
class InnerLoop(SettingsGroup, abc.ABC, part="inner"):
    """Common settings of policy learners."""

    optimizer: OptimizerName = "sgd"
    """Optimizer of the policies."""
    learning_rate: Annotated[Scheduled, Range(above=0)] = 1.0
    """Learning rate of the policies, above 0; or a schedule, such as 0:1, 200:0.1."""
    steps: Whole = 1
    """Policy updates per outer step, 1 or more."""
    episodes: Annotated[int, Range(min=2)] = 64
    """Episodes per seed for each policy update and each evaluation in training, 2 or more; unused if values
    are exact."""
    entropy_coef: Annotated[Scheduled, Range(min=0)] = 0.0
    """Coefficient of the entropy bonus, in reward units per nat, 0 or more; or a schedule, such as 0:0.3,
    200:0. The entropy is the sum over an episode's steps or, with exact values, the mean over
    observations."""

    @abc.abstractmethod
    def sampled_play(self, game: Game, policy: Policy) -> SampledPlay:
        """Build the losses on sampled episodes, given a policy without a critic.

        Raises:
            ValueError: settings are incompatible (names them).
        """


@dataclass(frozen=True, kw_only=True)
class PolicyGradient(InnerLoop, variant="policy-gradient"):
    """Policy gradients, from exact values or from a surrogate loss on sampled episodes.

    >>> import games
    >>> from bilevel.methods import Selfish
    >>> method = Selfish(inner=PolicyGradient(exact=False, surrogate="loaded-dice", episodes=16))
    >>> play = method.play(games.make("prisoners-dilemma"))
    >>> play.surrogate, play.episodes
    (LoadedDice(gae_lambda=1.0, dependency_decay=1.0), 16)
    """

    exact: bool = True
    """Use exact values if the game has them; otherwise, sample episodes."""
    surrogate: SurrogateName = "reinforce"
    """Surrogate loss of sampled returns, with unbiased derivatives of any order (dice; loaded-dice, with less
    variance) or of first order only (reinforce, which suffices for one inner step);
    docs/studies/sampled-hypergradients.md."""
    entropy_scale: EntropyScale = "none"
    """Unit of the entropy bonus, for sampled episodes: reward units per nat (none), or each agent's standard
    deviation of advantages per nat (advantage-std), with which the effect of the bonus does not depend on the
    scale of rewards, like that of norm_adv in ppo (docs/explanation/inner-learners.md)."""

    def sampled_play(self, game: Game, policy: Policy) -> SampledPlay:
        scaled = self.entropy_scale != "none"
        return SampledPlay(game, policy, SURROGATES[self.surrogate], self.episodes, scaled)


@dataclass(frozen=True, kw_only=True)
class CriticLoop(InnerLoop, abc.ABC):
    """Settings of learners with a critic of the policy's form, a network or a table."""

    gae_lambda: Annotated[float, Range(min=0, max=1)] = 0.95
    """Lambda of generalized advantage estimation, from 0 (the critic's next value) to 1 (sampled returns, no
    bias)."""
    policy_coef: Positive = 1.0
    """Coefficient of the policy term of the loss, above 0."""
    vf_coef: Positive = 0.5
    """Coefficient of half the critic's mean squared error, above 0."""
    alignment: AlignmentName = "none"
    """Advantage alignment (`bilevel.agents.Alignment`): off (none), or with the weights of earlier advantages
    of the paper, of the paper without the present advantage (causal), or of the released code. It needs the
    other agents' advantages."""
    alignment_coef: Annotated[float, Range(min=0)] = 1.0
    """Coefficient of the other agents' advantages, 0 or more; unused without alignment."""

    def _common(self, game: Game, policy: Policy) -> dict[str, Any]:
        return {
            "game": game,
            "policy": PolicyWithCritic.of(policy),
            "episodes": self.episodes,
            "gae_lambda": self.gae_lambda,
            "weights": TermWeights(self.policy_coef, self.vf_coef),
            "alignment": None
            if self.alignment == "none"
            else Alignment(rule=self.alignment, weight=self.alignment_coef),
        }


@dataclass(frozen=True, kw_only=True)
class ActorCritic(CriticLoop, variant="actor-critic"):
    """Actor-critic: the surrogate with a critic's advantages (`CriticPlay`), on sampled episodes.

    Source:
        Mnih et al., Asynchronous methods for deep reinforcement learning, arXiv 1602.01783; the advantages:
        Schulman et al., Generalized advantage estimation, arXiv 1506.02438.

    >>> import games
    >>> from bilevel.methods import Selfish
    >>> play = Selfish(inner=ActorCritic(gae_lambda=0.9)).play(games.make("escape-room"))
    >>> type(play).__name__, play.gae_lambda
    ('CriticPlay', 0.9)
    """

    surrogate: SurrogateName = "reinforce"
    """Surrogate loss, as for policy-gradient; with dice, the critic is only a baseline, and gae_lambda must
    be 1."""
    entropy_scale: EntropyScale = "none"
    """Unit of the entropy bonus, as for policy-gradient, with the critic's advantages."""

    def sampled_play(self, game: Game, policy: Policy) -> SampledPlay:
        surrogate: Any = SURROGATES[self.surrogate]
        if self.surrogate != "dice":
            surrogate = dataclasses.replace(surrogate, gae_lambda=self.gae_lambda)
        require(
            self.surrogate != "dice" or self.gae_lambda == 1,
            f"With the surrogate dice a critic is a baseline of sampled returns, and a gae_lambda of "
            f"{self.gae_lambda:g} would not be used: set it to 1, or choose loaded-dice.",
        )
        require(
            self.alignment == "none" or self.surrogate == "reinforce",
            f"Aligned advantages have a surrogate of first order, and {self.surrogate} would not be used: "
            "leave inner.surrogate at reinforce.",
        )
        return CriticPlay(
            **self._common(game, policy), surrogate=surrogate, scaled_entropy=self.entropy_scale != "none"
        )


@dataclass(frozen=True, kw_only=True)
class PPO(CriticLoop, variant="ppo"):
    """Proximal policy optimization: clipped gradient steps on each sample (`PPOPlay`), with a critic.

    Source:
        Schulman et al., Proximal policy optimization algorithms, arXiv 1707.06347.

    >>> import games
    >>> from bilevel.methods import Selfish
    >>> play = Selfish(inner=PPO(clip_coef=0.1, update_epochs=2)).play(games.make("escape-room"))
    >>> type(play).__name__, play.clip_range, play.epochs
    ('PPOPlay', 0.1, 2)
    >>> PPO(update_epochs=0)
    Traceback (most recent call last):
    ValueError: inner.update_epochs must be a whole number, 1 or more, not 0.
    """

    clip_coef: Positive = 0.2
    """Clipping range of the ratio of new to old probabilities around 1, above 0."""
    update_epochs: Whole = 4
    """Passes over each sample of episodes, 1 or more; together they are one inner step."""
    num_minibatches: Whole = 1
    """Number of minibatches (of episodes) per pass, with a gradient step each, 1 or more."""
    norm_adv: bool = False
    """Normalize advantages, for each agent and seed; the entropy bonus is then in units of their
    standard deviation per nat (docs/explanation/inner-learners.md)."""
    center_adv: bool = False
    """Subtract from advantages their mean over a minibatch's episodes at the same step, before any
    normalization: a baseline that depends on time, where observations do not show it."""
    discount: Annotated[float | None, Range(min=0, max=1)] = None
    """Discount per step of the critic's values and of advantages, from 0 to 1; None: the game's. In long
    episodes a lower one attributes rewards to the actions just before them, with less variance, also in the
    derivative of the outer objective; its value and all metrics keep the game's
    (docs/explanation/inner-learners.md)."""
    clip_vloss: Annotated[float | None, Range(above=0)] = None
    """Clipping range of values in an inner step, above 0, in reward units; None: no clipping."""

    def sampled_play(self, game: Game, policy: Policy) -> SampledPlay:
        check_minibatches(self.num_minibatches, self.episodes)
        surrogate: Any = SURROGATES["reinforce"]
        return PPOPlay(
            **self._common(game, policy),
            surrogate=dataclasses.replace(surrogate, gae_lambda=self.gae_lambda),
            clip_range=self.clip_coef,
            epochs=self.update_epochs,
            minibatches=self.num_minibatches,
            normalize=self.norm_adv,
            value_clip=self.clip_vloss,
            center=self.center_adv,
            discount=self.discount,
        )


@dataclass(frozen=True, kw_only=True)
class VTrace(InnerLoop, variant="v-trace"):
    """Actor-critic with leaky V-trace (`VTracePlay`): importance ratios correct several steps on each sample.

    Its hyper-parameters are those that `mgrl`, `stac`, `stacx` and `bmg` learn.

    Source:
        Espeholt et al., IMPALA, arXiv 1802.01561; Zahavy et al., A self-tuning actor-critic algorithm (STAC),
        arXiv 2002.12928.

    >>> import games
    >>> from bilevel.methods import Selfish
    >>> play = Selfish(inner=VTrace(discount=0.9, update_epochs=2)).play(games.make("escape-room"))
    >>> type(play).__name__, play.critic_discount, play.epochs
    ('VTracePlay', 0.9, 2)
    """

    discount: Annotated[float | None, Range(min=0, max=1)] = None
    """Discount per step of the critic's values and of advantages, from 0 to 1; None: the game's. Values of
    the outer loss and all metrics keep the game's."""
    trace_lambda: Annotated[float, Range(min=0, max=1)] = 0.95
    """Lambda of the traces, from 0 (the critic's next value) to 1 (sampled returns)."""
    leak: Annotated[float, Range(min=0, max=1)] = 1.0
    """Weight of clipped importance ratios, from 0 (no clipping) to 1 (V-trace); no effect with one update
    epoch, where ratios are 1."""
    policy_coef: Positive = 1.0
    """Coefficient of the policy term of the loss, above 0."""
    vf_coef: Positive = 0.5
    """Coefficient of half the critic's mean squared error, above 0."""
    update_epochs: Whole = 1
    """Gradient steps on each sample of episodes, 1 or more; together they are one inner step."""

    def sampled_play(self, game: Game, policy: Policy) -> SampledPlay:
        return VTracePlay(
            game,
            PolicyWithCritic.of(policy),
            SURROGATES["reinforce"],
            self.episodes,
            gae_lambda=self.trace_lambda,
            weights=TermWeights(self.policy_coef, self.vf_coef),
            discount=self.discount,
            leak=self.leak,
            epochs=self.update_epochs,
        )
