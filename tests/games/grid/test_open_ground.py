"""Walking on open ground: by hand, against plain arithmetic, and what agents see."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from games.grid._open_ground import (
    STAY,
    WALKS,
    beside,
    distance,
    draw_cells,
    draw_distinct,
    toward,
    walk,
    windowed,
    windowed_agents,
)

sizes = st.tuples(st.integers(1, 5), st.integers(1, 5))


@given(size=sizes)
def test_walks_are_single_steps_that_the_border_stops(size):
    height, width = size
    cells = torch.arange(height * width)
    for number, (down, right) in enumerate(WALKS.values()):
        for cell, led in zip(cells.tolist(), walk(cells, torch.tensor(number), size).tolist(), strict=True):
            row, column = cell // width + down, cell % width + right
            inside = 0 <= row < height and 0 <= column < width
            assert led == (row * width + column if inside else cell)


def test_who_is_nowhere_or_does_something_else_does_not_walk():
    places = torch.tensor([-1, -1, 4, 4])
    assert walk(places, torch.tensor([0, 4, 4, 7]), (3, 3)).tolist() == [-1, -1, 4, 4]
    assert beside(torch.tensor(-1), (3, 3)).tolist() == [-1] * 4


@given(size=sizes, draws=st.data())
def test_toward_arrives_after_as_many_steps_as_the_distance(size, draws):
    cells = st.integers(0, size[0] * size[1] - 1)
    place, target = (torch.tensor([[draws.draw(cells)]]) for _ in range(2))
    steps = int(distance(place, target, size[1]))
    for left in range(steps, 0, -1):
        assert distance(place, target, size[1]) == left
        place = walk(place, toward(place, target, size), size)
    assert torch.equal(place, target)
    assert toward(place, target, size) == STAY


def test_toward_stays_without_a_target_and_goes_round_what_it_avoids():
    places = torch.tensor([[4, 4, -1]])
    assert toward(places, torch.tensor([[-1, 4, 4]]), (3, 3)).tolist() == [[STAY] * 3]
    barred = torch.zeros(1, 1, 9, dtype=torch.bool)
    barred[..., 4] = True
    start, target = torch.tensor([[1]]), torch.tensor([[7]])
    assert toward(start, target, (3, 3), barred).tolist() == [[STAY]]  # a detour leads away first: wait
    barred[..., 1] = True
    place = start
    for expected in (0, 3, 6, 7):
        place = walk(place, toward(place, target, (3, 3), barred), (3, 3))
        assert place.item() == expected


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_scattered_cells_differ(seed):
    draws = torch.rand(50, 7, generator=torch.Generator().manual_seed(seed))
    for count in (1, 4, 7):
        cells = draw_distinct(draws, count)
        assert cells.shape == (50, count)
        assert all(len(set(row)) == count and set(row) <= set(range(7)) for row in cells.tolist())


def test_cells_are_drawn_uniformly():
    generator = torch.Generator().manual_seed(0)
    scattered = draw_distinct(torch.rand(30_000, 5, generator=generator), 2)
    free = draw_cells(torch.rand(60_000, generator=generator), 5)
    for cells in (scattered[:, 0], scattered[:, 1], free):
        shares = cells.bincount(minlength=5) / len(cells)
        assert (shares - 0.2).abs().max() < 5 * (0.16 / len(cells)) ** 0.5  # 5 standard errors
    assert draw_cells(torch.tensor(1.0 - 2.0**-24), 5) == 4


def test_windows_end_where_the_ground_does():
    thing = torch.tensor([[[0, 0, 0, 0, 1, 0]]])  # in the middle of the second row of two
    seen = windowed(thing, torch.tensor([[0, 5, -1]]), (2, 3), view=1)[0]
    assert seen[0].tolist() == [[[0, 0, 0], [0, 1, 1], [0, 1, 1]], [[0, 0, 0], [0, 0, 0], [0, 0, 1]]]
    assert seen[1].tolist() == [[[1, 1, 0], [1, 1, 0], [0, 0, 0]], [[0, 0, 0], [1, 0, 0], [0, 0, 0]]]
    assert seen[2].count_nonzero() == 0


def test_each_other_agent_has_a_plane_of_its_own():
    nothing = torch.zeros(1, 1, 3)
    seen = windowed_agents(nothing, torch.tensor([[0, 1, 1, -1]]), (1, 3), view=1)[
        0, :, :, 1
    ]  # the one row there is
    ground = [[0, 1, 1], [1, 1, 1], [1, 1, 1], [0, 0, 0]]
    here, left, right, out = [0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]
    others = [[right, right, out], [left, here, out], [left, here, out], [out, out, out]]
    assert seen.tolist() == [[ground[i], out, *others[i]] for i in range(4)]
