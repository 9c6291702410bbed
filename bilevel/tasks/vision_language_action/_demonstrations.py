"""Demonstrations of BabyAI's bot, made once and kept in the user's cache folder."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from bilevel.experiments import write_atomic
from bilevel.tasks.vision_language_action._levels import ACTIONS, CHANNELS, SIDE, make_level, reset
from games.core import require

VARIABLE = "BILEVEL_DEMONSTRATIONS"
"""The environment variable that names another folder."""
BLOCK = 250
"""Demonstrations of a file."""


@dataclass(frozen=True)
class Demonstrations:
    """Demonstrations, one after the other: views, actions and missions."""

    images: NDArray[np.uint8]
    """Object, color and state of each cell of the view, [step, x, y, channel]."""
    actions: NDArray[np.uint8]
    """[step]."""
    lengths: NDArray[np.int64]
    """Steps of each demonstration."""
    missions: tuple[str, ...]
    """Mission of each demonstration."""

    def __post_init__(self) -> None:
        steps = len(self.actions)
        require(
            self.images.shape == (steps, SIDE, SIDE, len(CHANNELS))
            and self.images.dtype == self.actions.dtype == np.uint8
            and self.lengths.shape == (len(self.missions),)
            and self.lengths.dtype == np.int64
            and bool((self.lengths > 0).all())
            and int(self.lengths.sum()) == steps > 0
            and bool((self.actions < len(ACTIONS)).all())
            and bool((self.images < np.array(list(CHANNELS.values()))).all())
            and all(isinstance(mission, str) for mission in self.missions),
            "Shapes or values are not those of demonstrations.",
        )


def join(blocks: Sequence[Demonstrations]) -> Demonstrations:
    """Concatenate demonstrations."""
    return Demonstrations(
        np.concatenate([block.images for block in blocks]),
        np.concatenate([block.actions for block in blocks]),
        np.concatenate([block.lengths for block in blocks]),
        tuple(mission for block in blocks for mission in block.missions),
    )


def demonstrate(
    level: str, seed: int, block: int, count: int, listener: Callable[[float], object]
) -> Demonstrations:
    """Let BabyAI's bot solve episodes of a level; those that it does not solve are left out.

    Args:
        level: name of the level.
        seed: seed of the demonstrations.
        block: number of the block of demonstrations; another one has other episodes.
        count: number of demonstrations.
        listener: called with the finished fraction.

    Raises:
        ValueError: there is no such level, or the bot solves fewer than one of ten episodes.
    """
    env = make_level(level)
    bot = import_module("minigrid.utils.baby_ai_bot").BabyAIBot
    images: list[Any] = []
    actions: list[int] = []
    lengths: list[int] = []
    missions: list[str] = []
    number = 0
    while len(lengths) < count:
        require(number < 10 * count, f"BabyAI's bot solves fewer than one of ten episodes of {level}.")
        mission, seen, done = _solve(env, bot, (seed, 0, block, number))
        number += 1
        if done:
            images += seen
            actions += done
            lengths.append(len(done))
            missions.append(mission)
            listener(len(lengths) / count)
    return Demonstrations(
        np.stack(images),
        np.array(actions, dtype=np.uint8),
        np.array(lengths, dtype=np.int64),
        tuple(missions),
    )


def _solve(env: Any, bot: Any, seed: Sequence[int]) -> tuple[str, list[Any], list[int]]:
    """Mission, views and actions of an episode of the bot; no actions if it was not solved."""
    observation = reset(env, seed)
    planner, images, actions = bot(env), [], []
    action = None
    while True:
        try:
            action = planner.replan(action)
        except Exception:  # noqa: BLE001 - the bot gives up in several ways, AssertionError among them
            return env.mission, [], []
        images.append(observation["image"])
        actions.append(int(action))
        observation, reward, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            return env.mission, images, actions if reward > 0 else []


def cached(level: str, seed: int, block: int, listener: Callable[[float], object]) -> Demonstrations:
    """Read a block of demonstrations from the cache, or make it and write it there.

    A damaged or foreign file is made anew. Nothing in a file is executed.

    Raises:
        ValueError: as for `demonstrate`, or the cache cannot be written (says where it is).
    """
    make_level(level)
    path = folder() / f"{level}-seed-{seed}-block-{block}-of-{BLOCK}-minigrid-{_version()}.npz"
    try:
        return read(path)
    except (OSError, ValueError):
        made = demonstrate(level, seed, block, BLOCK, listener)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, made)
    except OSError as error:
        raise ValueError(
            f"Demonstrations cannot be written to {path.parent} ({error.strerror}): let {VARIABLE} name a "
            "folder that can be written to."
        ) from error
    return made


def folder() -> Path:
    """The folder of demonstrations: `$BILEVEL_DEMONSTRATIONS`, or one in the user's cache folder."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    try:
        return Path(platformdirs.user_cache_dir("bilevel")) / "demonstrations"
    except RuntimeError as error:  # no HOME, and no entry among the system's users
        raise ValueError(
            f"There is no home folder to keep demonstrations in: let {VARIABLE} name a folder."
        ) from error


def write(path: Path, made: Demonstrations) -> None:
    """Write demonstrations whole or not at all."""
    content = io.BytesIO()
    missions = np.frombuffer(json.dumps(made.missions).encode(), dtype=np.uint8)
    arrays: dict[str, Any] = {
        "images": made.images,
        "actions": made.actions,
        "lengths": made.lengths,
        "missions": missions,
    }
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_atomic(path, lambda file: file.write(content.getbuffer()))


def read(path: Path) -> Demonstrations:
    """Read demonstrations; OSError if there are none, ValueError if the file is damaged."""
    content = path.read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as entries:
            missions = tuple(json.loads(entries["missions"].tobytes()))
            return Demonstrations(entries["images"], entries["actions"], entries["lengths"], missions)
    except Exception as error:  # a damaged file can make the readers fail in any way at all
        raise ValueError(f"{path} is damaged.") from error


def _version() -> str:
    return str(import_module("importlib.metadata").version("minigrid"))
