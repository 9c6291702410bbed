"""Meta-values of `meva`: a network on joint policies, with targets and losses along learning trajectories."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Critic(NamedTuple):
    """Inputs of the meta-value network besides policies."""

    parameters: Tensor
    """[seed, parameter]."""
    discounts: Tensor
    """Meta-discount of each agent, [seed, sample, agent]."""
    flips: Tensor | None = None
    """Signs of the last hidden units, 1 or -1, [seed, sample, agent, unit]; None: all 1."""


@dataclass(frozen=True)
class MetaValueNetwork:
    """Quantiles of both agents' meta-values, as a function of two policies' parameters and meta-discounts.

    Each agent's policy (through the sigmoid) and meta-discount become features by layers that both agents
    share; an agent's features, its own before the other's, then become its quantiles. Layers are followed by
    layer normalization and the GELU, the last hidden one by tanh.

    >>> network = MetaValueNetwork(num_parameters=5, hidden_size=8, quantiles=4)
    >>> theta, discounts = torch.zeros(3, 7, 2, 5), torch.zeros(3, 7, 2)  # seed, sample, agent
    >>> critic = Critic(torch.zeros(3, network.size), discounts)
    >>> network.quantile_values(critic, theta, theta).shape
    torch.Size([3, 7, 2, 4])
    """

    num_parameters: int
    """Number of parameters of a policy."""
    hidden_size: int
    """Units of each hidden layer."""
    quantiles: int
    """Number of quantiles of an agent's meta-value."""
    equivariant: bool = True
    """Treat both agents alike; else scale and shift features separately for each agent."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of each group of parameters."""
        units = self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "policy": (self.num_parameters, units),
            "policy_bias": (1, units),
            "policy_hidden": (units, units),
            "discount": (1, units),
            "discount_bias": (1, units),
            "both": (2 * units, units),
            "agents": (2 * units, units),
            "last": (units, units),
            "output": (units, self.quantiles),
            "output_bias": (1, self.quantiles),
        }
        for name in ("policy_hidden", "both", "agents", "last"):
            shapes |= {f"{name}_scale": (1, units), f"{name}_shift": (1, units)}
        if not self.equivariant:
            shapes |= {"agent_scale": (2, 2 * units), "agent_shift": (2, 2 * units)}
        return shapes

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def initial(self, generator: torch.Generator) -> Tensor:
        """Draw initial parameters of one seed, float64 [parameter]."""
        drawn = []
        for name, (inputs, outputs) in self.shapes.items():
            if name.endswith("_scale"):
                drawn.append(torch.ones(inputs * outputs, dtype=torch.float64))
            elif name.endswith(("_bias", "_shift")):
                drawn.append(torch.zeros(inputs * outputs, dtype=torch.float64))
            else:
                normal = torch.randn(inputs * outputs, generator=generator, dtype=torch.float64)
                drawn.append(normal / math.sqrt(inputs))
        return torch.cat(drawn)

    def __call__(self, critic: Critic, own: Tensor, others: Tensor) -> Tensor:
        """Compute each agent's meta-value, the mean of its quantiles, [seed, sample, agent].

        Args:
            critic: the network's parameters and meta-discounts.
            own: policies as each agent differentiates its own, [seed, sample, agent, parameter].
            others: the same policies as an agent sees the other's.
        """
        return self.quantile_values(critic, own, others).mean(-1)

    def quantile_values(self, critic: Critic, own: Tensor, others: Tensor) -> Tensor:
        """Compute quantiles of each agent's meta-value, [seed, sample, agent, quantile]."""
        groups = self._groups(critic.parameters)
        seen = self._features(groups, critic.discounts, own)
        known = seen if others is own else self._features(groups, critic.discounts, others)
        features = self._layer(groups, "agents", torch.cat((seen, known.flip(-2)), -1))
        features = self._layer(groups, "last", functional.gelu(features)).tanh()
        if critic.flips is not None:
            features = features * critic.flips
        return _product(features, groups["output"]) + groups["output_bias"].unsqueeze(1)

    def _features(self, groups: dict[str, Tensor], discounts: Tensor, theta: Tensor) -> Tensor:
        """Features of each agent's policy and meta-discount, [seed, sample, agent, unit]."""
        policy = _product(theta.sigmoid(), groups["policy"]) + groups["policy_bias"].unsqueeze(1)
        policy = functional.gelu(self._layer(groups, "policy_hidden", functional.gelu(policy)))
        discount = discounts.unsqueeze(-1) * groups["discount"].unsqueeze(1)
        discount = discount + groups["discount_bias"].unsqueeze(1)
        both = torch.cat((policy, functional.gelu(discount)), -1)
        if not self.equivariant:
            both = both * groups["agent_scale"].unsqueeze(1) + groups["agent_shift"].unsqueeze(1)
        return functional.gelu(self._layer(groups, "both", both))

    def _layer(self, groups: dict[str, Tensor], name: str, inputs: Tensor) -> Tensor:
        """A linear layer without bias, and layer normalization."""
        normalized = functional.layer_norm(_product(inputs, groups[name]), (self.hidden_size,))
        return normalized * groups[f"{name}_scale"].unsqueeze(1) + groups[f"{name}_shift"].unsqueeze(1)

    def _groups(self, parameters: Tensor) -> dict[str, Tensor]:
        """Split [seed, parameter] into groups, [seed, *shape]."""
        shapes = self.shapes
        flat = parameters.split([math.prod(shape) for shape in shapes.values()], -1)
        return {name: part.unflatten(-1, shapes[name]) for name, part in zip(shapes, flat, strict=True)}


