"""The variational autoencoder of pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bilevel.tasks.world_model.latents import Latents


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
