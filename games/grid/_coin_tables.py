"""Transition tables of a small coin game: every step from every board."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Cells = Sequence[Tensor] | Tensor  # cells of agents and coins, integer [4, batch]; see `CoinTables`
Play = Callable[[Cells, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From cells, actions and draws to the next cells and rewards; see `CoinTables.play`."""


class Sizes(NamedTuple):
    """Sizes of the tables."""

    cells: int  # of the board
    moves: int  # actions of an agent
    flips: int  # binary draws in a step, after the first draw: true below 1/2

    @property
    def layouts(self) -> int:
        """Number of board indices, including a few that do not occur."""
        return self.cells**2 * (2 * self.cells + 1)

    @property
    def outcomes(self) -> int:
        """Number of boards after every joint action, every flip and every place of a new coin."""
        return self.layouts * self.moves**2 * int(2**self.flips) * self.cells


class CoinTables(NamedTuple):
    """All steps and all views of a board with one coin.

    Cells are those of red, blue, red coin and blue coin, -1 for the absent coin: integer [4, batch]. Red,
    blue and the difference of the coins' cells index the boards. A choice is a board with actions and flips.
    """

    sizes: Sizes
    rewards: Tensor  # both agents' rewards, float32, packed into 64 bits: [choice]
    free_count: Tensor  # number of cells a new coin may lie in: float32 [choice]
    row: Tensor  # row of `landings` of each choice, times the number of cells: integer [choice]
    # The next cells, int16, packed into 64 bits, for each place of a new coin among the free cells.
    landings: Tensor  # [row * rank]
    views: Tensor  # observations of both agents: float32 [layout, agent * entry]

    def play(self, cells: Cells, actions: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Play a step: the next cells; rewards, float32 [agent, batch].

        Draws, float32 [batch, 1 + flip], are for a new coin's place, then for the flips.
        """
        choice = self._layout(cells)
        for action in actions.unbind(1):
            choice = torch.add(action, choice, alpha=self.sizes.moves)
        for flip in draws.unbind(1)[1:]:
            choice = torch.add((flip < 0.5).long(), choice, alpha=2)
        rank = (draws[:, 0] * self.free_count.index_select(0, choice)).long()
        after = self.landings.index_select(0, rank + self.row.index_select(0, choice)).view(torch.int16)
        rewards = self.rewards.index_select(0, choice).view(torch.float32)
        rows = torch.contiguous_format
        return after.view(-1, 4).T.to(torch.int64, memory_format=rows), rewards.view(-1, 2).T

    def look(self, cells: Cells) -> Tensor:
        """Observations of both agents: float32 [batch, agent * entry]."""
        return self.views.index_select(0, self._layout(cells))

    def _layout(self, cells: Cells) -> Tensor:
        red, blue, red_coin, blue_coin = cells
        count = self.sizes.cells
        pair = torch.add(blue, red, alpha=count)
        return torch.add(blue_coin - red_coin + count, pair, alpha=2 * count + 1)


def tabulate(
    sizes: Sizes, play: Play, free_count: Callable[[Tensor], Tensor], observe: Callable[[Cells], Tensor]
) -> CoinTables:
    """Tabulate a game from its step, observations and number of free cells for a new coin.

    `free_count` maps agents' cells after a step, [agent, batch], to numbers of free cells, float32 [batch].
    """
    boards = _boards(sizes.cells)
    board, actions, draws = _choices(sizes, boards.shape[1])
    cells = boards[:, board]
    free = free_count(play(cells, actions, draws)[0][:2])
    landings = []
    for rank in range(sizes.cells):
        draws[:, 0] = (rank + 0.5) / free  # entries beyond the last free cell are never read
        after, rewards = play(cells, actions, draws)
        landings.append(after)
    packed = _pack(torch.stack(landings).movedim(1, -1).to(torch.int16))
    kinds, kind = np.unique(packed.T.numpy(), axis=0, return_inverse=True)
    return CoinTables(
        sizes,
        _pack(rewards.T),
        free,
        torch.from_numpy(kind * sizes.cells),
        torch.from_numpy(kinds).flatten(),
        observe(boards).flatten(1),
    )


def _pack(values: Tensor) -> Tensor:
    """Pack the last axis into one 64-bit number, several times as fast to look up as a row."""
    return values.contiguous().view(torch.int64).squeeze(-1)


def _boards(cells: int) -> Tensor:
    """All boards, as `CoinTables` numbers them: integer [4, layout]."""
    red, blue, difference = np.indices((cells, cells, 2 * cells + 1)).reshape(3, -1)
    difference = difference - cells
    # The coins' difference is never 0; entries there are not read.
    coins = np.where(difference > 0, -1, -difference - 1), np.where(difference > 0, difference - 1, -1)
    return torch.from_numpy(np.stack((red, blue, *coins)))


def _choices(sizes: Sizes, boards: int) -> tuple[Tensor, Tensor, Tensor]:
    """Every board with all actions and flips: board index, actions and draws."""
    shape = (boards, sizes.moves, sizes.moves, *[2] * sizes.flips)
    board, red, blue, *flips = torch.from_numpy(np.indices(shape).reshape(len(shape), -1))
    draws = torch.stack([torch.zeros(len(board)), *(0.75 - 0.5 * flip for flip in flips)], 1)
    return board, torch.stack((red, blue), 1), draws.float()
