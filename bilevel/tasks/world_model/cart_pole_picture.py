"""CartPole's picture, of which only what is seen is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pygame
from numpy.typing import NDArray
from pygame import gfxdraw

from bilevel.tasks.world_model.settings import WorldModelSettings

WIDTH, HEIGHT = 600, 400
SCALE = WIDTH / 4.8
"""Pixels in a unit of position."""
CART, POLE = (50.0, 30.0), (10.0, SCALE)
"""Width and height, in pixels."""
TOP = 100
"""Of the cart, and the track, from below."""


class CartPolePicture:
    """Gymnasium's own picture to the last bit (a test compares them), without clearing and copying all of it.

    Args:
        settings: crop and shrink.

    Source:
        Gymnasium 1.4, `CartPoleEnv.render`, for positions, sizes and colours.
    """

    def __init__(self, settings: WorldModelSettings) -> None:
        self._settings = settings
        top, bottom, left, right = settings.crop
        # Drawn from below, as Gymnasium does before it turns the picture over.
        self._rows, self._columns = slice(HEIGHT - bottom, HEIGHT - top), slice(left, right)
        self._surface = pygame.Surface((WIDTH, HEIGHT), depth=32)
        self._window = pygame.Rect(left, HEIGHT - bottom, right - left, bottom - top)

    def __call__(self, position: float, angle: float) -> NDArray[np.float32]:
        """Darkness of each pixel of the down-scaled picture, [pixel], row by row, from 0 to 1.

        Args:
            position: of the cart, in the environment's units.
            angle: of the pole, in radians.
        """
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
        for corners_of, colour in ((cart, (0, 0, 0)), (pole, (202, 152, 101))):
            gfxdraw.aapolygon(surface, corners_of, colour)
            gfxdraw.filled_polygon(surface, corners_of, colour)
        for circle in (gfxdraw.aacircle, gfxdraw.filled_circle):
            circle(surface, int(middle), int(axle), int(side), (129, 132, 203))
        gfxdraw.hline(surface, 0, WIDTH, TOP, (0, 0, 0))
        return self._shrunk()

    def _shrunk(self) -> NDArray[np.float32]:
        rows, columns = self._settings.picture
        size = self._settings.shrink
        # Rows from below; four bytes a pixel, of which three are colours.
        memory: Any = self._surface.get_buffer()
        packed = np.frombuffer(memory, np.uint8).reshape(HEIGHT, 4 * WIDTH)
        by_rows = packed[self._rows].reshape(rows, size, -1).sum(1, dtype=np.uint32)
        colours = by_rows.reshape(rows, WIDTH, 4)[:, self._columns, :3]
        sums = colours.reshape(rows, columns, -1).sum(2)[::-1]
        return np.asarray(1 - sums / np.float32(255 * size * size * 3), np.float32).reshape(-1)
