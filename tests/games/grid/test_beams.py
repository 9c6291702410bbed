"""What stops a beam, what it does not reach, and whom it meets."""

from __future__ import annotations

import torch

from games.grid._social import Beams, reached


def test_each_ray_ends_at_the_first_thing_and_reaches_it() -> None:
    rays = torch.tensor([[[0, 1, 2], [3, 4, 5]], [[0, 1, 2], [5, 6, 6]]])
    stops = torch.zeros(2, 6, dtype=torch.bool)
    stops[0, 1] = stops[0, 2] = stops[1, 5] = True
    assert reached(rays, stops).tolist() == [[[0, 1, 6], [3, 4, 5]], [[0, 1, 2], [5, 6, 6]]]


def test_a_beam_that_gets_nowhere_touches_nothing() -> None:
    rays = torch.full((2, 3, 4), 6)
    assert torch.equal(reached(rays, torch.ones(2, 6, dtype=torch.bool)), rays)
    beams = Beams(torch.tensor([0, 0]), torch.tensor([0, 1]), rays)
    assert not beams.mark(torch.ones(1, 6, dtype=torch.bool)).any()
    assert not beams.hits(torch.tensor([[0, -1]])).any()


def test_beams_mark_their_own_copy() -> None:
    beams = Beams(
        torch.tensor([0, 0, 2]), torch.tensor([0, 1, 0]), torch.tensor([[[0, 1]], [[1, 3]], [[2, 3]]])
    )
    marks = beams.mark(torch.zeros(3, 3, dtype=torch.bool))
    assert marks.tolist() == [[True, True, False], [False, False, False], [False, False, True]]


def test_each_beam_counts_once_for_whom_it_meets() -> None:
    beams = Beams(
        torch.tensor([0, 0, 1]),
        torch.tensor([0, 1, 0]),
        torch.tensor([[[0, 1], [1, 4]], [[1, 4], [4, 4]], [[2, 4], [4, 4]]]),
    )
    assert beams.hits(torch.tensor([[0, 1], [2, -1], [0, 2]])).tolist() == [[1, 2], [1, 0], [0, 0]]


def test_where_nobody_fires_there_is_no_beam() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    beams = Beams(none, none, torch.zeros(0, 3, 5, dtype=torch.int64))
    assert beams.mark(torch.zeros(2, 4, dtype=torch.bool)).tolist() == [[False] * 4] * 2
    assert beams.hits(torch.zeros(2, 3, dtype=torch.int64)).tolist() == [[0.0] * 3] * 2
