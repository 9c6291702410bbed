"""Policies that are mixtures of experts: a router weighs linear experts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.agents._policy import FeedForward
from bilevel.agents._policy_networks import MLP, require_layers
from bilevel.core import Range
from bilevel.nn import (
    ActivationName,
    ExpertRouting,
    Perceptron,
    as_vectors,
    dense_routing,
    entmax,
    top_k_routing,
)
from games.core import require


@dataclass(frozen=True)
class Mixture(FeedForward):
    """A mixture of experts per agent: logits are the sum of linear experts' outputs, times their gates.

    A perceptron, the router, computes a score of each expert from the observation. The gates are alpha-entmax
    of the scores, from softmax (alpha = 1, all experts) to sparsemax (alpha = 2, few), or, with `active`, the
    softmax probabilities of the experts with the largest scores. With `annealed`, the first parameter of
    theta is alpha, from 1 to 2: it has no gradient, and `with_alpha` sets it. The initial weights of router
    and experts are small, so that initial policies and gates are nearly uniform.

    Raises:
        ValueError: there is no hidden layer, one without units, fewer than two experts, more active experts
            than experts, alpha is out of range, or not 1 with active experts.
    Source:
        Shazeer et al., Outrageously large neural networks, arXiv 1701.06538; Fedus et al., Switch
        Transformers, arXiv 2101.03961.

    >>> policy = Mixture(num_features=4, num_actions=3, experts=2, hidden=(8,))
    >>> theta = torch.zeros(5, policy.num_parameters)  # five agents
    >>> policy.logits(theta, torch.zeros(5, 10, 4)).shape  # agent, sample, action
    torch.Size([5, 10, 3])
    >>> policy.routing(theta, torch.zeros(5, 10, 4)).gates[0, 0]
    tensor([0.5000, 0.5000])
    """

    num_features: int
    """Number of features of an observation."""
    num_actions: int
    """Number of actions."""
    experts: int = 4
    """Number of experts, 2 or more."""
    hidden: tuple[int, ...] = (32,)
    """Units of each hidden layer of the router, one layer or more."""
    alpha: float = 1.0
    """Alpha of entmax, from 1 (softmax) to 2 (sparsemax); with `annealed`, its initial value."""
    active: int = 0
    """Experts selected by their scores; 0: by entmax."""
    annealed: bool = False
    """Take alpha from the first parameter."""
    one_hot: bool = False
    """One-hot encode observations, integers below `num_features`."""
    observation_axes: int = 1
    """Number of axes of an observation that is not an integer; more than one (planes) are flattened."""
    last_layer_scale: float = 0.1
    """Factor on the initial weights of the router's last layer and of the experts."""
    activation: ActivationName = "tanh"
    """Activation between the router's layers."""

    def __post_init__(self) -> None:
        require_layers("A router's", self.hidden)
        require(self.experts >= 2, f"A mixture has 2 experts or more, not {self.experts}.")
        require(
            0 <= self.active <= self.experts,
            f"A router selects from 1 to all {self.experts} experts (or 0: by entmax), not {self.active}: "
            "choose fewer active experts, or more experts.",
        )
        Range(min=1, max=2).require("alpha", self.alpha)
        require(
            not self.active or (self.alpha == 1 and not self.annealed),
            f"Active experts are weighted by softmax, alpha 1, and an alpha of {self.alpha:g} or a schedule "
            "of it would not be used: leave alpha at 1, or active at 0.",
        )

    @property
    def router(self) -> Perceptron:
        """Perceptron from an observation to the experts' scores."""
        return Perceptron((self.num_features, *self.hidden, self.experts), self.activation)

    @property
    def linear_experts(self) -> Perceptron:
        """All experts' linear layers, one after the other."""
        return Perceptron((self.num_features, self.experts * self.num_actions))

    @property
    def num_parameters(self) -> int:
        return sum(self._sizes)

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        networks = [
            network.initial(generator, *batch, last_layer_scale=self.last_layer_scale)
            for network in (self.router, self.linear_experts)
        ]
        alpha = torch.full((*batch, int(self.annealed)), self.alpha, dtype=torch.float64)
        return torch.cat((alpha, *networks), -1)

    def with_alpha(self, theta: Tensor, alpha: float) -> Tensor:
        """Set alpha in parameters [..., parameter], also where other parameters follow, as a critic's.

        >>> policy = Mixture(num_features=4, num_actions=3, annealed=True)
        >>> float(policy.with_alpha(torch.zeros(policy.num_parameters), 1.5)[0])
        1.5
        """
        return torch.cat((torch.full_like(theta[..., :1], alpha), theta[..., 1:]), -1)

    def routing(self, theta: Tensor, observations: Tensor) -> ExpertRouting:
        """Compute gates, [..., agent, sample, expert], of observations as those of `logits`."""
        return self._routing(theta, self._vectors(theta, observations))

    def logits(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Run every agent's mixture on its own samples (see `FeedForward.logits`)."""
        vectors = self._vectors(theta, observations)
        outputs = self.linear_experts(theta.split(self._sizes, -1)[2], vectors)
        by_expert = outputs.unflatten(-1, (self.experts, self.num_actions))
        gates = self._routing(theta, vectors).gates
        logits: Tensor = (gates.unsqueeze(-1) * by_expert).sum(-2)
        return logits

    def critic(self) -> MLP:
        """Perceptron of values, with the router's hidden layers."""
        return MLP(
            self.num_features,
            1,
            self.hidden,
            self.one_hot,
            self.observation_axes,
            self.last_layer_scale,
            self.activation,
        )

    def _routing(self, theta: Tensor, vectors: Tensor) -> ExpertRouting:
        alpha, router, _ = theta.split(self._sizes, -1)
        scores = self.router(router, vectors)
        if self.active:
            return top_k_routing(scores, self.active)
        if self.annealed:
            return dense_routing(entmax(scores, alpha.detach().unsqueeze(-2)))
        return dense_routing(entmax(scores, 1.0 if self.alpha == 1 else scores.new_tensor(self.alpha)))

    def _vectors(self, theta: Tensor, observations: Tensor) -> Tensor:
        one_hot = self.num_features if self.one_hot else 0
        return as_vectors(observations, theta, one_hot=one_hot, axes=self.observation_axes)

    @property
    def _sizes(self) -> tuple[int, int, int]:
        return int(self.annealed), self.router.num_parameters, self.linear_experts.num_parameters
