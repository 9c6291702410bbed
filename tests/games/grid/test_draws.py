"""Choosing a cell by a uniform number."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from games.grid._moves import choose_cell


@given(
    allowed=st.lists(st.booleans(), min_size=1, max_size=12),
    draw=st.floats(0, 1, exclude_max=True, width=32),
)
def test_picks_the_allowed_cell_at_the_rank_that_is_drawn(allowed: list[bool], draw: float) -> None:
    cells = [cell for cell, free in enumerate(allowed) if free]
    number = torch.tensor(draw)
    expected = cells[int(number * len(cells))] if cells else -1
    assert choose_cell(torch.tensor(allowed), number).item() == expected


def test_all_allowed_cells_are_alike() -> None:
    allowed = torch.tensor([True, False, True, True, False])
    draws = (torch.arange(3000) + 0.5) / 3000
    assert choose_cell(allowed.expand(3000, -1), draws).bincount(minlength=5).tolist() == [
        1000,
        0,
        1000,
        1000,
        0,
    ]


def test_the_largest_draw_stays_inside() -> None:
    largest = 1 - torch.tensor(2.0) ** -24
    for count in (1, 3, 7, 100, 449, 512):
        assert choose_cell(torch.ones(count, dtype=torch.bool), largest).item() == count - 1
