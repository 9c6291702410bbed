"""The two-color grid: a continuing task whose rewards swap, many copies at once."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

SIZE = 5
CELLS = SIZE * SIZE
STATES = CELLS**3
FEATURES = 6 * SIZE
ACTIONS = 4
STEP_REWARD = -0.04


class Cells(NamedTuple):
    """Cells of the agent and of the objects, from 0 to 24, row by row; int64, all different."""

    agent: Tensor
    blue: Tensor
    red: Tensor


def number(cells: Cells) -> Tensor:
    """The number of a state, below 25^3.

    >>> number(Cells(torch.tensor(1), torch.tensor(2), torch.tensor(3)))
    tensor(678)
    """
    return (cells.agent * CELLS + cells.blue) * CELLS + cells.red


def cells_of(state: Tensor) -> Cells:
    """The cells of numbered states.

    >>> cells_of(torch.tensor(678))
    Cells(agent=tensor(1), blue=tensor(2), red=tensor(3))
    """
    return Cells(state // CELLS**2, state // CELLS % CELLS, state % CELLS)


def free_cell(draw: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """The cell that a draw from 0 to 22 selects among those other than two different ones.

    >>> free_cell(torch.tensor([0, 22]), torch.tensor([1, 24]), torch.tensor([0, 3]))
    tensor([ 2, 23])
    """
    cell = draw + (draw >= torch.minimum(first, second))
    return cell + (cell >= torch.maximum(first, second))


class Grid(NamedTuple):
    """Observations and transitions as tables, so a step takes a few look-ups."""

    observations: Tensor
    """One-hot row and column of the agent, blue and red, float32 [state, 30]."""
    after: Tensor
    """The next state without the cell of the object that is placed again; [state x action]."""
    stride: Tensor
    """Factor of this cell, 0 where no object is taken; [state x action]."""
    places: Tensor
    """The first entry of `free` for the two cells that remain occupied; [state x action]."""
    free: Tensor
    """Free cells, [pair of occupied cells x draw]."""
    taken: Tensor
    """1 if blue is taken, -1 for red, else 0; float32 [state x action]."""

    def start(self, uniform: Tensor) -> Tensor:
        """Place the agent and the objects on different, uniformly random cells.

        Args:
            uniform: random numbers in [0, 1), [..., copy, 3].

        Returns:
            States, [..., copy].
        """
        agent = (uniform[..., 0] * CELLS).long()
        blue = (uniform[..., 1] * (CELLS - 1)).long()
        blue = blue + (blue >= agent)
        return number(Cells(agent, blue, free_cell((uniform[..., 2] * (CELLS - 2)).long(), agent, blue)))

    def step(self, states: Tensor, actions: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Move, and place an object that is reached on another free cell.

        Args:
            states: [..., copy].
            actions: 0 up, 1 down, 2 left, 3 right, int64 [..., copy].
            draws: random numbers from 0 to 22, int64 [..., copy].

        Returns:
            The next states; and the objects taken: 1 blue, -1 red, 0 none, float32.
        """
        place = states * ACTIONS + actions
        following = self.after[place] + self.stride[place] * self.free[self.places[place] + draws]
        return following, self.taken[place]


def rewards_of(taken: Tensor, blue_reward: Tensor | float) -> Tensor:
    """Rewards of the objects taken: blue's, red's opposite one, or -0.04.

    >>> rewards_of(torch.tensor([1.0, -1.0, 0.0]), -1.0)
    tensor([-1.0000,  1.0000, -0.0400])
    """
    return torch.where(taken == 0, STEP_REWARD, taken * blue_reward)


@functools.cache
def two_color_grid() -> Grid:
    """Build the grid's tables.

    Source:
        Flennerhag et al., Bootstrapped meta-learning, arXiv 2109.04504, section 5.1.
    """
    one = torch.arange(CELLS)
    rows, columns = one // SIZE, one % SIZE
    ends = [(rows - 1, columns), (rows + 1, columns), (rows, columns - 1), (rows, columns + 1)]
    moves = torch.stack([r.clamp(0, SIZE - 1) * SIZE + c.clamp(0, SIZE - 1) for r, c in ends], 1)
    codes = torch.cat([one_hot(rows, SIZE), one_hot(columns, SIZE)], 1).float()
    cells = cells_of(torch.arange(STATES))
    agent = moves[cells.agent].flatten()
    blue, red = (cell.repeat_interleave(ACTIONS) for cell in (cells.blue, cells.red))
    blue_taken = agent == blue
    red_taken = (agent == red) & ~blue_taken
    none = torch.zeros_like(agent)
    after = Cells(agent, torch.where(blue_taken, none, blue), torch.where(red_taken, none, red))
    stride = torch.where(blue_taken, CELLS, red_taken.long())
    other = torch.where(blue_taken, red, blue)
    draws = CELLS - 2
    pair = torch.arange(CELLS * CELLS * draws)
    free = free_cell(pair % draws, pair // draws // CELLS, pair // draws % CELLS).clamp(max=CELLS - 1)
    return Grid(
        observations=torch.cat([codes[cell] for cell in cells], 1),
        after=number(after),
        stride=stride,
        places=(agent * CELLS + other) * draws,
        free=free,
        taken=blue_taken.float() - red_taken.float(),
    )
