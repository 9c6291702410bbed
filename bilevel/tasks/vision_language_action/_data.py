"""Data of a trial: demonstrations of training, validation and test missions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bilevel.tasks._task import Progress
from bilevel.tasks.vision_language_action._demonstrations import BLOCK, Demonstrations, cached, join
from bilevel.tasks.vision_language_action._levels import Pair, pairs, tokens
from bilevel.tasks.vision_language_action._settings import VisionLanguageActionSettings
from games.core import require

PARTS = ("training", "validation", "test")
MOST = 100
"""Demonstrations that are made for each one that is needed, at most."""


class Split(NamedTuple):
    """Pairs of color and object that are held out from training."""

    validation: frozenset[Pair]
    test: frozenset[Pair]

    def part(self, mission: str) -> str:
        """The part to which a mission belongs, one of `PARTS`; test goes before validation.

        >>> split = Split(frozenset({("red", "ball")}), frozenset({("blue", "key")}))
        >>> split.part("put the red ball next to the blue key"), split.part("go to the red key")
        ('test', 'training')
        """
        named = pairs(mission)
        return PARTS[2] if named & self.test else PARTS[1] if named & self.validation else PARTS[0]


class Steps(NamedTuple):
    """Steps of demonstrations."""

    images: Tensor  # [step, x, y, channel], int64
    actions: Tensor  # [step], int64
    missions: Tensor  # rows of `Data.tokens`, [step], int64

    def take(self, index: Tensor) -> Steps:
        """The steps at these indices."""
        return Steps(*(part[index] for part in self))

    def with_others(self, others: Steps) -> Steps:
        """Concatenate other steps to these."""
        return Steps(*map(torch.cat, zip(self, others, strict=True)))


class Data(NamedTuple):
    """Steps of the demonstrations of each part, and their missions."""

    training: Steps
    validation: Steps
    test: Steps
    tokens: Tensor  # [mission, word], int64
    split: Split


def draw_split(named: list[Pair], settings: VisionLanguageActionSettings, seed: int) -> Split:
    """Hold out random pairs of those that a level's missions name."""
    held_out = settings.validation_pairs + settings.test_pairs
    require(
        held_out < len(named),
        f"validation_pairs and test_pairs must leave some of the pairs of color and object that missions of "
        f"{settings.level} name, of which there are {len(named)}, but they take {held_out}.",
    )
    order = [named[place] for place in np.random.default_rng([seed, 2]).permutation(len(named))]
    return Split(
        frozenset(order[: settings.validation_pairs]), frozenset(order[settings.validation_pairs : held_out])
    )


def draw_data(settings: VisionLanguageActionSettings, seed: int, progress: Progress) -> Data:
    """Make or read as many demonstrations as the settings ask for; the test has as many as the validation.

    Raises:
        ValueError: the level's missions do not name enough pairs, or one part has hardly any.
    """
    needed = dict.fromkeys(PARTS, settings.validation_demonstrations) | {"training": settings.demonstrations}
    if settings.test_pairs == 0:
        needed["test"] = 0
    blocks: list[Demonstrations] = []
    split, parts, finished = None, np.array([]), 0.0
    while split is None or any((parts == part).sum() < count for part, count in needed.items()):
        require(
            len(blocks) * BLOCK <= MOST * max(needed.values()) + BLOCK,
            f"Fewer than one of {MOST} missions of {settings.level} belongs to training, to validation or to "
            "the test: hold out other numbers of pairs.",
        )
        had = finished

        def show(fraction: float, had: float = had) -> None:
            progress(had + (1 - had) * 0.5 * fraction)

        blocks.append(cached(settings.level, seed, len(blocks), show))
        if split is None:
            named = sorted({pair for mission in blocks[0].missions for pair in pairs(mission)})
            split = draw_split(named, settings, seed)
        found = [split.part(mission) for block in blocks for mission in block.missions]
        parts, finished = np.array(found), had + (1 - had) * 0.5
    demonstrations = join(blocks)
    missions = sorted(set(demonstrations.missions))
    rows = np.array([missions.index(mission) for mission in demonstrations.missions])
    owner = np.repeat(np.arange(len(rows)), demonstrations.lengths)

    def steps(part: str) -> Steps:
        chosen = np.isin(owner, np.flatnonzero(parts == part)[: needed[part]])
        columns = demonstrations.images[chosen], demonstrations.actions[chosen], rows[owner[chosen]]
        return Steps(*(torch.from_numpy(column).long() for column in columns))

    training, validation, test = map(steps, PARTS)
    return Data(training, validation, test, torch.from_numpy(tokens(missions)), split)
