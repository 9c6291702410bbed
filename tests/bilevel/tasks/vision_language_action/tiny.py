"""The task as small as can be, and demonstrations by chance."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from bilevel.tasks.vision_language_action import VisionLanguageActionSettings
from bilevel.tasks.vision_language_action._data import Data, Split, Steps
from bilevel.tasks.vision_language_action._demonstrations import Demonstrations
from bilevel.tasks.vision_language_action._levels import CHANNELS, tokens

TINY = VisionLanguageActionSettings(
    demonstrations=20,
    validation_demonstrations=4,
    features=2,
    language_size=3,
    hidden_size=4,
    steps=6,
    batch_size=8,
    validation_batch_size=8,
    every=2,
    epoch=2,
    search_trials=2,
    episodes=2,
    clip_episodes=2,
)
MISSIONS = (
    "go to the red ball",
    "go to the blue key",
    "go to a red box",
    "put the red ball next to the grey key",
)


def tiny(**changes):
    return dataclasses.replace(TINY, **changes)


def views(count, generator):
    """Cells by chance, [step, x, y, channel]."""
    return torch.stack(
        [torch.randint(values, (count, 7, 7), generator=generator) for values in CHANNELS.values()], -1
    )


def some_steps(count=30, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda most: torch.randint(most, (count,), generator=generator)  # noqa: E731
    return Steps(views(count, generator), draw(7), draw(len(MISSIONS)))


def some_data():
    split = Split(frozenset({("red", "box")}), frozenset({("grey", "key")}))
    return Data(*(some_steps(seed=seed) for seed in range(3)), torch.from_numpy(tokens(MISSIONS)), split)


def some_demonstrations(lengths=(3, 1, 4)):
    steps = some_steps(sum(lengths))
    return Demonstrations(
        steps.images.numpy().astype(np.uint8),
        steps.actions.numpy().astype(np.uint8),
        np.array(lengths),
        MISSIONS[: len(lengths)],
    )
