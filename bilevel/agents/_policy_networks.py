"""Policies that are networks, one for each agent: perceptrons, convolutions, gated recurrent units."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.agents._policy import FeedForward
from bilevel.nn import (
    ACTIVATIONS,
    ActivationName,
    Convolutions,
    GatedCell,
    PaddingName,
    Perceptron,
    as_vectors,
)
from games.core import require


def require_layers(owner: str, hidden: tuple[int, ...]) -> None:
    """Raise ValueError unless there is a hidden layer, and each has units."""
    require(
        bool(hidden) and min(hidden) > 0,
        f"{owner} hidden layers need 1 unit or more each, but hidden is {hidden}.",
    )


@dataclass(frozen=True)
class MLP(FeedForward):
    """A multilayer perceptron per agent.

    Agents share no parameters. The last layer's initial weights are small, so that initial policies are
    nearly uniform.

    Raises:
        ValueError: there is no hidden layer, or one without units.

    >>> policy = MLP(num_features=4, num_actions=3, hidden=(8,))
    >>> theta = torch.zeros(2, policy.num_parameters)  # two agents
    >>> policy.logits(theta, torch.zeros(2, 10, 4)).shape  # agent, sample, action
    torch.Size([2, 10, 3])
    """

    num_features: int
    """Number of features of an observation."""
    num_actions: int
    """Number of actions."""
    hidden: tuple[int, ...] = (32,)
    """Units of each hidden layer, one layer or more."""
    one_hot: bool = False
    """One-hot encode observations, integers below `num_features`."""
    observation_axes: int = 1
    """Number of axes of an observation that is not an integer; more than one (planes) are flattened."""
    last_layer_scale: float = 0.1
    """Factor on the last layer's initial weights."""
    activation: ActivationName = "tanh"
    """Activation between layers."""

    def __post_init__(self) -> None:
        require_layers("An MLP's", self.hidden)

    @property
    def network(self) -> Perceptron:
        return Perceptron((self.num_features, *self.hidden, self.num_actions), self.activation)

    @property
    def num_parameters(self) -> int:
        return self.network.num_parameters

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        return self.network.initial(generator, *batch, last_layer_scale=self.last_layer_scale)

    def logits(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Run every agent's network on its own samples (see `FeedForward.logits`)."""
        one_hot = self.num_features if self.one_hot else 0
        return self.network(
            theta, as_vectors(observations, theta, one_hot=one_hot, axes=self.observation_axes)
        )


@dataclass(frozen=True)
class Convolutional(FeedForward):
    """Convolutional layers, then a multilayer perceptron, per agent; see `bilevel.nn.Convolutions`.

    The last layer's initial weights are small, so that initial policies are nearly uniform.

    Raises:
        ValueError: there is no hidden layer, or one without units; or `Convolutions` refuses its settings.

    >>> policy = Convolutional((4, 3, 3), num_actions=5, channels=(6,), hidden=(8,))
    >>> theta = torch.zeros(2, policy.num_parameters)  # two agents
    >>> policy.logits(theta, torch.zeros(2, 10, 4, 3, 3)).shape  # agent, sample, action
    torch.Size([2, 10, 5])
    """

    planes: tuple[int, int, int]
    """Shape of an observation: planes, rows, columns."""
    num_actions: int
    """Number of actions."""
    channels: tuple[int, ...] = (16,)
    """Output planes of each convolutional layer, one layer or more."""
    kernel: int = 3
    """Rows, and columns, of a kernel."""
    stride: int = 1
    """Rows, and columns, by which the kernel moves."""
    padding: PaddingName = "same"
    """Zero padding of planes ("same") or none ("valid")."""
    hidden: tuple[int, ...] = (32,)
    """Units of each hidden layer of the perceptron, one layer or more."""
    last_layer_scale: float = 0.1
    """Factor on the last layer's initial weights."""
    activation: ActivationName = "tanh"
    """Activation after every layer but the last."""

    def __post_init__(self) -> None:
        require_layers("A convolutional policy's", self.hidden)
        _ = self.convolutions

    @property
    def convolutions(self) -> Convolutions:
        """Convolutional layers of each agent."""
        return Convolutions(
            self.planes, self.channels, self.kernel, self.stride, self.padding, self.activation
        )

    @property
    def network(self) -> Perceptron:
        return Perceptron((self.convolutions.num_outputs, *self.hidden, self.num_actions), self.activation)

    @property
    def num_parameters(self) -> int:
        return self.convolutions.num_parameters + self.network.num_parameters

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        first = self.convolutions.initial(generator, *batch)
        last = self.network.initial(generator, *batch, last_layer_scale=self.last_layer_scale)
        return torch.cat((first, last), -1)

    def logits(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Run every agent's network on its own samples (see `FeedForward.logits`)."""
        first, last = theta.split((self.convolutions.num_parameters, self.network.num_parameters), -1)
        return self.network(last, self.convolutions(first, observations.to(theta.dtype)).flatten(-3))


@dataclass(frozen=True)
class GRU:
    """A perceptron encoder, a gated recurrent unit, and a linear readout to logits, per agent.

    The initial recurrent state is zeros. Losses unroll whole episodes: backpropagation through time reaches
    the first step, and its time and memory grow with the game's horizon. The last layer's initial weights are
    small, so that initial policies are nearly uniform.

    Raises:
        ValueError: there is no hidden layer, or one without units; or the recurrent state has none.

    >>> policy = GRU(num_features=4, num_actions=3, hidden=(8,), units=6)
    >>> theta = torch.zeros(2, policy.num_parameters)  # two agents
    >>> hidden_state = policy.initial_hidden_state(theta, samples=10)
    >>> logits, hidden_state = policy.step(theta, torch.zeros(2, 10, 4), hidden_state)
    >>> logits.shape, hidden_state.shape  # agent, sample, action; agent, unit, sample
    (torch.Size([2, 10, 3]), torch.Size([2, 6, 10]))
    >>> policy.unroll(theta, torch.zeros(2, 7, 10, 4)).shape  # agent, time, episode, action
    torch.Size([2, 7, 10, 3])
    """

    num_features: int
    """Number of features of an observation."""
    num_actions: int
    """Number of actions."""
    hidden: tuple[int, ...] = (32,)
    """Units of each layer of the encoder, one layer or more."""
    units: int = 32
    """Units of the recurrent state, 1 or more."""
    one_hot: bool = False
    """One-hot encode observations, integers below `num_features`."""
    observation_axes: int = 1
    """Number of axes of an observation that is not an integer; more than one (planes) are flattened."""
    last_layer_scale: float = 0.1
    """Factor on the last layer's initial weights."""
    activation: ActivationName = "tanh"
    """Activation after each layer of the encoder."""

    def __post_init__(self) -> None:
        require_layers("A GRU's", self.hidden)
        require(self.units >= 1, f"A GRU has 1 recurrent unit or more, not {self.units}.")
        _ = self.encoder

    @property
    def encoder(self) -> Perceptron:
        """Perceptron from an observation to the cell's input, without the last activation."""
        return Perceptron((self.num_features, *self.hidden), self.activation)

    @property
    def cell(self) -> GatedCell:
        """The recurrent cell."""
        return GatedCell(self.hidden[-1], self.units)

    @property
    def readout(self) -> Perceptron:
        """Linear layer from the recurrent state to logits."""
        return Perceptron((self.units, self.num_actions))

    @property
    def num_parameters(self) -> int:
        return sum(self._sizes)

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        parts = (
            self.encoder.initial(generator, *batch),
            self.cell.initial(generator, *batch),
            self.readout.initial(generator, *batch, last_layer_scale=self.last_layer_scale),
        )
        return torch.cat(parts, -1)

    def initial_hidden_state(self, theta: Tensor, samples: int) -> Tensor:
        return theta.new_zeros(*theta.shape[:-1], self.units, samples)

    def step(self, theta: Tensor, observations: Tensor, hidden_state: Tensor) -> tuple[Tensor, Tensor]:
        encoder, cell, readout = theta.split(self._sizes, -1)
        weights = self.cell.weights(cell)
        hidden_state = self.cell.step(
            weights, self.cell.drive(weights, self._encoded(encoder, observations)), hidden_state
        )
        return self.readout(readout, hidden_state.mT), hidden_state

    def unroll(self, theta: Tensor, observations: Tensor) -> Tensor:
        time = theta.ndim - 1
        steps, episodes = observations.shape[time : time + 2]
        encoder, cell, readout = theta.split(self._sizes, -1)
        weights = self.cell.weights(cell)
        encoded = self._encoded(encoder, observations.flatten(time, time + 1))
        hidden_state, hidden_states = self.initial_hidden_state(theta, episodes), []
        for driven in self.cell.drive(weights, encoded).unflatten(-1, (steps, episodes)).unbind(-2):
            hidden_state = self.cell.step(weights, driven, hidden_state)
            hidden_states.append(hidden_state)
        logits = self.readout(readout, torch.stack(hidden_states, -2).flatten(-2).mT)
        whole: Tensor = logits.unflatten(-2, (steps, episodes))
        return whole

    def _encoded(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Encode the cell's input: [..., agent, sample, *shape] -> [..., agent, input, sample]."""
        one_hot = self.num_features if self.one_hot else 0
        vectors = as_vectors(observations, theta, one_hot=one_hot, axes=self.observation_axes)
        return ACTIVATIONS[self.activation](self.encoder(theta, vectors)).mT

    @property
    def _sizes(self) -> tuple[int, int, int]:
        return self.encoder.num_parameters, self.cell.num_parameters, self.readout.num_parameters
