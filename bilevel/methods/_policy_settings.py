"""Settings of policies, one group for each form."""

from __future__ import annotations

import abc
import importlib.util
import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from gymnasium import spaces

from bilevel.agents import (
    GRU,
    MLP,
    Convolutional,
    Gaussian,
    Mixture,
    Numbered,
    Policy,
    Tabular,
    distribution_of,
)
from bilevel.core import Range, Schedule, Scheduled
from bilevel.methods._settings import SettingsGroup, Whole
from bilevel.nn import ActivationName, PaddingName
from games.core import Game, numbered_actions, require

Space = spaces.Box | spaces.Discrete


@dataclass(frozen=True, kw_only=True)
class PolicySettings(SettingsGroup, abc.ABC, part="policy"):
    """Settings of the agents' policies."""

    def build(self, game: Game) -> Policy:
        """Build the policy for a game; for a Box of actions, a Gaussian policy.

        Raises:
            ValueError: it does not fit the game's observations, or a layer has no units.
        """
        policy = self._build(game)
        actions = game.action_space
        return Gaussian(policy, actions.shape[0]) if isinstance(actions, spaces.Box) else policy

    @property
    def shared(self) -> bool:
        """True if all agents have the same parameters."""
        return bool(getattr(self, "share_parameters", False))

    @abc.abstractmethod
    def _build(self, game: Game) -> Policy:
        """Build the policy of logits, or of a Gaussian's means."""


@dataclass(frozen=True, kw_only=True)
class AutoPolicy(PolicySettings, variant="auto"):
    """A tabular policy if observations and actions are integers, otherwise an MLP with default settings.

    >>> import games
    >>> AutoPolicy().build(games.make("prisoners-dilemma"))
    Tabular(num_observations=1, num_actions=2, initial_scale=1.0, every_logit=False)
    """

    def _build(self, game: Game) -> Policy:
        table = all(
            isinstance(space, spaces.Discrete) for space in (game.observation_space, game.action_space)
        )
        return (TabularPolicy() if table else MLPPolicy())._build(game)


@dataclass(frozen=True, kw_only=True)
class TabularPolicy(PolicySettings, variant="tabular"):
    """A table of logits; observations must be integers.

    Raises:
        ValueError: at build, observations or actions are not integers.

    >>> import games
    >>> TabularPolicy(initial_scale=0.1).build(games.make("repeated-chicken"))
    Tabular(num_observations=5, num_actions=2, initial_scale=0.1, every_logit=False)
    >>> TabularPolicy().build(games.make("escape-room"))
    Traceback (most recent call last):
    ValueError: A tabular policy needs observations that are numbers, but EscapeRoom's have the ...
    """

    initial_scale: Annotated[float, Range(min=0)] = 1.0
    """Standard deviation of the initial logits, 0 or more."""

    def _build(self, game: Game) -> Policy:
        space = game.observation_space
        require(
            isinstance(space, spaces.Discrete),
            f"A tabular policy needs observations that are numbers, but {type(game).__name__}'s have the "
            f"shape {space.shape}: use mlp.",
        )
        assert isinstance(space, spaces.Discrete)
        actions = numbered_actions(game, "A tabular policy (use mlp)")
        return Tabular(int(space.n), actions, self.initial_scale)


@dataclass(frozen=True, kw_only=True)
class NetworkPolicy(PolicySettings, abc.ABC):
    """Common settings of policy networks."""

    hidden_size: tuple[int, ...] = (32,)
    """Units of each hidden layer of the perceptron; of gru: of each layer before the recurrent one."""
    activation: ActivationName = "tanh"
    """Activation between layers."""
    share_parameters: bool = False
    """Share the parameters among agents; updates use the mean gradient."""
    observe_index: bool = True
    """Let agents that share parameters observe their index, to be able to differ; otherwise parameters apply
    to any number of agents."""

    def _build(self, game: Game) -> Policy:
        space = game.observation_space
        if not (self.share_parameters and self.observe_index):
            return self._network(game, space)
        features, one_hot, axes = _vectors(space)
        planes = isinstance(self, ConvPolicy)
        shape = space.shape if planes else (features,)
        assert shape is not None
        numbered = spaces.Box(-np.inf, np.inf, (shape[0] + game.num_agents, *shape[1:]))
        return Numbered(self._network(game, numbered), features if one_hot else 0, axes, planes)

    def _vector_inputs(self, game: Game, space: Space) -> dict[str, Any]:
        """Settings of a network whose inputs are observations as vectors."""
        features, one_hot, axes = _vectors(space)
        return {
            "num_features": features,
            "num_actions": distribution_of(game).outputs,
            "hidden": self.hidden_size,
            "one_hot": one_hot,
            "observation_axes": axes,
            "activation": self.activation,
        }

    @abc.abstractmethod
    def _network(self, game: Game, space: Space) -> Policy:
        """Build the network for observations of a space."""


