"""How policies learn inside, as settings: by policy gradients alone, with critics, or by PPO.

Which policy agents have, as settings, and whether it fits a game.

Whether the weights of agents' losses are learned above, and how, as settings.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from gymnasium import spaces

from bilevel.agents import (
    GRU,
    MLP,
    RANGES,
    SURROGATES,
    ActorCritic,
    Convolutional,
    CriticPlay,
    Gaussian,
    Numbered,
    Policy,
    PPOPlay,
    SampledPlay,
    Surrogate,
    Tabular,
    TermWeights,
    check_minibatches,
    check_numbers,
    distribution_of,
)
from bilevel.core import Scheduled
from bilevel.nn import ACTIVATIONS, PADDINGS, ActivationName, PaddingName
from bilevel.sharing import OBJECTIVES
from games.core import Game, numbered_actions, require, require_name

Space = spaces.Box | spaces.Discrete


@dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """Settings of the agents' policies; those which a policy has no use for are not looked at.

    Raises:
        ValueError: a name is unknown.
    """

    policy: Literal["auto", "tabular", "mlp", "conv", "gru"] = "auto"
    """The agents' policy: a table (tabular), a perceptron (mlp), convolutions and a perceptron (conv: for
    planes of a grid, [plane, row, column]), or one that remembers (gru); auto: a table where observations
    are numbers, else a perceptron."""
    hidden: tuple[int, ...] = (32,)
    """Units of each hidden layer of the perceptron; of gru: of each layer in front of the memory."""
    activation: ActivationName = "tanh"
    """Between the layers of the network."""
    channels: tuple[int, ...] = (16,)
    """Of conv: planes that come out of each layer of convolutions."""
    kernel: int = 3
    """Of conv: rows and columns that a weight sees, 1 or more."""
    stride: int = 1
    """Of conv: by how many rows and columns the kernel moves, 1 or more."""
    padding: PaddingName = "same"
    """Of conv: whether planes are surrounded with zeros, so that with stride 1 they keep their size (same),
    or not (valid)."""
    memory: int = 32
    """Of gru: numbers that an agent remembers, 1 or more."""
    share_parameters: bool = False
    """Whether all agents have the same parameters, of a network, and are told their number: all then descend
    the mean of their own gradients."""

    def __post_init__(self) -> None:
        for name, known in (
            ("policy", ("auto", *POLICIES)),
            ("activation", ACTIVATIONS),
            ("padding", PADDINGS),
        ):
            require_name(getattr(self, name), known, name)

    def policy_for(self, game: Game) -> Policy:
        """The policy that these settings mean in a game.

        Raises:
            ValueError: the policy does not fit the game's observations, or cannot be built (says why).

        >>> import games
        >>> PolicySettings().policy_for(games.make("prisoners-dilemma"))
        Tabular(num_observations=1, num_actions=2, initial_scale=1.0, every_logit=False)
        """
        space, actions = game.observation_space, game.action_space
        table = isinstance(space, spaces.Discrete) and isinstance(actions, spaces.Discrete)
        name = self.policy if self.policy != "auto" else "tabular" if table else "mlp"
        policy = self._shared(name, game) if self.share_parameters else POLICIES[name](self, game, space)
        return Gaussian(policy, actions.shape[0]) if isinstance(actions, spaces.Box) else policy

    def _shared(self, name: str, game: Game) -> Policy:
        """A policy that is told its agent's number."""
        space = game.observation_space
        require(
            name != "tabular",
            "Agents that share parameters need a network, which is told their number; in a table each would "
            "have rows of its own. Choose mlp, conv or gru (with --method.no-exact where values are exact), "
            "or leave share_parameters off.",
        )
        features, one_hot, axes = _vectors(space)
        planes = name == "conv"
        shape = space.shape if planes else (features,)
        assert shape is not None
        numbered = spaces.Box(-np.inf, np.inf, (shape[0] + game.num_agents, *shape[1:]))
        policy = POLICIES[name](self, game, numbered)
        return Numbered(policy, features if one_hot else 0, axes, planes)


def _tabular(settings: PolicySettings, game: Game, space: Space) -> Policy:
    require(
        isinstance(space, spaces.Discrete),
        f"A tabular policy needs observations that are numbers, but {type(game).__name__}'s have the "
        f"shape {space.shape}: use mlp.",
    )
    assert isinstance(space, spaces.Discrete)
    return Tabular(int(space.n), numbered_actions(game, "A tabular policy (use mlp)"))


