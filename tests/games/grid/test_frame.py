"""Frames: sizes, colors, and that what is drawn can be told apart."""

from __future__ import annotations

import numpy as np
import pytest

from games.grid._frame import COLORS, Figure, Thing, draw_grid
from games.render import AGENTS


def rgb(color: str) -> list[int]:
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)]


def test_a_frame_has_a_square_for_each_cell_and_a_line_for_a_caption() -> None:
    ground = [["ground", "wall", "#123456"]] * 2
    assert draw_grid(ground, cell=20).shape == (40, 60, 3)
    assert draw_grid(ground, cell=20, caption="step 3").shape == (64, 60, 3)
    frame = draw_grid(ground, cell=20)
    assert [frame[10, column].tolist() for column in (10, 30, 50)] == [
        rgb(COLORS["ground"]), rgb(COLORS["wall"]), [0x12, 0x34, 0x56]
    ]  # fmt: skip


@pytest.mark.parametrize("shape", ["disc", "square", "diamond", "triangle"])
def test_things_lie_in_the_middle_of_their_cell(shape: str) -> None:
    frame = draw_grid([["ground"] * 2] * 2, [Thing(3, "apple", shape)], cell=40)
    assert frame[60, 60].tolist() == rgb(COLORS["apple"])
    assert frame[20, 20].tolist() == rgb(COLORS["ground"])


def test_agents_have_colors_of_their_own_and_share_a_cell() -> None:
    assert len({color for color, _ in AGENTS}) == len(AGENTS) >= 7
    frame = draw_grid([["ground"]], agents=[Figure(0, number) for number in range(4)], cell=200)
    seen = {tuple(color) for color in frame.reshape(-1, 3).tolist()}
    assert {tuple(rgb(color)) for color, _ in AGENTS[:4]} <= seen
    assert tuple(rgb(AGENTS[4][0])) not in seen


def test_whoever_is_nowhere_is_not_drawn_and_noses_tell_where_one_faces() -> None:
    empty = draw_grid([["ground"]])
    assert np.array_equal(draw_grid([["ground"]], agents=[Figure(-1, 0)]), empty)
    frames = [draw_grid([["ground"]], agents=[Figure(0, 0, face)]) for face in (None, 0, 1, 2, 3)]
    assert len({frame.tobytes() for frame in frames}) == 5
