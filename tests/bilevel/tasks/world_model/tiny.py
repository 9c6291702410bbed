"""A world model as small as can be, and roll-outs of invented pictures."""

from __future__ import annotations

import dataclasses

import torch
from torch.nn.functional import one_hot

from bilevel.tasks.world_model import WorldModelSettings
from bilevel.tasks.world_model._environment import PixelRollout
from bilevel.tasks.world_model._losses import prepare
from bilevel.tasks.world_model._model import WorldModel

TINY = WorldModelSettings(
    crop=(170, 290, 0, 600),
    downsample=60,
    environment_steps=128,
    num_envs=4,
    rollout_steps=8,
    update_epochs=1,
    latent_size=3,
    num_classes=3,
    hidden_size=8,
    recurrent_size=5,
    num_mixtures=2,
    controller_hidden_size=4,
    imagined_steps=3,
    evaluations=4,
    evaluation_episodes=2,
)
"""20 pixels, a latent of 3 or 9 numbers, 4 roll-outs of 8 steps in 4 copies."""
ACTIONS = 2


def tiny(**changes):
    return dataclasses.replace(TINY, **changes)


def a_model(settings=TINY, seed=0):
    torch.manual_seed(seed)
    return WorldModel(settings, ACTIONS)


def a_roll_out(settings=TINY, seed=0):
    """Invented: an episode ends in the fourth step of the first copy, and starts again in the fifth."""
    generator = torch.Generator().manual_seed(seed)
    time, copies = settings.rollout_steps, settings.num_envs
    rows, columns = settings.picture
    first = torch.zeros(time + 1, copies, dtype=torch.bool)
    first[5, 0] = True
    ended = torch.zeros(time, copies)
    ended[3, 0] = 1
    return PixelRollout(
        pictures=torch.rand(time + 1, copies, 2 * rows * columns, generator=generator),
        first=first,
        actions=one_hot(torch.randint(ACTIONS, (time, copies), generator=generator), ACTIONS).float(),
        log_policy=torch.full((time, copies), 0.5).log(),
        rewards=(~first[1:]).float(),
        ended=ended,
        stopped=ended.bool(),
        hidden=torch.zeros(copies, settings.recurrent_size),
    )


def a_batch(model, settings=TINY, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return prepare(model, a_roll_out(settings, seed), settings, generator)


def reached(module):
    """Whether any parameter of a module has a gradient that is not zero."""
    return any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in module.parameters())
