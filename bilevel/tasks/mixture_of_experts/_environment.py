"""States of entities, and the action that is right in each mode."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.tasks.mixture_of_experts._settings import MixtureSettings


class States(NamedTuple):
    """A batch of labeled states."""

    entities: Tensor  # [state, entity, feature]
    modes: Tensor  # integer [state]
    actions: Tensor  # the right action, integer [state]


class Environment:
    """Modes with linear policies of their own.

    Features are standard normal. The entity with the largest first feature leads, and the signs of its next
    features are the mode. In a mode the right action is the largest of that mode's linear scores of all
    features, with standard normal weights.

    Args:
        settings: numbers of entities, features, signs and actions.
        generator: draws the weights.
    """

    def __init__(self, settings: MixtureSettings, generator: torch.Generator) -> None:
        self.settings = settings
        size = settings.entities * settings.features
        self.weights = torch.randn(settings.modes, settings.actions, size, generator=generator)

    def draw(self, states: int, generator: torch.Generator) -> States:
        """Draw independent states."""
        settings = self.settings
        entities = torch.randn(states, settings.entities, settings.features, generator=generator)
        leader = entities[torch.arange(states), entities[:, :, 0].argmax(-1)]
        bits = (leader[:, 1 : 1 + settings.signs] > 0).long()
        modes = (bits << torch.arange(settings.signs)).sum(-1)
        scores = torch.einsum("sf,maf->sma", entities.flatten(1), self.weights)
        return States(entities, modes, scores[torch.arange(states), modes].argmax(-1))
