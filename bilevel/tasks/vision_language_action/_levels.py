"""BabyAI's levels: environments, missions as words, and the pairs of color and object that they name."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterable, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from games.core import require, require_name

COLORS = ("red", "green", "blue", "purple", "yellow", "grey")
TYPES = ("key", "ball", "box", "door")
WORDS = (
    *COLORS, *TYPES, "object", "go", "to", "pick", "up", "open", "put", "next", "a", "the", "in", "front",
    "of", "you", "behind", "on", "your", "left", "right", "then", "after", "and",
)  # fmt: skip
"""Every word of BabyAI's missions; a mission's tokens are 1 + their places, and 0 is padding."""
SIDE = 7
"""Side of the agent's view, in cells."""
CHANNELS = {"object": 11, "color": 6, "state": 3}
"""Channels of a cell of the view -> their number of values."""
ACTIONS = ("left", "right", "forward", "pickup", "drop", "toggle", "done")

Pair = tuple[str, str]  # color and type


def make_level(name: str) -> Any:
    """Make an environment of a level, without Gymnasium's wrappers.

    Raises:
        ValueError: minigrid has no such level (names the nearest).
        ModuleNotFoundError: minigrid is not installed.

    >>> make_level("BabyAI-GoToLocalS6N3-v0").room_size
    6
    >>> make_level("BabyAI-GoToLocalS6N33-v0")
    Traceback (most recent call last):
    ValueError: There is no level of BabyAI 'BabyAI-GoToLocalS6N33-v0'. Did you mean ...
    """
    require_level(name)
    return import_module("gymnasium").make(name).unwrapped


def require_level(name: str) -> None:
    """Raise ValueError, naming the nearest, unless minigrid has a level of BabyAI of this name."""
    import_module("minigrid")
    levels = [one for one in import_module("gymnasium").registry if one.startswith("BabyAI-")]
    require_name(name, levels, "level of BabyAI")


def reset(env: Any, seed: Sequence[int]) -> dict[str, Any]:
    """Start an episode; the numbers determine it. Rejected layouts, which minigrid prints, are not shown.

    >>> reset(make_level("BabyAI-GoToLocalS6N3-v0"), (0, 1))["image"].shape
    (7, 7, 3)
    """
    number = int(np.random.SeedSequence(list(seed)).generate_state(1)[0])
    with contextlib.redirect_stdout(io.StringIO()):
        observation: dict[str, Any] = env.reset(seed=number)[0]
    return observation


def words(mission: str) -> list[str]:
    """Split a mission into its words.

    >>> words("pick up a box, then go to the red ball")[-4:]
    ['to', 'the', 'red', 'ball']
    """
    return re.findall("[a-z]+", mission)


def pairs(mission: str) -> frozenset[Pair]:
    """Pairs of color and type that a mission names.

    >>> sorted(pairs("put the red key next to the blue ball"))
    [('blue', 'ball'), ('red', 'key')]
    """
    listed = words(mission)
    return frozenset(pair for pair in pairwise(listed) if pair[0] in COLORS and pair[1] in TYPES)


def tokens(missions: Iterable[str]) -> NDArray[np.int64]:
    """Encode missions by their words, [mission, word], with 0 after the last word.

    Raises:
        ValueError: a word is not among those of BabyAI's missions.

    >>> tokens(["go to a key", "open the red door"])
    array([[12, 13, 19,  7],
           [16, 20,  1, 10]])
    """
    split = [words(mission) for mission in missions]
    unknown = sorted({word for one in split for word in one} - set(WORDS))
    require(not unknown, f"A mission has words that BabyAI's missions do not have: {', '.join(unknown)}.")
    encoded = np.zeros((len(split), max(map(len, split))), dtype=np.int64)
    for row, one in enumerate(split):
        encoded[row, : len(one)] = [1 + WORDS.index(word) for word in one]
    return encoded
