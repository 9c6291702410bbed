"""Copies of a Gymnasium environment, observed as small gray images, and roll-outs in them."""

from __future__ import annotations

import os
from typing import Any, Literal, NamedTuple

import gymnasium
import numpy as np
import pygame
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from pygame import gfxdraw
from torch import Tensor
from torch.nn.functional import one_hot

from bilevel.tasks.world_model._latents import gumbel
from bilevel.tasks.world_model._model import WorldModel
from bilevel.tasks.world_model._settings import WorldModelSettings
from games.core import require

WIDTH, HEIGHT = 600, 400
SCALE = WIDTH / 4.8  # pixels in a unit of position
CART, POLE = (50.0, 30.0), (10.0, SCALE)  # width and height, in pixels
TOP = 100  # height of the cart and the track above the bottom


class CartPolePicture:
    """Gymnasium's rendering bit-for-bit, drawn within the crop only.

    Source:
        Gymnasium 1.4, `CartPoleEnv.render`, for positions, sizes and colors.
    """

    def __init__(self, settings: WorldModelSettings) -> None:
        self._settings = settings
        top, bottom, left, right = settings.crop
        # Drawn from below, as Gymnasium does before it flips the picture.
        self._rows, self._columns = slice(HEIGHT - bottom, HEIGHT - top), slice(left, right)
        self._surface = pygame.Surface((WIDTH, HEIGHT), depth=32)
        self._window = pygame.Rect(left, HEIGHT - bottom, right - left, bottom - top)

    def __call__(self, position: float, angle: float) -> NDArray[np.float32]:
        """Darkness from 0 to 1 of the down-scaled picture's pixels, row by row; angle in radians."""
        surface = self._surface
        surface.fill((255, 255, 255), self._window)
        middle = position * SCALE + WIDTH / 2.0
        axle = TOP + CART[1] / 4.0
        half = CART[0] / 2, CART[1] / 2
        cart = [(x * half[0] + middle, y * half[1] + TOP) for x, y in ((-1, -1), (-1, 1), (1, 1), (1, -1))]
        low, high, side = -POLE[0] / 2, POLE[1] - POLE[0] / 2, POLE[0] / 2
        corners = ((-side, low), (-side, high), (side, high), (side, low))
        turned = [pygame.math.Vector2(corner).rotate_rad(-angle) for corner in corners]
        pole = [(corner[0] + middle, corner[1] + axle) for corner in turned]
        for corners_of, color in ((cart, (0, 0, 0)), (pole, (202, 152, 101))):
            gfxdraw.aapolygon(surface, corners_of, color)
            gfxdraw.filled_polygon(surface, corners_of, color)
        for circle in (gfxdraw.aacircle, gfxdraw.filled_circle):
            circle(surface, int(middle), int(axle), int(side), (129, 132, 203))
        gfxdraw.hline(surface, 0, WIDTH, TOP, (0, 0, 0))
        rows, columns = self._settings.picture
        size = self._settings.downsample
        # Rows from below; four bytes a pixel, of which three are colors.
        memory: Any = surface.get_buffer()
        packed = np.frombuffer(memory, np.uint8).reshape(HEIGHT, 4 * WIDTH)
        by_rows = packed[self._rows].reshape(rows, size, -1).sum(1, dtype=np.uint32)
        colors = by_rows.reshape(rows, WIDTH, 4)[:, self._columns, :3]
        sums = colors.reshape(rows, columns, -1).sum(2)[::-1]
        return np.asarray(1 - sums / np.float32(255 * size * size * 3), np.float32).reshape(-1)


Pixels = NDArray[np.float32]
DECAY = 0.3  # weight of a new picture in the trail, a running mean of an episode's pictures


class PixelStep(NamedTuple):
    """The copies after a step; each [copy], the picture [copy, pixel]."""

    picture: Tensor  # darkness of each pixel, then its difference from the trail; both times the contrast
    reward: Tensor
    ended: Tensor  # mask of episodes that terminated in this step
    stopped: Tensor  # mask of episodes that terminated or were truncated
    first: Tensor  # mask of first pictures of an episode: the action was ignored, and not rewarded


class PixelEnvironment:
    """A batch of copies of an environment; a finished one restarts in the step after its last.

    Raises:
        ValueError: the environment is unknown, its actions are not discrete, or it does not render.
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
        """Reset all copies, and return their pictures, [copy, pixel]."""
        self._copies.reset(seed=self._seed)
        self._seed = None  # later resets continue the random streams
        self._stopped[:] = False
        return self._observe(np.ones_like(self._stopped))

    def step(self, actions: Tensor) -> PixelStep:
        """Take one action in each copy, [copy]."""
        first = self._stopped
        _, reward, ended, cut, _ = self._copies.step(actions.numpy())
        self._stopped = ended | cut
        masks = (torch.tensor(mask) for mask in (ended, self._stopped, first))
        return PixelStep(self._observe(first), torch.as_tensor(reward).float(), *masks)

    def close(self) -> None:
        """Release the environment's resources."""
        self._copies.close()

    def _observe(self, first: NDArray[np.bool_]) -> Tensor:
        now = self._pictures()
        self._trail = np.where(first[:, None], now, self._trail)
        change = now - self._trail
        self._trail = self._trail + DECAY * change
        return self._settings.contrast * torch.from_numpy(np.concatenate((now, change), 1))

    def _pictures(self) -> Pixels:
        if self._drawer is not None:
            states: Any = self._copies.unwrapped
            return np.stack([self._drawer(position, angle) for position, _, angle, _ in states.state.T])
        frames: Any = self._copies.render()
        return np.stack([darkness(np.asarray(frame), self._settings) for frame in frames])


