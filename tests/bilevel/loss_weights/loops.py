"""Small models in float64 with several losses, and the plain loop that a tuner must not change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass
class Regression:
    """A network, two training losses on noisy data, and a validation loss."""

    model: nn.Module
    batches: list[tuple[Tensor, Tensor]]
    held_out: tuple[Tensor, Tensor]

    def losses(self, index: int = 0) -> dict[str, Tensor]:
        inputs, targets = self.batches[index]
        out = self.model(inputs)
        return {
            "square": (out - targets).square().mean(),
            "large": functional.huber_loss(out, targets.roll(1, 0)),
        }

    def loss_of(self, index: int) -> Callable[[], dict[str, Tensor]]:
        return lambda: self.losses(index)

    def each(self) -> Tensor:
        """One loss for each sample of the first batch."""
        inputs, targets = self.batches[0]
        return (self.model(inputs) - targets).square().mean(-1)

    def validation(self) -> Tensor:
        inputs, targets = self.held_out
        return (self.model(inputs) - targets).square().mean()


def regression(*extra: nn.Module, batches: int = 4, seed: int = 0) -> Regression:
    """A network of 3 inputs and 2 outputs, with `extra` after its hidden layer."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), *extra, nn.Linear(4, 2)).double()
    draw = [torch.randn(6, 3).double() for _ in range(batches + 1)]
    true = torch.randn(3, 2).double()
    pairs = [(x, x @ true + 0.3 * torch.randn(6, 2).double()) for x in draw]
    return Regression(model, pairs[:-1], pairs[-1])


OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.1),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05, eps=1e-3),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.05, amsgrad=True, weight_decay=0.1, eps=1e-3),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.1, eps=1e-3),
    "adamax": lambda p: torch.optim.Adamax(p, lr=0.05, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.05, eps=1e-3),
    "rmsprop centered": lambda p: torch.optim.RMSprop(
        p, lr=0.05, momentum=0.5, centered=True, weight_decay=0.1, eps=1e-3
    ),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05, lr_decay=0.1, weight_decay=0.1),
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=0.5, weight_decay=0.1, eps=1e-3),
    "asgd": lambda p: torch.optim.ASGD(p, lr=0.05, weight_decay=0.1),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.05, weight_decay=0.1, momentum_decay=0.1, eps=1e-3),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.05, betas=(0.8, 0.9), weight_decay=0.1, eps=1e-3),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.2, weight_decay=0.1),
}
"""Every lifted optimizer but Muon, which takes matrices alone, with what its steps may depend on."""
