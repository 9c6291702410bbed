"""Critics of joint actions, and their counterfactual values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.nn import ACTIVATIONS, ActivationName, Perceptron
from bilevel.sharing import ObservationEncoder, Trajectory
from games.core import require

MOST_ENTRIES = 4096
"""Entries of the largest table that is chosen by default: in larger ones many are never visited."""


@dataclass(frozen=True, eq=False)
class TableCritic:
    """Tabular critic Q_i(o_i, a): agent i's expected return by its observation and the joint action.

    The last agent's action varies fastest. Values are learned, initially 0, or those of a payoff table.
    """

    observations: int
    """Number of observations, the integers from 0."""
    agents: int
    actions: int
    payoffs: Tensor | None = None
    """Payoffs of a one-shot game, [A, ..., A, agent], one axis per agent's action; None: learned."""

    @property
    def num_parameters(self) -> int:
        """Number of parameters of one agent."""
        return int(self.observations * self.actions**self.agents) if self.payoffs is None else 0

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """Draw parameters, float64 [*batch, parameter]."""
        return torch.zeros(*batch, self.num_parameters, dtype=torch.float64)

    def values(self, theta: Tensor, trajectory: Trajectory) -> Tensor:
        """Q_i(o_i, a), [seed, agent, time, episode]; theta is [seed, agent, parameter]."""
        rows = self._rows(trajectory)
        return self._table(theta).gather(-1, rows.flatten(2)).reshape(rows.shape)

    def counterfactual_values(self, theta: Tensor, trajectory: Trajectory) -> Tensor:
        """Q_i(o_i, a_-j, a') for all agents j and actions a', [seed, time, episode, agent, other, action]."""
        acted = trajectory.actions.movedim(1, -1)[:, None, ..., None]  # seed, 1, time, episode, other, 1
        change = torch.arange(self.actions, device=theta.device) - acted
        rows = self._rows(trajectory)[..., None, None] + change * self._places(theta.device).unsqueeze(-1)
        values = self._table(theta).gather(-1, rows.flatten(2)).reshape(rows.shape)
        return values.movedim(1, 3)

    def _table(self, theta: Tensor) -> Tensor:
        """Values, [seed, agent, row]."""
        if self.payoffs is None:
            return theta
        return self.payoffs.to(theta).flatten(0, -2).T.expand(len(theta), -1, -1)

    def _rows(self, trajectory: Trajectory) -> Tensor:
        """Table indices, integer [seed, agent, time, episode]."""
        places = self._places(trajectory.actions.device)
        joint = (trajectory.actions * places[:, None, None]).sum(1, keepdim=True)
        rows: Tensor = trajectory.observations * self.actions**self.agents + joint
        return rows

    def _places(self, device: torch.device) -> Tensor:
        """The place value of each agent's action in a joint action's index."""
        places: Tensor = self.actions ** torch.arange(self.agents - 1, -1, -1, device=device)
        return places


@dataclass(frozen=True, eq=False)
class NetworkCritic:
    """Perceptron critic of the agent's observation and the one-hot joint action.

    Counterfactual actions change a few inputs only, so the first layer is computed once and updated.
    """

    encoder: ObservationEncoder
    hidden: tuple[int, ...] = (32,)
    activation: ActivationName = "tanh"

    def __post_init__(self) -> None:
        require(bool(self.hidden), "A critic that is a network needs 1 hidden layer or more, but has none.")
        self.num_parameters  # noqa: B018 - refuses bad layers

    @property
    def first(self) -> Perceptron:
        """First layer, before its activation."""
        inputs = self.encoder.features + self.encoder.agents * self.encoder.actions
        return Perceptron((inputs, self.hidden[0]), self.activation)

    @property
    def rest(self) -> Perceptron:
        """Layers after the first."""
        return Perceptron((*self.hidden, 1), self.activation)

    @property
    def num_parameters(self) -> int:
        return self.first.num_parameters + self.rest.num_parameters

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """Draw normal weights, the last layer's a tenth as large, so that values are nearly 0."""
        first = self.first.initial(generator, *batch)
        return torch.cat((first, self.rest.initial(generator, *batch, last_layer_scale=0.1)), -1)

    def values(self, theta: Tensor, trajectory: Trajectory) -> Tensor:
        values = self._later_layers(theta, self._first_layer(theta, trajectory))
        return values.reshape(trajectory.actions.shape)

    def counterfactual_values(self, theta: Tensor, trajectory: Trajectory) -> Tensor:
        encoder, layer = self.encoder, self.first.sizes
        acted = encoder.encode_actions(trajectory, theta).flatten(2, 3)
        weights = theta[..., : layer[0] * layer[1]].unflatten(-1, layer)[..., encoder.features :, :]
        rows = weights.unflatten(-2, (encoder.agents, encoder.actions))  # seed, agent, other, action, unit
        taken = torch.einsum("sjxa,sijah->sixjh", acted, rows)  # x: steps of episodes
        without_other = self._first_layer(theta, trajectory).unsqueeze(3) - taken
        counterfactual = without_other.unsqueeze(4) + rows.unsqueeze(2)
        seeds, agents, times, episodes = trajectory.actions.shape
        values = self._later_layers(theta, counterfactual.flatten(2, 4))
        return values.reshape(seeds, agents, times, episodes, agents, encoder.actions).movedim(1, 3)

    def _first_layer(self, theta: Tensor, trajectory: Trajectory) -> Tensor:
        """First layer before its activation, [seed, agent, time * episode, unit]."""
        seen = self.encoder.encode_observations(trajectory, theta).flatten(2, 3)
        acted = self.encoder.encode_actions(trajectory, theta).movedim(1, -2).flatten(-2)
        acted = acted.flatten(1, 2).unsqueeze(1).expand(-1, self.encoder.agents, -1, -1)
        return self.first(theta[..., : self.first.num_parameters], torch.cat((seen, acted), -1))

    def _later_layers(self, theta: Tensor, preactivation: Tensor) -> Tensor:
        """Layers after the first: [seed, agent, sample, unit] -> [seed, agent, sample]."""
        units = ACTIVATIONS[self.activation](preactivation)
        out: Tensor = self.rest(theta[..., self.first.num_parameters :], units)
        return out.squeeze(-1)


JointCritic = TableCritic | NetworkCritic
