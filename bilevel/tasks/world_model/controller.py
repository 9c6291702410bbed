"""The controller, and the value head, both on latent and memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
