"""Copies of a Gymnasium environment, seen as small grey pictures."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from torch import Tensor

from bilevel.errors import require
from bilevel.tasks.world_model.cart_pole_picture import CartPolePicture
from bilevel.tasks.world_model.settings import WorldModelSettings

Pixels = NDArray[np.float32]
FADING = 0.3
"""Which part of the trail, a running mean of an episode's pictures, a new picture replaces."""


class Seen(NamedTuple):
    """What the copies show after a step; each [copy], the picture [copy, pixel]."""

    picture: Tensor
    """Darkness of each pixel, then its difference from the trail; both times the contrast."""
    reward: Tensor
    ended: Tensor
    """Whether the episode came to its end in this step."""
    stopped: Tensor
    """Whether it ended or ran out of time."""
    first: Tensor
    """Whether the picture is the first of an episode: then the action was not used, and not rewarded."""


class PixelEnvironment:
    """A batch of copies of an environment; a finished one starts again in the step after its last.

    Args:
        settings: of the task; environment, crop and shrink count here.
        copies: how many are played at once.
        seed: of the copies' first states and all later draws.

    Raises:
        ValueError: the environment is unknown, or its actions are not discrete, or it does not render.
    """

    def __init__(self, settings: WorldModelSettings, copies: int, seed: int) -> None:
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            self._copies = gymnasium.make_vec(settings.environment, copies, render_mode="rgb_array")
        except gymnasium.error.Error as error:
            raise ValueError(
                f"Gymnasium cannot make the environment {settings.environment!r}: {error}"
            ) from None
        space = self._copies.single_action_space
        if not isinstance(space, gymnasium.spaces.Discrete):
            raise ValueError(
                f"The controller chooses among discrete actions, but {settings.environment} has {space}."
            )
        mode = self._copies.metadata["autoreset_mode"]
        require(
            mode == AutoresetMode.NEXT_STEP, f"Finished copies must start again a step later, not by {mode}."
        )
        self.actions = int(space.n)
        self._settings = settings
        self._seed: int | None = seed
        plain = self._copies.unwrapped
        self._drawer = CartPolePicture(settings) if isinstance(plain, CartPoleVectorEnv) else None
        self._trail: Pixels = np.zeros((copies, int(np.prod(settings.picture))), np.float32)
        self._stopped = np.zeros(copies, bool)

    def reset(self) -> Tensor:
        """Start all copies anew; gives their pictures, [copy, pixel]."""
        self._copies.reset(seed=self._seed)
        self._seed = None  # later starts go on drawing
        self._stopped[:] = False
        return self._look(np.ones_like(self._stopped))

    def step(self, actions: Tensor) -> Seen:
        """Take one action in each copy, [copy]."""
        first = self._stopped
        _, reward, ended, cut, _ = self._copies.step(actions.numpy())
        self._stopped = ended | cut
        others = (torch.as_tensor(np.asarray(x)) for x in (reward, ended, self._stopped, first))
        reward_now, *flags = others
        return Seen(self._look(first), reward_now.float(), *(flag.clone() for flag in flags))

    def close(self) -> None:
        """Give back what the environment holds."""
        self._copies.close()

    def _look(self, first: NDArray[np.bool_]) -> Tensor:
        now = self._pictures()
        self._trail = np.where(first[:, None], now, self._trail)
        change = now - self._trail
        self._trail = self._trail + FADING * change
        return self._settings.contrast * torch.from_numpy(np.concatenate((now, change), 1))

    def _pictures(self) -> Pixels:
        if self._drawer is not None:
            states: Any = self._copies.unwrapped
            return np.stack([self._drawer(position, angle) for position, _, angle, _ in states.state.T])
        frames: Any = self._copies.render()
        return np.stack([darkness(np.asarray(frame), self._settings) for frame in frames])


def darkness(frame: NDArray[np.uint8], settings: WorldModelSettings) -> Pixels:
    """Cut out, average over blocks of pixels and over colours, and turn round, so that white is 0.

    Args:
        frame: as rendered, [row, column, colour], from 0 to 255.
        settings: crop and shrink.

    Returns:
        from 0 to 1, [pixel], row by row.

    Raises:
        ValueError: the picture is smaller than the crop.
    """
    top, bottom, left, right = settings.crop
    require(
        frame.ndim == 3 and frame.shape[0] >= bottom and frame.shape[1] >= right,
        f"crop reaches to row {bottom} and column {right}, but pictures are {frame.shape[0]} by "
        f"{frame.shape[1] if frame.ndim > 1 else 1}.",
    )
    rows, columns = settings.picture
    size = settings.shrink
    seen = frame[top:bottom, left:right].reshape(rows, size, columns * size * frame.shape[2])
    sums = seen.sum(1, dtype=np.uint32).reshape(rows, columns, -1).sum(2)
    return np.asarray(1 - sums / np.float32(255 * size * size * frame.shape[2]), np.float32).reshape(-1)
