"""Latents of pictures, and distributions over the next latent: Gaussian or categorical."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class GaussianLatents:
    """Independent Gaussians: mean + standard deviation x noise; the prior is the standard normal.

    Source:
        Kingma and Welling, Auto-encoding variational Bayes, arXiv 1312.6114.
    """

    size: int

    @property
    def statistics(self) -> int:
        """Size of the encoder's output: means and logarithms of variances."""
        return 2 * self.size

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Standard normal noise for `sample`, [*shape, size]."""
        return torch.randn(*shape, self.size, generator=generator)

    def sample(self, statistics: Tensor, noise: Tensor) -> Tensor:
        """The reparameterized sample, [..., size]."""
        mean, log_variance = statistics.chunk(2, -1)
        return mean + (log_variance / 2).exp() * noise

    def mode(self, statistics: Tensor) -> Tensor:
        """The mean, [..., size]."""
        return statistics.chunk(2, -1)[0]

    def divergence(self, statistics: Tensor) -> Tensor:
        """Kullback-Leibler divergence from the standard normal, [...], in nats."""
        mean, log_variance = statistics.chunk(2, -1)
        return (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1) / 2


@dataclass(frozen=True)
class CategoricalLatents:
    """Independent categorical variables, each one-hot; gradients are those of the probabilities.

    The prior is uniform. A sample is the class whose logit plus Gumbel noise is largest.

    Source:
        Bengio et al., arXiv 1308.3432, for the straight-through gradient; Hafner et al., Mastering Atari
        with discrete world models, arXiv 2010.02193, for latents made of such variables.
    """

    variables: int
    classes: int

    @property
    def size(self) -> int:
        """Size of a latent, and of the encoder's output, logits."""
        return self.variables * self.classes

    statistics = size

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Gumbel noise for `sample`, [*shape, size]."""
        return gumbel((*shape, self.size), generator)

    def sample(self, statistics: Tensor, noise: Tensor) -> Tensor:
        """One-hot vectors in a row, [..., size]."""
        return straight_through(self.grouped(statistics), self.grouped(noise)).flatten(-2)

    def mode(self, statistics: Tensor) -> Tensor:
        """One-hot vectors of the likeliest classes, [..., size]."""
        logits = self.grouped(statistics)
        return straight_through(logits, torch.zeros_like(logits)).flatten(-2)

    def divergence(self, statistics: Tensor) -> Tensor:
        """Kullback-Leibler divergence from the uniform prior, summed over the variables, [...], in nats."""
        log_p = self.grouped(statistics).log_softmax(-1)
        return ((log_p.exp() * log_p).sum(-1) + math.log(self.classes)).sum(-1)

    def grouped(self, flat: Tensor) -> Tensor:
        """[..., size] -> [..., variable, class]."""
        grouped: Tensor = flat.unflatten(-1, (self.variables, self.classes))
        return grouped


Latents = GaussianLatents | CategoricalLatents


class GaussianMixture(NamedTuple):
    """A mixture of Gaussians with diagonal covariances."""

    logits: Tensor  # [..., component]
    mean: Tensor  # [..., component, latent]
    log_deviation: Tensor  # [..., component, latent]

    @classmethod
    def of(cls, numbers: Tensor, components: int) -> GaussianMixture:
        """Read a network's output, [..., component x (1 + 2 latent)]."""
        logits, rest = numbers.tensor_split([components], -1)
        mean, log_deviation = rest.unflatten(-1, (components, -1)).chunk(2, -1)
        return cls(logits, mean, 3 * torch.tanh(log_deviation / 3))

    def log_likelihood(self, latents: Tensor) -> Tensor:
        """Logarithm of the density, [..., latent] -> [...]."""
        scaled = (latents[..., None, :] - self.mean) * (-self.log_deviation).exp()
        each = -(scaled.square() / 2 + self.log_deviation + math.log(2 * math.pi) / 2).sum(-1)
        return (self.logits.log_softmax(-1) + each).logsumexp(-1)

    def sample(self, noise: Tensor, choice: Tensor) -> Tensor:
        """A reparameterized sample, [..., latent]; the component's choice passes gradients straight through.

        Args:
            noise: standard normal, [..., latent].
            choice: Gumbel noise, [..., component].
        """
        chosen = straight_through(self.logits, choice)[..., None]
        return (chosen * (self.mean + self.log_deviation.exp() * noise[..., None, :])).sum(-2)


class CategoricalPrediction(NamedTuple):
    """Logits of the next categorical latent."""

    logits: Tensor  # [..., latent]
    latents: CategoricalLatents

    def log_likelihood(self, latents: Tensor) -> Tensor:
        """Logarithm of the probability of one-hot latents, [..., latent] -> [...]."""
        log_p = self.latents.grouped(self.logits).log_softmax(-1)
        return (log_p * self.latents.grouped(latents)).sum((-1, -2))

    def sample(self, noise: Tensor, choice: Tensor) -> Tensor:
        """A straight-through sample, [..., latent]; `choice` is for mixtures."""
        return self.latents.sample(self.logits, noise)


def straight_through(logits: Tensor, noise: Tensor) -> Tensor:
    """One-hot argmax of logits plus noise with the gradient of softmax(logits), all [..., class].

    With Gumbel noise it is a sample, with zeros the mode.
    """
    chosen = nn.functional.one_hot((logits + noise).detach().argmax(-1), logits.shape[-1])
    probabilities = logits.softmax(-1)
    result: Tensor = chosen + (probabilities - probabilities.detach())
    return result


def gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise."""
    return -torch.empty(shape).exponential_(generator=generator).log()
