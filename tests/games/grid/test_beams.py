"""What stops a beam, and what it does not reach."""

from __future__ import annotations

import torch

from games.grid.beams import reached
from games.grid.views import marked


def test_each_ray_ends_at_the_first_thing_and_reaches_it() -> None:
    rays = torch.tensor([[[[0, 1, 2], [3, 4, 5]]], [[[0, 1, 2], [5, 6, 6]]]])
    stops = torch.zeros(2, 6, dtype=torch.bool)
    stops[0, 1] = stops[0, 2] = stops[1, 5] = True
    assert reached(rays, stops).tolist() == [[[[0, 1, 6], [3, 4, 5]]], [[[0, 1, 2], [5, 6, 6]]]]


def test_a_beam_that_is_not_fired_touches_nothing() -> None:
    rays = torch.full((1, 2, 3, 4), 6)
    assert torch.equal(reached(rays, torch.ones(1, 6, dtype=torch.bool)), rays)
    assert not marked(rays, 6).any()


def test_touched_cells_are_those_of_all_agents() -> None:
    rays = torch.tensor([[[[0, 1]], [[1, 3]]]])
    assert marked(rays, 3).tolist() == [[True, True, False]]
