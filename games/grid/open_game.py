"""What the games on open ground have in common: who walks there, for how long, and what they see."""

from __future__ import annotations

import abc
from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from games.drawn import DrawnGame
from games.errors import require
from games.grid.frame import Figure, Thing, draw_grid, fitting
from games.grid.views import window_shape


@dataclass(frozen=True, kw_only=True)
class OpenGroundGame(DrawnGame, abc.ABC):
    """A game of agents who walk on open ground and see planes in a window around them.

    Raises:
        ValueError: nobody plays, there is no step, or the view is negative.
    """

    agents: int = 4
    """How many agents play; at least 1."""
    horizon: int = 100
    """The most steps of an episode; at least 1."""
    view: int = 2
    """How many cells an agent sees in each direction; 0 or more."""

    def __post_init__(self) -> None:
        """Check the settings."""
        require(self.agents >= 1, f"Somebody has to play: agents is {self.agents}.")
        require(self.horizon >= 1, f"An episode needs at least 1 step; horizon is {self.horizon}.")
        require(self.view >= 0, f"view must be 0 or more, not {self.view}.")

    @property
    @abc.abstractmethod
    def extent(self) -> tuple[int, int]:
        """Rows and columns of the ground."""

    @property
    @abc.abstractmethod
    def planes(self) -> int:
        """How many planes an agent sees; the class says which."""

    @property
    def num_agents(self) -> int:
        """How many agents play."""
        return self.agents

    @property
    def symmetric(self) -> bool:
        """Places to start from, and who gets a contested cell, are drawn."""
        return True

    @property
    def observation_space(self) -> spaces.Box:
        """Planes in a window."""
        return spaces.Box(0.0, 1.0, (self.planes, *window_shape((self.view,) * 4)), dtype=np.float32)

    def draw(self, things: list[Thing], places: list[int], scale: float) -> np.ndarray:
        """Draw things and agents on plain ground: uint8 [height, width, 3].

        Args:
            things: what lies where.
            places: the agents' cells; below 0 is nowhere.
            scale: how many times as large as usual.
        """
        height, width = self.extent
        agents = [Figure(cell, number) for number, cell in enumerate(places)]
        return draw_grid(
            [["ground"] * width] * height, things, agents, cell=fitting(self.extent), scale=scale
        )


@dataclass(frozen=True, kw_only=True)
class SquareGame(OpenGroundGame, abc.ABC):
    """A game on open ground that is a square.

    Raises:
        ValueError: as in `OpenGroundGame`, or the square is too small.
    """

    size: int = 8
    """Cells of a side; at least 2."""

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require(self.size >= 2, f"The ground needs at least 2 cells a side; size is {self.size}.")

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns of the ground."""
        return self.size, self.size
