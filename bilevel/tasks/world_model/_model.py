"""Autoencoder, dynamics, controller and value head as one module.

The controller, and the value head, both on latent and memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bilevel.tasks.world_model._dynamics import Dynamics
from bilevel.tasks.world_model._latents import Autoencoder, make_latents
from bilevel.tasks.world_model._settings import WorldModelSettings


class Controller(nn.Module):
    """Logits of the actions.

    Args:
        size: numbers of latent and memory together.
        actions: how many there are.
        hidden: units of a hidden layer; 0: the controller is linear.
    """

    def __init__(self, size: int, actions: int, hidden: int) -> None:
        super().__init__()
        self.actions = actions
        self.net = perceptron(size, hidden, actions)

    def forward(self, latents: Tensor, memory: Tensor) -> Tensor:
        """[..., latent], [..., unit] -> logits, [..., action]."""
        logits: Tensor = self.net(torch.cat((latents, memory), -1))
        return logits


class ValueHead(nn.Module):
    """The discounted rewards to come.

    Args:
        size: numbers of latent and memory together.
        hidden: units of a hidden layer; 0: the head is linear.
        scale: the size of a large value, in rewards; the network gives values in parts of it.
    """

    def __init__(self, size: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.net = perceptron(size, hidden, 1)

    def forward(self, latents: Tensor, memory: Tensor) -> Tensor:
        """[..., latent], [..., unit] -> [...]."""
        value: Tensor = self.net(torch.cat((latents, memory), -1))
        return self.scale * value.squeeze(-1)

    def loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error, in units of the scale, [step], [step] -> one number."""
        return ((values - targets) / self.scale).square().mean()


def perceptron(size: int, hidden: int, out: int) -> nn.Module:
    """A network with one hidden layer, or, with none, a linear map."""
    if hidden == 0:
        return nn.Linear(size, out)
    return nn.Sequential(nn.Linear(size, hidden), nn.Tanh(), nn.Linear(hidden, out))


PARTS = ("autoencoder", "dynamics", "controller", "value")


class WorldModel(nn.Module):
    """All that is trained.

    Args:
        settings: sizes and the kind of latents.
        actions: how many the environment has.
    """

    def __init__(self, settings: WorldModelSettings, actions: int) -> None:
        super().__init__()
        rows, columns = settings.picture
        self.latents = make_latents(settings)
        size = self.latents.size + settings.memory
        self.autoencoder = Autoencoder(2 * rows * columns, settings.hidden, self.latents)
        self.dynamics = Dynamics(self.latents, actions, settings.memory, settings.mixtures)
        self.controller = Controller(size, actions, settings.controller_hidden)
        self.value = (
            ValueHead(size, settings.controller_hidden, settings.long_return) if settings.value_head else None
        )

    def features(self, pictures: Tensor) -> Tensor:
        """The likeliest latents, [..., pixel] -> [..., latent]: what dynamics and controller read."""
        return self.latents.mode(self.autoencoder(pictures))

    def train_only(self, parts: tuple[str, ...]) -> None:
        """Freeze all parts but these; a frozen part gets no gradient."""
        for name, part in self.named_children():
            part.requires_grad_(name in parts)
