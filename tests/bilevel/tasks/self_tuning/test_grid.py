"""Transitions of the two-color grid, against rules written out cell by cell."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bilevel.tasks.self_tuning._grid import (
    CELLS,
    STATES,
    Cells,
    cells_of,
    free_cell,
    number,
    rewards_of,
    two_color_grid,
)

MOVES = {0: (-1, 0), 1: (1, 0), 2: (0, -1), 3: (0, 1)}


def by_hand(agent: int, blue: int, red: int, action: int, draw: int) -> tuple[tuple[int, int, int], int]:
    """The rules: walls stop, an object that is reached moves to the draw-th free cell."""
    row, column = divmod(agent, 5)
    down, right = MOVES[action]
    if 0 <= row + down < 5 and 0 <= column + right < 5:
        agent = (row + down) * 5 + column + right
    if agent == blue:
        return (agent, [cell for cell in range(CELLS) if cell not in (agent, red)][draw], red), 1
    if agent == red:
        return (agent, blue, [cell for cell in range(CELLS) if cell not in (agent, blue)][draw]), -1
    return (agent, blue, red), 0


@given(
    st.permutations(range(CELLS)).map(lambda cells: cells[:3]),
    st.integers(0, 3),
    st.integers(0, CELLS - 3),
)
@settings(max_examples=200)
def test_steps(cells, action, draw):
    grid = two_color_grid()
    state = number(Cells(*map(torch.tensor, cells)))
    after, taken = grid.step(state, torch.tensor(action), torch.tensor(draw))
    expected, object_taken = by_hand(*cells, action, draw)
    assert tuple(map(int, cells_of(after))) == expected
    assert taken == object_taken


def test_every_cell_that_is_free_is_drawn_once():
    draws = torch.arange(CELLS - 2)
    for first, second in ((0, 24), (7, 6), (3, 12)):
        cells = free_cell(draws, torch.tensor(first), torch.tensor(second)).tolist()
        assert cells == [cell for cell in range(CELLS) if cell not in (first, second)]


def test_start_is_uniform_over_different_cells():
    uniform = torch.rand(40_000, 3, generator=torch.Generator().manual_seed(0))
    cells = cells_of(two_color_grid().start(uniform))
    assert not ((cells.agent == cells.blue) | (cells.agent == cells.red) | (cells.blue == cells.red)).any()
    for cell in cells:
        counts = torch.bincount(cell, minlength=CELLS)
        assert (counts - 1600).abs().max() < 5 * 1600**0.5


def test_observations_are_rows_and_columns():
    grid = two_color_grid()
    assert grid.observations.shape == (STATES, 30)
    state = number(Cells(torch.tensor(7), torch.tensor(24), torch.tensor(0)))  # (1, 2), (4, 4), (0, 0)
    assert grid.observations[state].nonzero().flatten().tolist() == [1, 7, 14, 19, 20, 25]


def test_rewards_swap():
    taken = torch.tensor([[1.0, -1.0, 0.0]] * 2)
    rewards = rewards_of(taken, torch.tensor([[1.0], [-1.0]]))
    torch.testing.assert_close(rewards, torch.tensor([[1.0, -1.0, -0.04], [-1.0, 1.0, -0.04]]))
