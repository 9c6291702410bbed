"""Scripted ways: shortest, around walls and others; and whose turn it is."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch

from games.grid._moves import SHIFT, _goes_around, on_duty, path_heading, resolve_moves
from games.grid._tables import STILL, paths

CPU = torch.device("cpu")


class At(NamedTuple):
    places: torch.Tensor
    time: torch.Tensor


def at(*places: int, time: int = 0) -> At:
    return At(torch.tensor([places]), torch.tensor([time]))


def goals(cells: int, *where: int) -> torch.Tensor:
    mask = torch.zeros(1, 1, cells, dtype=torch.bool)
    mask[..., list(where)] = True
    return mask


def walked(
    places: list[int], goal: list[int], size: tuple[int, int], walls: tuple[int, ...], steps: int
) -> list[list[int]]:
    """Where agents are after each step, each on its way to a goal of its own."""
    cells = size[0] * size[1]
    wants = torch.stack([goals(cells, each)[0] for each in goal], 1)
    now, trail = torch.tensor([places]), []
    for time in range(steps):
        led = paths(size, walls, CPU)[path_heading(At(now, torch.tensor([time])), wants, size, walls), now]
        now = resolve_moves(now, led, torch.zeros(now.shape))
        trail.append(now[0].tolist())
    return trail


def test_the_way_leads_around_walls() -> None:
    # 0 # 2
    # 3 # 5
    # 6 7 8
    assert walked([0], [2], (3, 3), (1, 4), 6) == [[3], [6], [7], [8], [5], [2]]


def test_stays_where_there_is_nothing_to_go_to() -> None:
    here = at(0, -1)
    assert path_heading(here, goals(3), (1, 3), ()).tolist() == [[STILL, STILL]]  # no goal
    assert path_heading(here, goals(3, 0), (1, 3), ())[0, 0] == STILL  # at it
    assert path_heading(here, goals(3, 2), (1, 3), (1,))[0, 0] == STILL  # no way
    assert path_heading(here, goals(3, 1), (1, 3), (1,))[0, 0] == STILL  # a wall is no goal
    assert path_heading(here, goals(3, 2), (1, 3), (), goals(3, 1))[0, 0] == STILL  # barred
    assert path_heading(here, goals(3, 2), (1, 3), ())[0, 0] == 1


def test_the_nearest_goal_that_nobody_stands_on() -> None:
    assert path_heading(at(2, 1), goals(5, 1, 4), (1, 5), ()).tolist() == [[1, STILL]]


@pytest.mark.parametrize("row", [0, 1, 2])
def test_two_who_meet_pass_each_other(row: int) -> None:
    west, east = 7 * row, 7 * row + 6
    trail = walked([west + 1, east - 1], [east, west], (3, 7), (), 12)
    assert [east, west] in trail


def test_a_barred_cell_in_a_straight_line_is_gone_around() -> None:
    size, now, seen = (3, 6), torch.tensor([[6]]), []
    bar = goals(18, 7)
    for time in range(7):
        heading = path_heading(at(now[0, 0].item(), 12, time=time), goals(18, 11), size, (), bar)
        now = paths(size, (), CPU)[heading[:, :1], now]
        seen.append(now.item())
    assert seen[-1] == 11
    assert 7 not in seen


def test_half_of_those_that_cooperate_are_on_duty_by_turns() -> None:
    everybody = torch.ones(1, 4, dtype=torch.bool)
    turns = torch.cat([on_duty(everybody, torch.tensor([SHIFT * turn])) for turn in range(4)])
    assert turns.sum(1).tolist() == [2, 2, 2, 2]
    assert turns.sum(0).tolist() == [2, 2, 2, 2]
    assert torch.equal(on_duty(everybody, torch.tensor([SHIFT - 1])), turns[:1])
    odd = torch.tensor([[True, True, False, True]])
    assert on_duty(odd, torch.tensor([0])).sum() == 2
    assert not on_duty(odd, torch.tensor([0]))[0, 2]
    assert not on_duty(torch.zeros(1, 4, dtype=torch.bool), torch.tensor([3])).any()


@pytest.mark.parametrize("agents", [2, 3, 5, 7])
def test_of_any_two_sooner_or_later_one_goes_around_and_one_does_not(agents: int) -> None:
    times = torch.arange(2 * agents)
    around = _goes_around(At(torch.zeros(len(times), agents, dtype=torch.int64), times))
    assert around.any(0).all()
    assert (~around).any(0).all()
    differ = (around[:, :, None] != around[:, None]).any(0)
    assert torch.equal(differ, ~torch.eye(agents, dtype=torch.bool))


def test_one_who_never_moves_is_gone_around() -> None:
    trail = walked([7, 8], [13, 8], (3, 7), (), 12)
    assert trail[-1] == [13, 8]
