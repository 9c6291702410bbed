"""Action distributions of policies: softmax over Discrete, squashed Gaussian in a Box."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional

from bilevel.agents._surrogates import chosen, divergence, entropy
from games.core import Game, cached_constants, constant, normal, uniform

NODES = 40
"""Nodes of the Gauss-Hermite quadrature of entropies: exact to 1e-6 nats for standard deviations up to 1."""
ILLEGAL = -1e9
"""Logit of an illegal action: probability 0; finite, as 0 x infinity would make the entropy NaN."""


def allowed(logits: Tensor, legal: Tensor | None) -> Tensor:
    """Mask the logits of illegal actions.

    Args:
        logits: [..., action].
        legal: legal actions, boolean [..., action]; None: all.

    Returns:
        Logits, [..., action], by which illegal actions have probability 0.

    >>> allowed(torch.zeros(3), torch.tensor([True, False, True])).softmax(-1)
    tensor([0.5000, 0.0000, 0.5000])
    """
    return logits if legal is None else logits.masked_fill(~legal, ILLEGAL)


def draw_actions(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Sample from softmax policies: logits [..., action] -> integer [...].

    By inverse transform sampling, one uniform draw each: an action of probability 0 is never taken.
    """
    rows = logits.movedim(-1, 0).contiguous()  # reducing a short last axis is slow
    weights = (rows - rows.amax(0)).exp().cumsum(0)
    total = weights[-1]
    drawn = uniform(total.shape, generator, total.dtype) * total
    return (weights[:-1] <= drawn).sum(0)


class Distribution(Protocol):
    """Action distribution parametrized by a policy's outputs, with illegal Discrete actions masked.

    `Softmax` and `SquashedGaussian` are the two; `distribution_of` selects one for a game.

    >>> import games
    >>> from bilevel.agents import distribution_of
    >>> distribution: Distribution = distribution_of(games.make("chicken"))
    >>> distribution.draw(torch.tensor([[50.0, 0.0], [0.0, 50.0]]), torch.Generator())  # logits
    tensor([0, 1])
    >>> distribution.entropy(torch.zeros(2))  # in nats
    tensor(0.6931)
    """

    @property
    def outputs(self) -> int:
        """Number of outputs of a policy's network, without the standard deviations (`Gaussian`)."""

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Sample actions, as trajectories record them, from outputs [..., output]."""

    def acted(self, actions: Tensor) -> Tensor:
        """Convert recorded actions into the game's."""

    def log_probability(self, outputs: Tensor, actions: Tensor) -> Tensor:
        """Log-probability, or log-density, of recorded actions, in nats: [..., output] -> [...]."""

    def entropy(self, outputs: Tensor) -> Tensor:
        """Entropy in nats: [..., output] -> [...]."""

    def divergence(self, reference: Tensor, outputs: Tensor) -> Tensor:
        """KL(reference || policy) in nats, of outputs [..., output] each -> [...]."""


@dataclass(frozen=True)
class Softmax:
    """Categorical distribution of Discrete actions by logits; recorded as the game's integers.

    >>> softmax = Softmax(outputs=4)
    >>> softmax.log_probability(torch.zeros(2, 4), torch.tensor([0, 3]))  # in nats
    tensor([-1.3863, -1.3863])
    """

    outputs: int
    """Number of actions."""

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        return draw_actions(outputs, generator)

    def acted(self, actions: Tensor) -> Tensor:
        return actions

    def log_probability(self, outputs: Tensor, actions: Tensor) -> Tensor:
        return chosen(outputs, actions)

    def entropy(self, outputs: Tensor) -> Tensor:
        return entropy(outputs)

    def divergence(self, reference: Tensor, outputs: Tensor) -> Tensor:
        return divergence(reference, outputs)


@dataclass(frozen=True)
class SquashedGaussian:
    """A diagonal Gaussian, squashed into a Box by tanh: a = center + half_range tanh(u), u ~ N(mean, std^2).

    A policy's outputs are means and log standard deviations, [..., mean | log std]. Episodes record u, so
    that no density has to invert a tanh that was rounded to 1. Densities are those of a, in the Box's units:
    log p(a) = log N(u; mean, std^2) - sum log |da / du|.

    Source:
        Haarnoja et al., Soft actor-critic, arXiv 1801.01290, appendix C, for the density.

    >>> unit = SquashedGaussian(low=(-1.0,), high=(1.0,))
    >>> unit.acted(torch.tensor([0.0, 100.0]).unsqueeze(-1)).flatten()
    tensor([0., 1.])
    >>> outputs = torch.zeros(2)  # mean 0, standard deviation 1
    >>> unit.log_probability(outputs, torch.zeros(1))  # as of the Gaussian, since da / du is 1 in the middle
    tensor(-0.9189)
    """

    low: tuple[float, ...]
    """Lower bounds of the Box, finite; `high` are the upper ones."""
    high: tuple[float, ...]

    @property
    def outputs(self) -> int:
        return len(self.low)

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        mean, log_std = outputs.chunk(2, -1)
        return mean + log_std.exp() * normal(mean.shape, generator, mean.dtype)

    def acted(self, actions: Tensor) -> Tensor:
        low, high = self._bounds(actions)
        return (low + (high - low) * (actions.tanh() + 1) / 2).clamp(low, high)

    def log_probability(self, outputs: Tensor, actions: Tensor) -> Tensor:
        mean, log_std = outputs.chunk(2, -1)
        noise = (actions - mean) * (-log_std).exp()
        gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        return (gaussian - self._log_slope(actions)).sum(-1)

    def entropy(self, outputs: Tensor) -> Tensor:
        """Differential entropy of a: the Gaussian's own, and the mean of log |da / du| by quadrature."""
        mean, log_std = outputs.chunk(2, -1)
        nodes, weights = _quadrature(mean.dtype, mean.device)
        points = mean.unsqueeze(-1) + log_std.exp().unsqueeze(-1) * nodes
        slope = (self._log_slope(points.movedim(-1, 0)).movedim(0, -1) * weights).sum(-1)
        return (log_std + 0.5 * math.log(2 * math.pi * math.e) + slope).sum(-1)

    def divergence(self, reference: Tensor, outputs: Tensor) -> Tensor:
        """That of the Gaussians: squashing is one-to-one, and divergences do not change."""
        (center, log_width), (mean, log_std) = reference.chunk(2, -1), outputs.chunk(2, -1)
        squares = (2 * (log_width - log_std)).exp() + ((center - mean) * (-log_std).exp()).square()
        return (log_std - log_width + (squares - 1) / 2).sum(-1)

    def _log_slope(self, actions: Tensor) -> Tensor:
        low, high = self._bounds(actions)
        # Not softplus: its rounding depends on the position in a tensor, and so on the number of seeds.
        flat = 2 * (math.log(2.0) - actions + functional.logsigmoid(2 * actions))
        return ((high - low) / 2).log() + flat

    def _bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return _bound(self.low, like.dtype, like.device), _bound(self.high, like.dtype, like.device)


def distribution_of(game: Game) -> Distribution:
    """The action distribution of a game's policies.

    >>> import games
    >>> distribution_of(games.make("escape-room"))
    Softmax(outputs=3)
    """
    space = game.action_space
    if isinstance(space, spaces.Discrete):
        return Softmax(int(space.n))
    return SquashedGaussian(tuple(space.low.tolist()), tuple(space.high.tolist()))


@cached_constants
def _bound(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return constant(values, dtype, device)


@cached_constants
def _quadrature(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Gauss-Hermite nodes and weights of the mean over a standard normal variable."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    return constant(nodes, dtype, device), constant(weights / weights.sum(), dtype, device)
