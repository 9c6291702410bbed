"""The losses of the world model on a batch of roll-outs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.tasks.world_model.autoencoder import info_nce
from bilevel.tasks.world_model.dynamics import After
from bilevel.tasks.world_model.imagination import Dream, imagined_return
from bilevel.tasks.world_model.policy_gradient import (
    advantages_with_values,
    advantages_without_values,
    normalised,
    reinforce,
)
from bilevel.tasks.world_model.rollouts import RollOut
from bilevel.tasks.world_model.settings import WorldModelSettings
from bilevel.tasks.world_model.world_model import WorldModel


class Batch(NamedTuple):
    """Roll-outs, and all that is worked out or drawn before losses are taken, as functions of the model."""

    roll_out: RollOut
    advantages: Tensor
    """Of size one, [time, copy]."""
    targets: Tensor
    """What values are trained towards, [time, copy]."""
    noise: Tensor
    """Of the latents, [time + 1, copy, latent]."""
    dream: Dream
    """Chance of imagined roll-outs, which start in every `imagined_steps`-th step of every copy."""


class Inner(NamedTuple):
    """What pictures become inside the model."""

    statistics: Tensor
    """[time + 1, copy, statistic]."""
    latents: Tensor
    """The likeliest, [time + 1, copy, latent]."""
    memory: Tensor
    """Before each picture, [time + 1, copy, unit]."""


@torch.no_grad()
def prepare(
    model: WorldModel, roll_out: RollOut, settings: WorldModelSettings, generator: torch.Generator
) -> Batch:
    """Advantages by the model as it is, and all noise."""
    if model.value is None:
        advantages = advantages_without_values(roll_out, settings.discount)
        targets = torch.zeros_like(advantages)
    else:
        inner = inside(model, roll_out, None)
        values = model.value(inner.latents, inner.memory)
        advantages, targets = advantages_with_values(roll_out, values, settings.discount, settings.trace)
    time, copies = roll_out.rewards.shape
    starts = len(range(0, time, settings.imagined_steps)) * copies
    return Batch(
        roll_out,
        normalised(advantages, roll_out.counts),
        targets,
        model.latents.noise((time + 1, copies), generator),
        Dream.draw(model, settings.imagined_steps, starts, generator),
    )


def of_copies(batch: Batch, copies: slice) -> Batch:
    """A batch of only these copies."""
    count = batch.roll_out.rewards.shape[1]

    def some(drawn: Tensor) -> Tensor:
        starts: Tensor = drawn.unflatten(1, (-1, count))
        return starts[:, :, copies].flatten(1, 2)

    return Batch(
        batch.roll_out.of_copies(copies),
        batch.advantages[:, copies],
        batch.targets[:, copies],
        batch.noise[:, copies],
        Dream(*map(some, batch.dream)),
    )


def inside(model: WorldModel, roll_out: RollOut, truncate: int | None) -> Inner:
    """Encode the pictures, and run the recurrent network over them."""
    statistics = model.autoencoder(roll_out.pictures)
    latents = model.latents.mode(statistics)
    memory = model.dynamics.unroll(roll_out.memory, latents[:-1], roll_out.actions, roll_out.first, truncate)
    return Inner(statistics, latents, memory)


def losses(
    model: WorldModel, batch: Batch, settings: WorldModelSettings, names: Sequence[str]
) -> dict[str, Tensor]:
    """The losses of these names, each one number, as functions of the model.

    Args:
        model: whose losses.
        batch: on what.
        settings: of the task.
        names: some of the settings' `losses`.
    """
    inner = inside(model, batch.roll_out, settings.truncate)
    known = {
        "reconstruction": _reconstruction,
        "dynamics": _dynamics,
        "policy": _policy,
        "value": _value,
        "contrastive": _contrastive,
    }
    return {name: known[name](model, batch, inner, settings) for name in names}


def held_out_loss(model: WorldModel, batch: Batch, settings: WorldModelSettings) -> Tensor:
    """What learned weights are to lower: minus the return's surrogate on roll-outs not trained on."""
    inner = inside(model, batch.roll_out, None)
    return _real(model, batch, inner, settings, entropy=0.0)


def _reconstruction(model: WorldModel, batch: Batch, inner: Inner, settings: WorldModelSettings) -> Tensor:
    pictures = batch.roll_out.pictures
    return model.autoencoder.loss(pictures, inner.statistics, batch.noise, settings.divergence)


def _dynamics(model: WorldModel, batch: Batch, inner: Inner, settings: WorldModelSettings) -> Tensor:
    counts = batch.roll_out.counts
    # The target is a constant: else latents would learn to be easily foretold.
    latents = model.latents.sample(inner.statistics[1:], batch.noise[1:]).detach()
    after = After(latents[counts], batch.roll_out.rewards[counts], batch.roll_out.ended[counts])
    return model.dynamics.loss(inner.memory[1:][counts], after)


def _policy(model: WorldModel, batch: Batch, inner: Inner, settings: WorldModelSettings) -> Tensor:
    terms = []
    if settings.policy_gradient != "imagined":
        terms.append(_real(model, batch, inner, settings, settings.entropy))
    if settings.policy_gradient != "real":
        starts = (x[: len(batch.roll_out.rewards) : settings.imagined_steps] for x in inner[1:])
        latents, memory = (x.flatten(0, 1) for x in starts)
        imagined = imagined_return(model, latents, memory, batch.dream, settings.discount)
        terms.append(-imagined.mean() / settings.imagined_steps)
    return torch.stack(terms).sum()


def _real(
    model: WorldModel, batch: Batch, inner: Inner, settings: WorldModelSettings, entropy: float
) -> Tensor:
    log_policy: Tensor = model.controller(inner.latents[:-1], inner.memory[:-1]).log_softmax(-1)
    roll_out, counts = batch.roll_out, batch.roll_out.counts
    taken = (log_policy * roll_out.actions).sum(-1)[counts]
    surrogate = reinforce(taken, roll_out.log_policy[counts], batch.advantages[counts], settings.clip_ratio)
    spread = -(log_policy.exp() * log_policy).sum(-1)[counts].mean()
    return surrogate - entropy * spread


def _value(model: WorldModel, batch: Batch, inner: Inner, settings: WorldModelSettings) -> Tensor:
    assert model.value is not None
    values = model.value(inner.latents[:-1], inner.memory[:-1])
    counts = batch.roll_out.counts
    return model.value.loss(values[counts], batch.targets[counts])


def _contrastive(model: WorldModel, batch: Batch, inner: Inner, settings: WorldModelSettings) -> Tensor:
    counts = batch.roll_out.counts
    return info_nce(inner.latents[:-1][counts], inner.latents[1:][counts], settings.temperature)
