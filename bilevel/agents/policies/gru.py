"""A policy that remembers: a gated recurrent unit per agent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.agents.policies.layers import require_layers
from bilevel.encoding import as_vectors
from bilevel.errors import require
from bilevel.networks import ACTIVATIONS, ActivationName, Perceptron
from bilevel.recurrent import GatedCell


@dataclass(frozen=True)
class GRU:
    """A perceptron that encodes observations, a gated cell that remembers, and a layer to logits, per agent.

    Every episode starts with a memory of zeros. Losses unroll whole episodes, so derivatives go back through
    time to the first step; time, and what a derivative keeps in memory, grow with the game's horizon. The
    last layer starts small, so that the first policies are close to uniform.

    Raises:
        ValueError: there is no hidden layer, or one without units; or no unit remembers.

    >>> policy = GRU(num_features=4, num_actions=3, hidden=(8,), units=6)
    >>> theta = torch.zeros(2, policy.num_parameters)  # two agents
    >>> memory = policy.memory(theta, samples=10)
    >>> logits, memory = policy.step(theta, torch.zeros(2, 10, 4), memory)
    >>> logits.shape, memory.shape  # agent, sample, action; agent, unit, sample
    (torch.Size([2, 10, 3]), torch.Size([2, 6, 10]))
    >>> policy.unroll(theta, torch.zeros(2, 7, 10, 4)).shape  # agent, time, episode, action
    torch.Size([2, 7, 10, 3])
    """

    num_features: int
    """Numbers of an observation."""
    num_actions: int
    """How many actions there are."""
    hidden: tuple[int, ...] = (32,)
    """Units of each layer that encodes observations, one layer or more."""
    units: int = 32
    """Numbers that are remembered, 1 or more."""
    one_hot: bool = False
    """Whether observations are integers below `num_features`, to be one-hot encoded."""
    observation_axes: int = 1
    """Axes of an observation that is no integer; more than one (planes of a grid) are taken as one vector."""
    last_layer_scale: float = 0.1
    """Factor on the last layer's first weights."""
    activation: ActivationName = "tanh"
    """After each layer that encodes observations."""

    def __post_init__(self) -> None:
        require_layers("A GRU's", self.hidden)
        require(self.units >= 1, f"A GRU remembers with 1 unit or more, not {self.units}.")
        _ = self.encoder

    @property
    def encoder(self) -> Perceptron:
        """From an observation to what comes into the cell, but for the last activation."""
        return Perceptron((self.num_features, *self.hidden), self.activation)

    @property
    def cell(self) -> GatedCell:
        """What remembers."""
        return GatedCell(self.hidden[-1], self.units)

    @property
    def readout(self) -> Perceptron:
        """From what is remembered to logits, one layer."""
        return Perceptron((self.units, self.num_actions))

    @property
    def num_parameters(self) -> int:
        """Weights and biases: the encoder's, the cell's, the readout's, in this order."""
        return sum(self._sizes)

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """Normal weights of standard deviation 1 / sqrt(fan in), zero biases: float64 [*batch, parameter]."""
        parts = (
            self.encoder.initial(generator, *batch),
            self.cell.initial(generator, *batch),
            self.readout.initial(generator, *batch, last_layer_scale=self.last_layer_scale),
        )
        return torch.cat(parts, -1)

    def memory(self, theta: Tensor, samples: int) -> Tensor:
        """Zeros, [..., agent, unit, sample]."""
        return theta.new_zeros(*theta.shape[:-1], self.units, samples)

    def step(self, theta: Tensor, observations: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """See `Policy.step`."""
        encoder, cell, readout = theta.split(self._sizes, -1)
        weights = self.cell.weights(cell)
        memory = self.cell.step(
            weights, self.cell.drive(weights, self._encoded(encoder, observations)), memory
        )
        return self.readout(readout, memory.mT), memory

    def unroll(self, theta: Tensor, observations: Tensor) -> Tensor:
        """See `Policy.unroll`: all steps are encoded at once, remembered one by one, and read out at once."""
        time = theta.ndim - 1
        steps, episodes = observations.shape[time : time + 2]
        encoder, cell, readout = theta.split(self._sizes, -1)
        weights = self.cell.weights(cell)
        encoded = self._encoded(encoder, observations.flatten(time, time + 1))
        memory, memories = self.memory(theta, episodes), []
        for driven in self.cell.drive(weights, encoded).unflatten(-1, (steps, episodes)).unbind(-2):
            memory = self.cell.step(weights, driven, memory)
            memories.append(memory)
        logits = self.readout(readout, torch.stack(memories, -2).flatten(-2).mT)
        whole: Tensor = logits.unflatten(-2, (steps, episodes))
        return whole

    def _encoded(self, theta: Tensor, observations: Tensor) -> Tensor:
        """What comes into the cell: [..., agent, sample, *shape] -> [..., agent, input, sample]."""
        one_hot = self.num_features if self.one_hot else 0
        vectors = as_vectors(observations, theta, one_hot=one_hot, axes=self.observation_axes)
        return ACTIVATIONS[self.activation](self.encoder(theta, vectors)).mT

    @property
    def _sizes(self) -> tuple[int, int, int]:
        return self.encoder.num_parameters, self.cell.num_parameters, self.readout.num_parameters
