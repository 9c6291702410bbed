"""The world model: autoencoder of pictures, recurrent dynamics, controller and value head."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bilevel.tasks.world_model._latents import (
    CategoricalLatents,
    CategoricalPrediction,
    GaussianLatents,
    GaussianMixture,
    Latents,
)
from bilevel.tasks.world_model._settings import WorldModelSettings

PARTS = ("autoencoder", "dynamics", "controller", "value")


class WorldModel(nn.Module):
    """Autoencoder, dynamics, controller and value head, for a number of discrete actions."""

    def __init__(self, settings: WorldModelSettings, actions: int) -> None:
        super().__init__()
        rows, columns = settings.picture
        self.latents: Latents = (
            GaussianLatents(settings.latent_size)
            if settings.latents == "gaussian"
            else CategoricalLatents(settings.latent_size, settings.num_classes)
        )
        features, hidden = self.latents.size + settings.recurrent_size, settings.controller_hidden_size
        self.autoencoder = Autoencoder(2 * rows * columns, settings.hidden_size, self.latents)
        self.dynamics = Dynamics(self.latents, actions, settings.recurrent_size, settings.num_mixtures)
        self.controller = Controller(features, actions, hidden)
        self.value = ValueHead(features, hidden, settings.return_scale) if settings.value_head else None

    def features(self, pictures: Tensor) -> Tensor:
        """The likeliest latents, [..., pixel] -> [..., latent]."""
        return self.latents.mode(self.autoencoder(pictures))

    def train_only(self, parts: tuple[str, ...]) -> None:
        """Freeze all parts but these; a frozen part gets no gradient."""
        for name, part in self.named_children():
            part.requires_grad_(name in parts)


class Autoencoder(nn.Module):
    """Variational autoencoder of pictures; encoder and decoder have one hidden layer each.

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
        """Encode, [..., pixel] -> [..., statistic]."""
        statistics: Tensor = self.encoder(pictures)
        return statistics

    def loss(self, pictures: Tensor, statistics: Tensor, noise: Tensor, kl_coef: float) -> Tensor:
        """Squared error over pixels plus `kl_coef` times the divergence in nats, averaged over pictures."""
        error = self.error(pictures, self.latents.sample(statistics, noise))
        return (error + kl_coef * self.latents.divergence(statistics)).mean()

    def error(self, pictures: Tensor, latents: Tensor) -> Tensor:
        """Squared error of the decoded pictures, summed over pixels, [...]."""
        decoded: Tensor = self.decoder(latents)
        return (decoded - pictures).square().sum(-1)


class Prediction(NamedTuple):
    """Distribution of the outcome of an action."""

    latent: GaussianMixture | CategoricalPrediction
    reward: Tensor  # its mean, [...]
    end_logit: Tensor  # of the episode's end, [...]


class Dynamics(nn.Module):
    """Gated recurrent unit over latents and actions, with a mixture-density head for Gaussian latents.

    Source:
        Ha and Schmidhuber, World models, arXiv 1803.10122 (which has an LSTM); Bishop, Mixture density
        networks, 1994.
    """

    def __init__(self, latents: Latents, actions: int, recurrent_size: int, mixtures: int) -> None:
        super().__init__()
        self.latents, self.mixtures = latents, mixtures
        self.cell = nn.GRUCell(latents.size + actions, recurrent_size)
        gaussian = isinstance(latents, GaussianLatents)
        out = mixtures * (1 + 2 * latents.size) if gaussian else latents.size
        self.next_latent = nn.Linear(recurrent_size, out)
        self.outcome = nn.Linear(recurrent_size, 2)

    def predict(self, hidden: Tensor) -> Prediction:
        """Predict the next latent, the reward and the end, from the hidden state after latent and action."""
        numbers = self.next_latent(hidden)
        latent = (
            CategoricalPrediction(numbers, self.latents)
            if isinstance(self.latents, CategoricalLatents)
            else GaussianMixture.of(numbers, self.mixtures)
        )
        return Prediction(latent, *self.outcome(hidden).unbind(-1))

    def advance(self, hidden: Tensor, latents: Tensor, actions: Tensor) -> Tensor:
        """The hidden state, [batch, unit], after latents, [batch, latent], and actions, [batch, action]."""
        after: Tensor = self.cell(torch.cat((latents, actions), -1), hidden)
        return after

    def unroll(
        self, hidden: Tensor, latents: Tensor, actions: Tensor, first: Tensor, truncate: int | None
    ) -> Tensor:
        """Hidden states before each latent and after the last, [time + 1, batch, unit].

        Args:
            hidden: before the first latent, [batch, unit].
            latents: [time, batch, latent].
            actions: one-hot, [time, batch, action].
            first: mask of the first latents of episodes, which start from zeros, [time + 1, batch].
            truncate: gradients are cut after so many steps; None: nowhere.
        """
        restarts = first[:, :, None].unbind()
        states = [hidden.masked_fill(restarts[0], 0)]
        for time, inputs in enumerate(torch.cat((latents, actions), -1).unbind()):
            before = states[-1]
            if truncate is not None and time % truncate == 0:
                before = before.detach()
            after: Tensor = self.cell(inputs, before)
            states.append(after.masked_fill(restarts[time + 1], 0))
        return torch.stack(states)

    def loss(self, hidden: Tensor, latents: Tensor, rewards: Tensor, ended: Tensor) -> Tensor:
        """Mean of -log density of the next latent, squared error of the reward, cross-entropy of the end."""
        predicted = self.predict(hidden)
        ends = nn.functional.binary_cross_entropy_with_logits(predicted.end_logit, ended, reduction="none")
        unlikely = -predicted.latent.log_likelihood(latents)
        return (unlikely + (predicted.reward - rewards).square() + ends).mean()

    def forward(self, hidden: Tensor, latents: Tensor, actions: Tensor) -> tuple[Tensor, Prediction]:
        """`advance`, then `predict`."""
        after = self.advance(hidden, latents, actions)
        return after, self.predict(after)


class Controller(nn.Module):
    """Logits of the actions, by one hidden layer or, with 0 units, none."""

    def __init__(self, size: int, actions: int, hidden: int) -> None:
        super().__init__()
        self.actions = actions
        self.net = _perceptron(size, hidden, actions)

    def forward(self, latents: Tensor, hidden: Tensor) -> Tensor:
        """[..., latent], [..., unit] -> logits, [..., action]."""
        logits: Tensor = self.net(torch.cat((latents, hidden), -1))
        return logits


class ValueHead(nn.Module):
    """Discounted rewards to come: the network's output times the scale of a large value."""

    def __init__(self, size: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.net = _perceptron(size, hidden, 1)

    def forward(self, latents: Tensor, hidden: Tensor) -> Tensor:
        """[..., latent], [..., unit] -> [...]."""
        value: Tensor = self.net(torch.cat((latents, hidden), -1))
        return self.scale * value.squeeze(-1)

    def loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error in units of the scale."""
        return ((values - targets) / self.scale).square().mean()


def _perceptron(size: int, hidden: int, out: int) -> nn.Module:
    """Perceptron of one hidden layer, or none for `hidden` 0."""
    if hidden == 0:
        return nn.Linear(size, out)
    return nn.Sequential(nn.Linear(size, hidden), nn.Tanh(), nn.Linear(hidden, out))
