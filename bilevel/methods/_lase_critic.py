"""Critics of joint actions: what each agent expects of what everybody does, and had one done otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bilevel.nn import ACTIVATIONS, ActivationName, Perceptron
from bilevel.sharing import ObservationEncoder, TrajectoryLike
from games.core import require

MOST_ENTRIES = 4096
"""Larger tables are seldom visited everywhere: by default a network learns in their place."""


class JointCritic(Protocol):
    """Q_i(o_i, a): the return that agent i expects from what it sees and what everybody does."""

    @property
    def num_parameters(self) -> int:
        """Parameters of one agent."""

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """First parameters, float64 [*batch, parameter]."""

    def values(self, theta: Tensor, trajectory: TrajectoryLike) -> Tensor:
        """Q_i(o_i, a) of what was done, [seed, agent, time, episode]; theta is [seed, agent, parameter]."""

    def had_others_done(self, theta: Tensor, trajectory: TrajectoryLike) -> Tensor:
        """Q_i(o_i, a_-j, a') for every j and every a', [seed, time, episode, agent, other, action]."""


@dataclass(frozen=True)
class TableCritic:
    """A number for each observation and joint action, 0 at first.

    A row is an observation, the joint actions in its order: the last agent's action changes fastest.

    >>> TableCritic(observations=5, agents=2, actions=2).num_parameters
    20
    """

    observations: int
    """How many there are; they are the integers from 0."""
    agents: int
    """How many there are."""
    actions: int
    """How many each of them has."""

    @property
    def num_parameters(self) -> int:
        """Observations x joint actions."""
        return int(self.observations * self.actions**self.agents)

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """Zeros: nobody can do anything for anybody, as far as one knows."""
        return torch.zeros(*batch, self.num_parameters, dtype=torch.float64)

    def values(self, theta: Tensor, trajectory: TrajectoryLike) -> Tensor:
        """See `JointCritic.values`."""
        rows = self._rows(trajectory)
        return theta.gather(-1, rows.flatten(2)).reshape(rows.shape)

    def had_others_done(self, theta: Tensor, trajectory: TrajectoryLike) -> Tensor:
        """See `JointCritic.had_others_done`."""
        acted = (
            trajectory.actions.movedim(1, -1).unsqueeze(1).unsqueeze(-1)
        )  # seed, 1, time, episode, other, 1
        otherwise = torch.arange(self.actions, device=theta.device) - acted
        rows = self._rows(trajectory)[..., None, None] + otherwise * self._places(theta.device).unsqueeze(-1)
        values = theta.gather(-1, rows.flatten(2)).reshape(rows.shape)
        return values.movedim(1, 3)

    def _rows(self, trajectory: TrajectoryLike) -> Tensor:
        """Where each agent looks: integer [seed, agent, time, episode]."""
        joint = (trajectory.actions * self._places(trajectory.actions.device)[:, None, None]).sum(
            1, keepdim=True
        )
        rows: Tensor = trajectory.observations * self.actions**self.agents + joint
        return rows

    def _places(self, device: torch.device) -> Tensor:
        """What an action of each agent counts in a joint action's number."""
        places: Tensor = self.actions ** torch.arange(self.agents - 1, -1, -1, device=device)
        return places


@dataclass(frozen=True, eq=False)
class KnownPayoffs:
    """A table that is known: what a one-shot game pays, to whoever can see its table.

    >>> critic = KnownPayoffs(TableCritic(observations=1, agents=2, actions=2), torch.zeros(2, 2, 2))
    >>> critic.num_parameters
    0
    """

    table: TableCritic
    """How it is laid out."""
    payoffs: Tensor
    """[A, ..., A, agent], one axis per agent's action, then the agent."""

    @property
    def num_parameters(self) -> int:
        """Nothing is learned."""
        return 0

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """Nothing."""
        return torch.zeros(*batch, 0, dtype=torch.float64)

    def values(self, theta: Tensor, trajectory: TrajectoryLike) -> Tensor:
        """See `JointCritic.values`."""
        return self.table.values(self._like(theta), trajectory)

    def had_others_done(self, theta: Tensor, trajectory: TrajectoryLike) -> Tensor:
        """See `JointCritic.had_others_done`."""
        return self.table.had_others_done(self._like(theta), trajectory)

    def _like(self, theta: Tensor) -> Tensor:
        """The table, [seed, agent, row]."""
        return self.payoffs.to(theta).flatten(0, -2).T.expand(len(theta), -1, -1)


@dataclass(frozen=True, eq=False)
class NetworkCritic:
    """A perceptron of what one sees and of everybody's action, one-hot.

    What others might have done changes a few inputs only, so the first layer is computed once.

    Raises:
        ValueError: there is no hidden layer, a layer has no unit, or there is no such activation.

    >>> from gymnasium import spaces
    >>> critic = NetworkCritic(ObservationEncoder(spaces.Box(0, 1, (7,)), agents=3, actions=2), hidden=(8,))
    >>> critic.num_parameters  # (7 + 3 * 2 + 1) * 8 + 8 + 1
    121
    """

    encoder: ObservationEncoder
    """What it looks at."""
    hidden: tuple[int, ...] = (32,)
    """Units of each hidden layer, one layer or more."""
    activation: ActivationName = "tanh"
    """Between layers."""

    def __post_init__(self) -> None:
        require(bool(self.hidden), "A critic that is a network needs 1 hidden layer or more, but has none.")
        self.num_parameters  # noqa: B018 - refuses bad layers

    @property
    def first(self) -> Perceptron:
        """The first layer, before its activation."""
        inputs = self.encoder.features + self.encoder.agents * self.encoder.actions
        return Perceptron((inputs, self.hidden[0]), self.activation)

    @property
    def rest(self) -> Perceptron:
        """What comes after it."""
        return Perceptron((*self.hidden, 1), self.activation)

    @property
    def num_parameters(self) -> int:
        """Weights and biases of all layers."""
        return self.first.num_parameters + self.rest.num_parameters

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """Normal weights, the last layer's a tenth as large: nearly 0 is expected at first."""
        parts = (
            self.first.initial(generator, *batch),
            self.rest.initial(generator, *batch, last_layer_scale=0.1),
        )
        return torch.cat(parts, -1)

    def values(self, theta: Tensor, trajectory: TrajectoryLike) -> Tensor:
        """See `JointCritic.values`."""
        values = self._finish(theta, self._begin(theta, trajectory))
        return values.reshape(trajectory.actions.shape)

    def had_others_done(self, theta: Tensor, trajectory: TrajectoryLike) -> Tensor:
        """See `JointCritic.had_others_done`."""
        encoder, layer = self.encoder, self.first.sizes
        acted = encoder.done(trajectory, theta).flatten(2, 3)
        weights = theta[..., : layer[0] * layer[1]].unflatten(-1, layer)[..., encoder.features :, :]
        rows = weights.unflatten(-2, (encoder.agents, encoder.actions))  # seed, agent, other, action, unit
        taken = torch.einsum("sjxa,sijah->sixjh", acted, rows)  # x: steps of episodes
        begun = self._begin(theta, trajectory).unsqueeze(3) - taken
        otherwise = begun.unsqueeze(4) + rows.unsqueeze(2)
        seeds, agents, times, episodes = trajectory.actions.shape
        values = self._finish(theta, otherwise.flatten(2, 4))
        return values.reshape(seeds, agents, times, episodes, agents, encoder.actions).movedim(1, 3)

    def _begin(self, theta: Tensor, trajectory: TrajectoryLike) -> Tensor:
        """The first layer before its activation, [seed, agent, time * episode, unit]."""
        seen = self.encoder.seen(trajectory, theta).flatten(2, 3)
        acted = self.encoder.done(trajectory, theta).movedim(1, -2).flatten(-2)
        acted = acted.flatten(1, 2).unsqueeze(1).expand(-1, self.encoder.agents, -1, -1)
        return self.first(theta[..., : self.first.num_parameters], torch.cat((seen, acted), -1))

    def _finish(self, theta: Tensor, begun: Tensor) -> Tensor:
        """What comes after the first layer: [seed, agent, sample, unit] -> [seed, agent, sample]."""
        units = ACTIVATIONS[self.activation](begun)
        out: Tensor = self.rest(theta[..., self.first.num_parameters :], units)
        return out.squeeze(-1)
