"""Autoencoder, dynamics, controller and value head as one module."""

from __future__ import annotations

from torch import Tensor, nn

from bilevel.tasks.world_model.autoencoder import Autoencoder
from bilevel.tasks.world_model.controller import Controller, ValueHead
from bilevel.tasks.world_model.dynamics import Dynamics
from bilevel.tasks.world_model.latents import make_latents
from bilevel.tasks.world_model.settings import WorldModelSettings

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
