"""The coin game as it is usually written: one copy, plain Python and NumPy, one step at a time."""

from __future__ import annotations

import numpy as np

from tests.benchmarks.case import Case, Run
from tests.benchmarks.problems import coin_game
from tests.benchmarks.problems.coin_game import CELLS, SIDE

MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))


class CoinGameOfOne:
    """One copy."""

    def __init__(self, draws: np.ndarray) -> None:
        self.places = [int(draws[0] * np.float32(CELLS))]
        self.places.append(self._free(draws[1]))
        self.red = bool(draws[2] < 0.5)
        self.coin = self._free(draws[3])

    def step(self, actions: np.ndarray, draw: np.float32) -> tuple[float, float]:
        """Move both, hand out the coin, lay a new one."""
        for agent in range(2):
            row, column = divmod(self.places[agent], SIDE)
            down, right = MOVES[actions[agent]]
            self.places[agent] = (row + down) % SIDE * SIDE + (column + right) % SIDE
        rewards = [0.0, 0.0]
        owner = 0 if self.red else 1
        for agent in range(2):
            if self.places[agent] == self.coin:
                rewards[agent] += 1.0
                if owner != agent:
                    rewards[owner] -= 2.0
        if self.coin in self.places:
            self.red = not self.red
            self.coin = self._free(draw)
        return rewards[0], rewards[1]

    def observe(self) -> np.ndarray:
        """Each agent's four planes: oneself, the other, one's own coin, the other's coin."""
        planes = np.zeros((2, 4, CELLS), dtype=np.float32)
        for agent in range(2):
            planes[agent, 0, self.places[agent]] = 1
            planes[agent, 1, self.places[1 - agent]] = 1
            planes[agent, 2 if self.red == (agent == 0) else 3, self.coin] = 1
        return planes

    def _free(self, draw: np.float32) -> int:
        free = [cell for cell in range(CELLS) if cell not in self.places]
        return free[int(draw * np.float32(len(free)))]


def coin(case: Case) -> Run:
    """Build it: one copy after the other."""
    given = coin_game.given(case)

    def run() -> np.ndarray:
        found = np.zeros((case.size, 2, 2), dtype=np.float32)
        for copy in range(case.size):
            game = CoinGameOfOne(given.start[copy])
            for k in range(case.steps):
                found[copy, :, 0] += game.step(given.actions[k, copy], given.draws[k, copy, 0])
                found[copy, :, 1] += game.observe().reshape(2, -1) @ coin_game.WEIGHTS
        return found

    return run
