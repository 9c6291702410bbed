"""Episodes that the network plays: success rates, and frames of a clip."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bilevel.tasks.vision_language_action._data import MOST, Split
from bilevel.tasks.vision_language_action._levels import ACTIONS, make_level, reset, tokens
from bilevel.tasks.vision_language_action._model import VisionLanguageActionNetwork
from games.core import require
from games.render import captioned

TILE = 32
"""Side of a cell in a frame, in pixels."""
MOST_FRAMES = 12
"""Steps of an episode that are filmed, besides the last one."""


class Played(NamedTuple):
    """Outcome of episodes."""

    success: NDArray[np.bool_]
    """[episode]."""
    frames: list[NDArray[np.uint8]]
    """Frames of the first episodes, each [height, width, color]."""


@dataclass
class _Episode:
    env: Any
    image: Any
    mission: str
    over: bool = False
    success: bool = False
    steps: int = 0
    frames: list[NDArray[np.uint8]] = field(default_factory=list)

    def film(self, words: str) -> None:
        if self.steps > MOST_FRAMES and not self.over:
            return
        picture = self.env.get_frame(highlight=True, tile_size=TILE)
        self.frames.append(captioned(np.asarray(picture, dtype=np.uint8), f"{self.mission} {words}"))


@torch.no_grad()
def play(
    network: VisionLanguageActionNetwork,
    level: str,
    seed: int,
    split: Split,
    part: str,
    count: int,
    filmed: int = 0,
) -> Played:
    """Play episodes, all at once, by the likeliest actions.

    Args:
        network: the policy.
        level: name of the level.
        seed: seed of the episodes, which no demonstration has.
        split: pairs that are held out.
        part: part of the missions, of which other episodes are skipped.
        count: number of episodes.
        filmed: number of episodes that are filmed: their first steps and the last one.

    Raises:
        ValueError: hardly any mission belongs to this part.
    """
    episodes: list[_Episode] = []
    number = 0
    while len(episodes) < count:
        env = make_level(level)
        while split.part((start := reset(env, (seed, 1, number)))["mission"]) != part:
            number += 1
            require(number < MOST * count, f"Fewer than one of {MOST} missions of {level} is for {part}.")
        number += 1
        episodes.append(_Episode(env, start["image"], start["mission"]))
    kind = "" if part == "training" else "(new) "
    for episode in episodes[:filmed]:
        episode.film(f"{kind}- start")
    while running := [episode for episode in episodes if not episode.over]:
        images = torch.from_numpy(np.stack([episode.image for episode in running])).long()
        words = torch.from_numpy(tokens([episode.mission for episode in running]))
        logits = network.act(network.encode(images, words, torch.arange(len(running))))
        for episode, action in zip(running, logits.argmax(-1).tolist(), strict=True):
            observation, reward, terminated, truncated, _ = episode.env.step(action)
            episode.image, episode.steps = observation["image"], episode.steps + 1
            episode.over, episode.success = terminated or truncated, reward > 0
            if any(episode is one for one in episodes[:filmed]):
                end = ": done" if episode.success else ": failed" if episode.over else ""
                episode.film(f"{kind}- step {episode.steps}, {ACTIONS[action]}{end}")
    frames = [frame for episode in episodes[:filmed] for frame in episode.frames]
    return Played(np.array([episode.success for episode in episodes]), frames)