def _mlp(settings: PolicySettings, game: Game, space: Space) -> Policy:
    features, one_hot, axes = _vectors(space)
    return MLP(
        features,
        distribution_of(game).outputs,
        settings.hidden,
        one_hot=one_hot,
        observation_axes=axes,
        activation=settings.activation,
    )


def _conv(settings: PolicySettings, game: Game, space: Space) -> Policy:
    discrete = isinstance(space, spaces.Discrete)
    shown = "numbers: use tabular, mlp or gru" if discrete else f"of the shape {space.shape}: use mlp or gru"
    require(
        isinstance(space, spaces.Box) and len(space.shape) == 3,
        f"A conv policy needs observations that are planes of a grid [plane, row, column], but "
        f"{type(game).__name__}'s are {shown}.",
    )
    assert space.shape is not None
    planes, rows, columns = space.shape
    return Convolutional(
        (planes, rows, columns),
        distribution_of(game).outputs,
        settings.channels,
        settings.kernel,
        settings.stride,
        settings.padding,
        settings.hidden,
        activation=settings.activation,
    )


def _gru(settings: PolicySettings, game: Game, space: Space) -> Policy:
    features, one_hot, axes = _vectors(space)
    return GRU(
        features,
        distribution_of(game).outputs,
        settings.hidden,
        settings.memory,
        one_hot=one_hot,
        observation_axes=axes,
        activation=settings.activation,
    )


def _vectors(space: Space) -> tuple[int, bool, int]:
    """Length of an observation as a vector, whether it is one-hot encoded, and how many axes it has."""
    if isinstance(space, spaces.Discrete):
        return int(space.n), True, 1
    return math.prod(space.shape), False, max(1, len(space.shape))


POLICIES: dict[str, Callable[[PolicySettings, Game, Space], Policy]] = {
    "tabular": _tabular,
    "mlp": _mlp,
    "conv": _conv,
    "gru": _gru,
}


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
    """With a critic: lambda of generalized advantage estimation, from 0 (the next step's value is believed)
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
    normalize_advantages: bool = False
    """Of ppo: whether advantages are centered and scaled, for each agent and seed; the entropy bonus is then
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
            normalize=self.normalize_advantages,
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


@dataclass(frozen=True, kw_only=True)
class LossWeightSettings(InnerLearnerSettings):
    """Settings of learned loss weights; the others are not looked at where none are learned.

    Each agent has, for the policy's, the value's and the entropy's term of its loss, a factor on what the
    settings say in that outer step. Factors start at 1 and move by the meta-gradient through the policies'
    steps; what they are learned for is counted in the game's own rewards, on fresh episodes, so no weight
    changes what is counted. docs/loss_weights_and_sharing.md says what that does.

    Raises:
        ValueError: loss weights are to be learned by a method, or for a learner, that has none to learn; a
            number is out of range, or a name is unknown.

    Source:
        Zahavy et al., A self-tuning actor-critic algorithm (STAC), arXiv 2002.12928, for one agent; its
        outer loss is an actor-critic's own.
    """

    no_loss_weights: ClassVar[str] = ""
    """Why a method cannot learn loss weights, as the end of a sentence that begins with its name."""

    learn_loss_weights: bool = False
    """With a critic: whether each agent's weights of the policy's, the value's and the entropy's term are
    learned above, too. (The policy's is then a learned scale of its learning rate; the value's needs 2 inner
    steps or more to show; an entropy bonus of 0 stays 0.)"""
    loss_weight_objective: Literal["own-return", "welfare"] = "own-return"
    """What learned loss weights are for: each agent's own reward, or the sum of all."""
    loss_weight_learning_rate: Scheduled = 0.03
    """Step size of learned loss weights, 0 or more; or a schedule of it. They are moved by the outer level's
    optimizer and estimator; where nothing else is learned above, by adam and unrolled."""
    loss_weight_range: float = 10.0
    """By which factor a learned weight may leave its setting, up or down, above 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            not (self.learn_loss_weights and self.no_loss_weights),
            f"{type(self).__name__} {self.no_loss_weights}: leave learn_loss_weights off.",
        )
        require(
            not self.learn_loss_weights or self.needs_episodes,
            f"Loss weights are learned where a critic's loss stands beside the policy's, and "
            f"{self.inner_learner} has none: choose actor-critic or ppo (--method.inner-learner), or leave "
            "learn_loss_weights off.",
        )
        require_name(self.loss_weight_objective, OBJECTIVES, "loss_weight_objective")
        most = self.loss_weight_range
        require(
            math.isfinite(most) and most > 1,
            f"loss_weight_range must be a finite number above 1, not {most}.",
        )
