"""Steps, beams and distances on maps small enough to check by hand."""

from __future__ import annotations

import pytest
import torch

from games.grid._tables import (
    EAST,
    NORTH,
    SOUTH,
    WEST,
    beam_table,
    cell_indices,
    cell_mask,
    distances,
    paths,
    rows_at,
    squares,
)

CPU = torch.device("cpu")


def test_steps_stop_at_walls_and_at_the_edge() -> None:
    # 0 1 2
    # 3 # 5
    table = paths((2, 3), (4,), CPU)
    assert table[:, 0].tolist() == [0, 1, 3, 0, 0]
    assert table[:, 1].tolist() == [1, 2, 1, 0, 1]
    assert table[:, 5].tolist() == [2, 5, 5, 5, 5]


@pytest.mark.parametrize(
    ("face", "rays"),
    [
        (NORTH, [[11, 6], [7, 2], [13, 8]]),
        (EAST, [[7, 8], [13, 14], [17, 18]]),
        (SOUTH, [[13, 18], [17, 22], [11, 16]]),
        (WEST, [[17, 16], [11, 10], [7, 6]]),
    ],
)
def test_the_middle_ray_starts_in_front_and_the_others_beside(face: int, rays: list[list[int]]) -> None:
    """From the middle of 5x5 cells; rays from left to right."""
    assert beam_table((5, 5), (), 2, 3, CPU)[face, 1 + 12].tolist() == rays


def test_beams_end_at_walls_and_at_the_edge() -> None:
    table = beam_table((5, 5), (7,), 3, 3, CPU)
    assert table[NORTH, 1 + 12].tolist() == [[11, 6, 1], [25, 25, 25], [13, 8, 3]]
    assert table[NORTH, 1 + 5].tolist() == [[25, 25, 25], [0, 25, 25], [6, 1, 25]]
    assert table[:, 0].eq(25).all()


def test_ways_lead_around_walls() -> None:
    # 0 # 2
    # 3 # 5
    # 6 7 8
    apart = distances((3, 3), (1, 4), CPU)
    assert apart[0].tolist() == [0, 9, 6, 1, 9, 5, 2, 3, 4]
    shut = distances((1, 3), (1,), CPU)
    assert shut.tolist() == [[0, 3, 3], [3, 3, 3], [3, 3, 0]]
    assert squares((2, 3), CPU)[0].tolist() == [0, 1, 4, 1, 2, 5]


def test_rows_are_looked_up_by_where_one_faces_and_nowhere_is_row_0() -> None:
    table = torch.arange(12).reshape(4, 3)  # two cells
    places = torch.tensor([[0, 1, -1]])
    assert rows_at(table, None, places).tolist() == [[1, 2, 0]]
    assert rows_at(table, torch.tensor([[3, 1, 2]]), places).tolist() == [[10, 5, 6]]


def test_cells_as_index_and_as_mask() -> None:
    assert cell_indices((), CPU).tolist() == []
    assert cell_indices((2, 0), CPU).tolist() == [2, 0]
    assert cell_mask((1, 3), (2, 0), CPU).tolist() == [True, False, True]
