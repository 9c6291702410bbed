"""Kinds of latents: reparameterized Gaussians, and one-hot categories with straight-through gradients.

The variational autoencoder of pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from bilevel.tasks.world_model._settings import WorldModelSettings


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
        """The reparameterized sample, [..., size]."""
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


class Autoencoder(nn.Module):
    """Encoder and decoder, each with one hidden layer.

    Args:
        pixels: numbers of a picture.
        hidden: units of the hidden layers.
        latents: what is between them.

    Source:
        Kingma and Welling, arXiv 1312.6114; Ha and Schmidhuber, World models, arXiv 1803.10122.
    """

    def __init__(self, pixels: int, hidden: int, latents: Latents) -> None:
        super().__init__()
        self.latents = latents
        self.encoder = nn.Sequential(
            nn.Linear(pixels, hidden), nn.SiLU(), nn.Linear(hidden, latents.statistics)
        )
        self.decoder = nn.Sequential(nn.Linear(latents.size, hidden), nn.SiLU(), nn.Linear(hidden, pixels))

    def forward(self, pictures: Tensor) -> Tensor:
        """The encoder's numbers, [..., pixel] -> [..., statistic]."""
        statistics: Tensor = self.encoder(pictures)
        return statistics

    def loss(self, pictures: Tensor, statistics: Tensor, noise: Tensor, divergence: float) -> Tensor:
        """Squared error summed over pixels, and the weighted divergence; the mean over pictures.

        Args:
            pictures: [..., pixel].
            statistics: of these pictures, [..., statistic].
            noise: of the latents, [..., latent].
            divergence: what a nat of divergence from the prior costs.
        """
        error = self.error(pictures, self.latents.sample(statistics, noise))
        return (error + divergence * self.latents.divergence(statistics)).mean()

    def error(self, pictures: Tensor, latents: Tensor) -> Tensor:
        """Squared error of what is decoded, summed over pixels, [...]."""
        decoded: Tensor = self.decoder(latents)
        return (decoded - pictures).square().sum(-1)


def info_nce(anchors: Tensor, positives: Tensor, temperature: float) -> Tensor:
    """InfoNCE: each anchor is to be more like its own positive than like those of the others.

    -mean_i log [exp(s_ii / temperature) / sum_j exp(s_ij / temperature)], s the cosine similarity.

    Args:
        anchors: [pair, number].
        positives: [pair, number].
        temperature: above 0; the lower, the more the closest of the others count.

    Returns:
        one number, in nats: log(pairs) where nothing tells them apart.

    Source:
        van den Oord et al., Representation learning with contrastive predictive coding, arXiv 1807.03748.

    >>> info_nce(torch.ones(4, 2), torch.ones(4, 2), 0.1).exp().round()
    tensor(4.)
    """
    unit = [nn.functional.normalize(vectors, dim=-1) for vectors in (anchors, positives)]
    similar = unit[0] @ unit[1].T / temperature
    return nn.functional.cross_entropy(similar, torch.arange(len(similar)))