def darkness(frame: NDArray[np.uint8], settings: WorldModelSettings) -> Pixels:
    """Crop, average over blocks of pixels and over colors, and invert: [pixel], row by row, white is 0."""
    top, bottom, left, right = settings.crop
    require(
        frame.ndim == 3 and frame.shape[0] >= bottom and frame.shape[1] >= right,
        f"crop reaches to row {bottom} and column {right}, but pictures are {frame.shape[0]} by "
        f"{frame.shape[1] if frame.ndim > 1 else 1}.",
    )
    rows, columns = settings.picture
    size = settings.downsample
    cropped = frame[top:bottom, left:right].reshape(rows, size, columns * size * frame.shape[2])
    sums = cropped.sum(1, dtype=np.uint32).reshape(rows, columns, -1).sum(2)
    return np.asarray(1 - sums / np.float32(255 * size * size * frame.shape[2]), np.float32).reshape(-1)


Actions = Literal["sampled", "likeliest", "uniform"]


class PixelRollout(NamedTuple):
    """A window of steps of all copies; each [time, copy, ...]."""

    pictures: Tensor  # [time + 1, copy, pixel]
    first: Tensor  # mask of the first pictures of episodes, [time + 1, copy]
    actions: Tensor  # One-hot, [time, copy, action]
    log_policy: Tensor  # log probability of the action, [time, copy]
    rewards: Tensor
    ended: Tensor  # 1 where an episode terminated
    stopped: Tensor  # mask of terminated or truncated episodes
    hidden: Tensor  # state of the recurrent network before the first picture, [copy, unit]

    @property
    def counts(self) -> Tensor:
        """Mask of the steps whose action was used, [time, copy]: not those that only restart an episode."""
        return ~self.first[1:]

    def of_copies(self, copies: slice) -> PixelRollout:
        """The roll-out of some copies."""
        sequences = {name: getattr(self, name)[:, copies] for name in self._fields if name != "hidden"}
        return PixelRollout(**sequences, hidden=self.hidden[copies])


class PixelActor:
    """Acts in the copies by the model's controller, and keeps its hidden state."""

    def __init__(self, environment: PixelEnvironment, model: WorldModel, generator: torch.Generator) -> None:
        self.environment, self.model, self.generator = environment, model, generator
        self.picture = environment.reset()
        copies = len(self.picture)
        self.first = torch.ones(copies, dtype=torch.bool)
        self.hidden = torch.zeros(copies, model.dynamics.cell.hidden_size)

    @torch.no_grad()
    def play(self, steps: int, actions: Actions = "sampled") -> PixelRollout:
        """Take `steps` steps in every copy; `uniform` actions ignore the policy."""
        start, columns = self.hidden, []
        pictures, first = [self.picture], [self.first]
        for _ in range(steps):
            latents = self.model.features(self.picture)
            self.hidden = self.hidden * ~self.first[:, None]
            logits = self.model.controller(latents, self.hidden)
            logits = torch.zeros_like(logits) if actions == "uniform" else logits
            noise = 0 if actions == "likeliest" else gumbel(tuple(logits.shape), self.generator)
            chosen = (logits + noise).argmax(-1)
            action = one_hot(chosen, logits.shape[-1]).float()
            self.hidden = self.model.dynamics.advance(self.hidden, latents, action)
            after = self.environment.step(chosen)
            self.picture, self.first = after.picture, after.first
            pictures.append(self.picture)
            first.append(self.first)
            log_policy = (logits.log_softmax(-1) * action).sum(-1)
            columns.append((action, log_policy, after.reward, after.ended.float(), after.stopped))
        names = ("actions", "log_policy", "rewards", "ended", "stopped")
        stacked = dict(zip(names, map(torch.stack, zip(*columns, strict=True)), strict=True))
        return PixelRollout(pictures=torch.stack(pictures), first=torch.stack(first), hidden=start, **stacked)


def episode_returns(environment: PixelEnvironment, model: WorldModel, generator: torch.Generator) -> Tensor:
    """The return of the first episode of every copy by the likeliest actions, [copy], in rewards."""
    actor = PixelActor(environment, model, generator)
    returns, playing = torch.zeros(len(actor.picture)), torch.ones(len(actor.picture), dtype=torch.bool)
    while playing.any():
        step = actor.play(1, "likeliest")
        returns = returns + playing * step.rewards[0]
        playing = playing & ~step.stopped[0]
    return returns
