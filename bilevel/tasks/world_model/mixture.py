"""What the next latent may be: a mixture of Gaussians, or categories."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.tasks.world_model.latents import Categorical, straight_through


class Mixture(NamedTuple):
    """A mixture of Gaussians with diagonal covariances."""

    logits: Tensor
    """Of the components, [..., component]."""
    mean: Tensor
    """[..., component, latent]."""
    log_deviation: Tensor
    """[..., component, latent]."""

    @classmethod
    def of(cls, numbers: Tensor, components: int) -> Mixture:
        """Read from a network's output.

        Args:
            numbers: [..., component x (1 + 2 latent)].
            components: how many.
        """
        logits, rest = numbers.tensor_split([components], -1)
        mean, log_deviation = rest.unflatten(-1, (components, -1)).chunk(2, -1)
        return cls(logits, mean, 3 * torch.tanh(log_deviation / 3))

    def log_likelihood(self, latents: Tensor) -> Tensor:
        """Logarithm of the density, [..., latent] -> [...].

        log sum_k softmax(logits)_k prod_d Normal(z_d; mean_kd, deviation_kd).
        """
        scaled = (latents[..., None, :] - self.mean) * (-self.log_deviation).exp()
        each = -(scaled.square() / 2 + self.log_deviation + math.log(2 * math.pi) / 2).sum(-1)
        return (self.logits.log_softmax(-1) + each).logsumexp(-1)

    def sample(self, noise: Tensor, choice: Tensor) -> Tensor:
        """A reparameterised sample; the component's choice passes gradients straight through.

        Args:
            noise: standard normal, [..., latent].
            choice: Gumbel noise, [..., component].

        Returns:
            [..., latent].
        """
        chosen = straight_through(self.logits, choice)[..., None]
        return (chosen * (self.mean + self.log_deviation.exp() * noise[..., None, :])).sum(-2)


class Categories(NamedTuple):
    """Logits of categorical latents."""

    logits: Tensor
    """[..., latent]."""
    latents: Categorical
    """What they are logits of."""

    def log_likelihood(self, latents: Tensor) -> Tensor:
        """Logarithm of the probability of one-hot latents, [..., latent] -> [...]."""
        log_p = self.latents.grouped(self.logits).log_softmax(-1)
        return (log_p * self.latents.grouped(latents)).sum((-1, -2))

    def sample(self, noise: Tensor, choice: Tensor) -> Tensor:
        """A straight-through sample, [..., latent]; `choice` is for mixtures."""
        return self.latents.sample(self.logits, noise)
