"""Windows, turned by hand; marks of where agents are."""

from __future__ import annotations

import pytest
import torch

from games.grid._tables import mark, occupied, window_shape, windows

NINE = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)
AROUND = (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("face", "seen"),
    [
        (0, [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        (1, [[3, 6, 9], [2, 5, 8], [1, 4, 7]]),
        (2, [[9, 8, 7], [6, 5, 4], [3, 2, 1]]),
        (3, [[7, 4, 1], [8, 5, 2], [9, 6, 3]]),
    ],
)
def test_where_one_faces_is_up(face: int, seen: list[list[float]]) -> None:
    window = windows(NINE, torch.tensor([[4]]), torch.tensor([[face]]), width=3, reach=AROUND)
    assert window[0, 0, 0].tolist() == seen


def test_outside_and_nowhere_are_zero() -> None:
    seen = windows(NINE, torch.tensor([[0, 8, -1]]), None, width=3, reach=AROUND)[0, :, 0]
    assert seen[0].tolist() == [[0, 0, 0], [0, 1, 2], [0, 4, 5]]
    assert seen[1].tolist() == [[5, 6, 0], [8, 9, 0], [0, 0, 0]]
    assert seen[2].count_nonzero() == 0


def test_a_window_reaches_as_far_as_is_said_in_each_direction() -> None:
    reach = (2, 1, 0, 0)  # two ahead, one to the right
    seen = windows(NINE, torch.tensor([[6, 0]]), torch.tensor([[0, 1]]), width=3, reach=reach)
    assert window_shape(reach) == (3, 2)
    assert seen[0, :, 0].tolist() == [[[1, 2], [4, 5], [7, 8]], [[3, 6], [2, 5], [1, 4]]]


def test_planes_batch_and_dtype_are_kept() -> None:
    planes = torch.rand(2, 5, 3, 4, dtype=torch.float64)
    places = torch.tensor([[0, 5, 11], [3, 3, 7]])
    seen = windows(planes, places, None, width=4, reach=(0, 0, 0, 0))
    assert seen.shape == (2, 3, 5, 1, 1)
    expected = planes.flatten(-2).gather(-1, places[:, None].expand(-1, 5, -1))
    assert torch.equal(seen[..., 0, 0], expected.mT)


def test_marks() -> None:
    places = torch.tensor([[2, 0], [-1, 1]])
    assert occupied(places, 3).tolist() == [[True, False, True], [False, True, False]]
    assert torch.equal(mark(places, 3).any(1), occupied(places, 3))
