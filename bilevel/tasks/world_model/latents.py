"""Kinds of latents: reparameterised Gaussians, and one-hot categories with straight-through gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bilevel.tasks.world_model.settings import WorldModelSettings


class Latents(Protocol):
    """How the encoder's numbers become a latent vector."""

    @property
    def statistics(self) -> int:
        """How many numbers the encoder gives."""

    @property
    def size(self) -> int:
        """How many numbers a latent has."""

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """What `sample` needs: [*shape, size]."""

    def sample(self, statistics: Tensor, noise: Tensor) -> Tensor:
        """A latent, [..., size], as a differentiable function of the encoder's numbers and of noise."""

    def mode(self, statistics: Tensor) -> Tensor:
        """The likeliest latent, [..., size], with a gradient as well."""

    def divergence(self, statistics: Tensor) -> Tensor:
        """Kullback-Leibler divergence from the prior, [...], in nats."""


@dataclass(frozen=True)
class Gaussian:
    """Independent Gaussians: mean + standard deviation x noise; the prior is the standard normal.

    Source:
        Kingma and Welling, Auto-encoding variational Bayes, arXiv 1312.6114.

    >>> Gaussian(2).divergence(torch.zeros(4))
    tensor(0.)
    """

    variables: int
    """How many numbers a latent has."""

    @property
    def statistics(self) -> int:
        """Means and logarithms of variances."""
        return 2 * self.variables

    @property
    def size(self) -> int:
        """As many as variables."""
        return self.variables

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Standard normal, [*shape, size]."""
        return torch.randn(*shape, self.size, generator=generator)

    def sample(self, statistics: Tensor, noise: Tensor) -> Tensor:
        """The reparameterised sample, [..., size]."""
        mean, log_variance = statistics.chunk(2, -1)
        return mean + (log_variance / 2).exp() * noise

    def mode(self, statistics: Tensor) -> Tensor:
        """The mean, [..., size]."""
        return statistics.chunk(2, -1)[0]

    def divergence(self, statistics: Tensor) -> Tensor:
        """From the standard normal, [...], in nats."""
        mean, log_variance = statistics.chunk(2, -1)
        return (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1) / 2


@dataclass(frozen=True)
class Categorical:
    """Independent categorical variables, each one-hot; gradients are those of the probabilities.

    The prior is uniform. A sample is the class whose logit plus Gumbel noise is greatest.

    Source:
        Bengio et al., arXiv 1308.3432, for the straight-through gradient; Hafner et al., Mastering Atari
        with discrete world models, arXiv 2010.02193, for latents made of such variables.

    >>> Categorical(1, 2).mode(torch.tensor([0.0, 3.0]))
    tensor([0., 1.])
    """

    variables: int
    """How many variables a latent has."""
    classes: int
    """Of each."""

    @property
    def statistics(self) -> int:
        """Logits."""
        return self.size

    @property
    def size(self) -> int:
        """Variables times classes."""
        return self.variables * self.classes

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Gumbel noise, [*shape, size]."""
        return gumbel((*shape, self.size), generator)

    def sample(self, statistics: Tensor, noise: Tensor) -> Tensor:
        """One-hot vectors behind each other, [..., size]."""
        return straight_through(self.grouped(statistics), self.grouped(noise)).flatten(-2)

    def mode(self, statistics: Tensor) -> Tensor:
        """One-hot vectors of the likeliest classes, [..., size]."""
        logits = self.grouped(statistics)
        return straight_through(logits, torch.zeros_like(logits)).flatten(-2)

    def divergence(self, statistics: Tensor) -> Tensor:
        """From the uniform prior, summed over the variables, [...], in nats."""
        log_p = self.grouped(statistics).log_softmax(-1)
        return ((log_p.exp() * log_p).sum(-1) + math.log(self.classes)).sum(-1)

    def grouped(self, flat: Tensor) -> Tensor:
        """[..., size] -> [..., variable, class]."""
        grouped: Tensor = flat.unflatten(-1, (self.variables, self.classes))
        return grouped


def straight_through(logits: Tensor, noise: Tensor) -> Tensor:
    """The one-hot vector of the greatest of logits plus noise, with the probabilities' gradient.

    Args:
        logits: [..., class].
        noise: Gumbel noise for a sample, zeros for the mode; [..., class].

    Returns:
        [..., class]: in value a one-hot vector, in gradient softmax(logits).

    >>> straight_through(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]))
    tensor([0., 1.])
    """
    chosen = torch.nn.functional.one_hot((logits + noise).detach().argmax(-1), logits.shape[-1])
    probabilities = logits.softmax(-1)
    result: Tensor = chosen + (probabilities - probabilities.detach())
    return result


def gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise."""
    return -torch.empty(shape).exponential_(generator=generator).log()


def make_latents(settings: WorldModelSettings) -> Gaussian | Categorical:
    """The kind that the settings name."""
    if settings.latents == "gaussian":
        return Gaussian(settings.latent_size)
    return Categorical(settings.latent_size, settings.classes)
