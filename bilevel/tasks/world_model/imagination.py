"""Roll-outs that the dynamics imagine, and the gradient of their return in the controller."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bilevel.tasks.world_model.latents import gumbel, straight_through
from bilevel.tasks.world_model.world_model import WorldModel


class Dream(NamedTuple):
    """All chance of imagined roll-outs, drawn beforehand; each [step, roll-out, ...]."""

    action: Tensor
    """Gumbel noise, [step, roll-out, action]."""
    latent: Tensor
    """Of the kind of latents, [step, roll-out, latent]."""
    component: Tensor
    """Gumbel noise, [step, roll-out, component]."""

    @classmethod
    def draw(cls, model: WorldModel, steps: int, count: int, generator: torch.Generator) -> Dream:
        """For so many roll-outs of so many steps."""
        shape = (steps, count)
        return cls(
            gumbel((*shape, model.controller.actions), generator),
            model.latents.noise(shape, generator),
            gumbel((*shape, model.dynamics.mixtures), generator),
        )


def imagined_return(
    model: WorldModel, latents: Tensor, memory: Tensor, dream: Dream, discount: float
) -> Tensor:
    """Discounted rewards that the dynamics predict, as a function of the controller.

    Actions pass gradients straight through, latents by reparameterisation. The dynamics and the value head
    are constants here: only the controller learns from what it imagines, else both would learn to flatter.

    Args:
        model: dynamics, controller and, if there is one, the value of where the roll-out stops.
        latents: where roll-outs start, [roll-out, latent].
        memory: where roll-outs start, [roll-out, unit].
        dream: all chance.
        discount: of later rewards, per step.

    Returns:
        one for each roll-out, [roll-out]: sum_k discount^k (chance to be alive then) x reward.

    Source:
        Hafner et al., Dream to control, arXiv 1912.01603, for gradients through imagined latents.
    """
    latents, memory = latents.detach(), memory.detach()
    total, alive = torch.zeros(len(latents)), torch.ones(len(latents))
    for step in range(len(dream.action)):
        action = straight_through(model.controller(latents, memory), dream.action[step])
        memory, predicted = _constant(model.dynamics, memory, latents, action)
        total = total + alive * predicted.reward
        alive = alive * discount * (1 - predicted.end_logit.sigmoid())
        latents = predicted.latent.sample(dream.latent[step], dream.component[step])
    if model.value is not None:
        total = total + alive * _constant(model.value, latents, memory)
    return total


def _constant(module: nn.Module, *inputs: Tensor) -> Any:
    """Call a module whose parameters get no gradient; gradients pass through to its inputs."""
    return functional_call(module, {name: p.detach() for name, p in module.named_parameters()}, inputs)