def _product(inputs: Tensor, weights: Tensor) -> Tensor:
    """Multiply rows [seed, sample, agent, input] by each seed's matrix, [seed, input, output]."""
    product: Tensor = (inputs.flatten(1, 2) @ weights).unflatten(1, inputs.shape[1:3])
    return product


def lambda_targets(values: Tensor, bootstrap: Tensor, discount: Tensor, td_lambda: float) -> Tensor:
    """TD(lambda) targets of meta-values along a trajectory of policies.

    The meta-value of joint policies is that of the policies after them, U_t = (1 - gamma) f_(t+1) + gamma
    U_(t+1), so that the target of U_t is (1 - gamma) f_(t+1) + gamma ((1 - lambda) U_(t+1) + lambda
    target_(t+1)), and that of the last step bootstraps.

    Args:
        values: f_(t+1), the values of the policies after each step, [time, ...].
        bootstrap: U_(t+1), [time, ..., quantile].
        discount: gamma, [...].
        td_lambda: from 0 (one step) to 1 (the whole trajectory).

    Returns:
        [time, ..., quantile].

    >>> after = torch.tensor([1.0, 2.0])
    >>> lambda_targets(after, torch.zeros(2, 1), torch.tensor(0.5), td_lambda=1.0).flatten()
    tensor([1., 1.])
    """
    discount, values = discount.unsqueeze(-1), values.unsqueeze(-1)
    target, found = bootstrap[-1], []
    for value, following in zip(values.flip(0), bootstrap.flip(0), strict=True):
        target = (1 - discount) * value + discount * ((1 - td_lambda) * following + td_lambda * target)
        found.append(target)
    return torch.stack(found[::-1])


def quantile_loss(predicted: Tensor, targets: Tensor) -> Tensor:
    """Quantile Huber loss between predicted quantiles and samples of the target, [...].

    Args:
        predicted: quantiles at the midpoints (k + 1/2) / Q, [..., quantile].
        targets: samples, [..., sample].

    Source:
        Dabney et al., Distributional Reinforcement Learning with Quantile Regression, arXiv 1710.10044.

    >>> quantile_loss(torch.tensor([0.0]), torch.tensor([3.0]))  # 1/2 of the Huber loss of 3
    tensor(1.2500)
    """
    quantiles = predicted.shape[-1]
    midpoints = (torch.arange(quantiles, dtype=predicted.dtype, device=predicted.device) + 0.5) / quantiles
    errors = targets.unsqueeze(-2) - predicted.unsqueeze(-1)
    size = errors.abs()
    huber = torch.where(size <= 1, errors.square() / 2, size - 0.5)
    below = (errors < 0).to(errors)
    return ((midpoints.unsqueeze(-1) - below).abs() * huber).mean(-1).sum(-1)
