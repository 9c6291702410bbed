"""A perceptron per agent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.agents.policies.layers import require_layers
from bilevel.agents.policies.protocol import FeedForward
from bilevel.encoding import as_vectors
from bilevel.networks import ActivationName, Perceptron


@dataclass(frozen=True)
class MLP(FeedForward):
    """A multilayer perceptron per agent.

    Agents share no parameters. The last layer starts small, so that the first policies are close to uniform.

    Raises:
        ValueError: there is no hidden layer, or one without units.

    >>> policy = MLP(num_features=4, num_actions=3, hidden=(8,))
    >>> theta = torch.zeros(2, policy.num_parameters)  # two agents
    >>> policy.logits(theta, torch.zeros(2, 10, 4)).shape  # agent, sample, action
    torch.Size([2, 10, 3])
    """

    num_features: int
    """Numbers of an observation."""
    num_actions: int
    """How many actions there are."""
    hidden: tuple[int, ...] = (32,)
    """Units of each hidden layer, one layer or more."""
    one_hot: bool = False
    """Whether observations are integers below `num_features`, to be one-hot encoded."""
    observation_axes: int = 1
    """Axes of an observation that is no integer; more than one (planes of a grid) are taken as one vector."""
    last_layer_scale: float = 0.1
    """Factor on the last layer's first weights."""
    activation: ActivationName = "tanh"
    """Between layers."""

    def __post_init__(self) -> None:
        require_layers("An MLP's", self.hidden)

    @property
    def network(self) -> Perceptron:
        """The network that each agent has."""
        return Perceptron((self.num_features, *self.hidden, self.num_actions), self.activation)

    @property
    def num_parameters(self) -> int:
        """Weights and biases of all layers."""
        return self.network.num_parameters

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """Normal weights of standard deviation 1 / sqrt(fan in), zero biases: float64 [*batch, parameter]."""
        return self.network.initial(generator, *batch, last_layer_scale=self.last_layer_scale)

    def logits(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Run every agent's network on its own samples (see `FeedForward.logits`)."""
        one_hot = self.num_features if self.one_hot else 0
        return self.network(
            theta, as_vectors(observations, theta, one_hot=one_hot, axes=self.observation_axes)
        )