@dataclass(frozen=True, kw_only=True)
class MLPPolicy(NetworkPolicy, variant="mlp"):
    """A multilayer perceptron.

    >>> import games
    >>> policy = MLPPolicy(hidden_size=(64, 64)).build(games.make("escape-room"))
    >>> policy.network.sizes  # features, hidden units, actions
    (7, 64, 64, 3)
    """

    def _network(self, game: Game, space: Space) -> Policy:
        return MLP(**self._vector_inputs(game, space))


@dataclass(frozen=True, kw_only=True)
class ConvPolicy(NetworkPolicy, variant="conv"):
    """Convolutions, then a perceptron; observations must be planes of a grid, [plane, row, column].

    Raises:
        ValueError: at build, observations are not planes of a grid, or a kernel does not fit them.

    >>> import games
    >>> policy = ConvPolicy(channels=(8,), hidden_size=(16,)).build(games.make("coin-game"))
    >>> policy.planes, policy.convolutions.shapes[-1]
    ((4, 3, 3), (8, 3, 3))
    """

    channels: tuple[int, ...] = (16,)
    """Output planes of each convolutional layer."""
    kernel_size: Whole = 3
    """Rows and columns of a kernel, 1 or more."""
    stride: Whole = 1
    """Rows and columns by which the kernel moves, 1 or more."""
    padding: PaddingName = "same"
    """Zero padding, by which planes keep their size with stride 1 (same), or none (valid)."""

    def _network(self, game: Game, space: Space) -> Policy:
        discrete = isinstance(space, spaces.Discrete)
        shown = (
            "numbers: use tabular, mlp or gru" if discrete else f"of the shape {space.shape}: use mlp or gru"
        )
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
            self.channels,
            self.kernel_size,
            self.stride,
            self.padding,
            self.hidden_size,
            activation=self.activation,
        )


@dataclass(frozen=True, kw_only=True)
class GRUPolicy(NetworkPolicy, variant="gru"):
    """A gated recurrent unit, with a perceptron before it.

    >>> import games
    >>> policy = GRUPolicy(recurrent_size=16).build(games.make("escape-room"))
    >>> policy.initial_hidden_state(torch.zeros(2, policy.num_parameters), 5).shape  # agent, unit, sample
    torch.Size([2, 16, 5])
    """

    recurrent_size: Whole = 32
    """Units of the recurrent state, 1 or more."""

    def _network(self, game: Game, space: Space) -> Policy:
        return GRU(**self._vector_inputs(game, space), units=self.recurrent_size)


@dataclass(frozen=True, kw_only=True)
class MixturePolicy(NetworkPolicy, variant="mixture"):
    """A mixture of linear experts, weighted by a router, a perceptron of the observation (`Mixture`).

    Raises:
        ValueError: at build, there are more active experts than experts, alpha is not 1 although experts are
            selected, or the package entmax is missing.

    >>> import games
    >>> from bilevel.core import Schedule
    >>> settings = MixturePolicy(experts=3, alpha=Schedule.read("0:1, 100:2"))
    >>> policy = settings.build(games.make("escape-room"))
    >>> policy.experts, policy.annealed
    (3, True)
    """

    experts: Annotated[int, Range(min=2)] = 4
    """Number of experts, 2 or more."""
    alpha: Annotated[Scheduled, Range(min=1, max=2)] = 1.0
    """Alpha of entmax, from 1 (softmax, all experts) to 2 (sparsemax, few); or a schedule, such as 0:1,
    100:1, 200:2."""
    active: Annotated[int, Range(min=0)] = 0
    """Experts selected by their scores and weighted by their softmax probabilities; 0: all that entmax
    does not exclude."""

    def _network(self, game: Game, space: Space) -> Policy:
        annealed = isinstance(self.alpha, Schedule)
        alpha = self.alpha(0) if isinstance(self.alpha, Schedule) else self.alpha
        require(
            (alpha == 1 and not annealed) or importlib.util.find_spec("entmax") is not None,
            "A mixture with an alpha above 1 needs entmax: pip install 'bilevel[tasks]'.",
        )
        return Mixture(
            **self._vector_inputs(game, space),
            experts=self.experts,
            alpha=alpha,
            active=self.active,
            annealed=annealed,
        )


def _vectors(space: Space) -> tuple[int, bool, int]:
    """Length of an observation as a vector, True if one-hot encoded, and its number of axes."""
    if isinstance(space, spaces.Discrete):
        return int(space.n), True, 1
    return math.prod(space.shape), False, max(1, len(space.shape))
