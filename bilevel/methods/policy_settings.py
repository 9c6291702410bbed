"""Which policy agents have, as settings, and whether it fits a game."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from gymnasium import spaces

from bilevel.agents.distributions import distribution_of
from bilevel.agents.policies import GRU, MLP, Convolutional, Gaussian, Numbered, Policy, Tabular
from bilevel.convolutions import PADDINGS, PaddingName
from bilevel.errors import require, require_name
from bilevel.networks import ACTIVATIONS, ActivationName
from games.base import Game, numbered_actions

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
