"""Problem 5: many copies of the coin game, played with given actions and draws, and observed in every step.

The 3 x 3 torus with one coin whose color alternates, ties for both, four moves (`games.grid._coin_game`). A
call plays K steps of all copies and gives, for each agent of each copy, its total reward and a digest of all
that it saw: the sum over steps of its observation's 36 entries, each weighted by its place. So nobody can
leave an observation out, and all must play the same game.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from games.grid import CoinGame
from tests.benchmarks.case import Case

GAME = CoinGame()
SIDE = GAME.size
CELLS = SIDE**2
WEIGHTS = np.arange(1, 4 * CELLS + 1, dtype=np.float32)
"""Of an observation's entries; digests stay below 2^24, so that float32 holds them exactly."""


class Given(NamedTuple):
    """What everybody is given."""

    start: np.ndarray
    """Draws of the start, float32 [copy, start_draws]."""
    draws: np.ndarray
    """Draws of the steps, float32 [step, copy, step_draws]."""
    actions: np.ndarray
    """int64 [step, copy, agent]."""


def given(case: Case) -> Given:
    """Draw it."""
    generator = torch.Generator().manual_seed(0)
    actions = int(GAME.action_space.n)
    return Given(
        torch.rand(case.size, GAME.start_draws, generator=generator).numpy(),
        torch.rand(case.steps, case.size, GAME.step_draws, generator=generator).numpy(),
        torch.randint(actions, (case.steps, case.size, 2), generator=generator).numpy(),
    )
