"""Pictures at any scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import games
from games.render import Pen, captioned, draw_table, framed, resized

SCALES = (0.5, 1.0, 2.5)


@pytest.mark.parametrize("name", games.names())
def test_every_game_is_drawn_at_any_scale(name: str) -> None:
    game = games.make(name)
    state = game.reset(1, torch.Generator().manual_seed(0))
    usual = game.render(state)
    for scale in SCALES:
        frame = game.render(state, 0, scale)
        assert frame.dtype == np.uint8
        assert frame.shape == (round(usual.shape[0] * scale), round(usual.shape[1] * scale), 3)
    assert np.array_equal(game.render(state, 0, 1.0), usual)


def test_twice_as_large_shows_the_same() -> None:
    game = games.make("coin-game")
    state = game.reset(1, torch.Generator().manual_seed(0))
    small, large = game.render(state), game.render(state, 0, 2.0)
    shrunk = large.reshape(small.shape[0], 2, small.shape[1], 2, 3).mean((1, 3))
    assert np.abs(shrunk - small).mean() < 6  # of 255: edges are sharper, nothing has moved


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_a_scale_of_nothing_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be above 0"):
        Pen(10, 10, scale=scale)
    with pytest.raises(ValueError, match="scale must be above 0"):
        resized(np.zeros((2, 2, 3), dtype=np.uint8), scale)


@given(height=st.integers(1, 40), width=st.integers(1, 40), scale=st.floats(0.1, 4))
def test_sheets_and_resized_pictures_have_the_size_that_was_asked_for(
    height: int, width: int, scale: float
) -> None:
    wanted = (max(1, round(height * scale)), max(1, round(width * scale)), 3)
    assert Pen(width, height, scale=scale).picture().shape == wanted
    assert resized(np.zeros((height, width, 3), dtype=np.uint8), scale).shape == wanted


def test_a_caption_widens_a_narrow_picture_and_leaves_it_as_it_is() -> None:
    picture = np.full((10, 20, 3), 7, dtype=np.uint8)
    frame = captioned(picture, "step 3: rewards 1, 2")
    assert frame.shape[0] == 10 + 28
    assert frame.shape[1] > 100
    assert np.array_equal(frame[:10, :20], picture)
    assert (frame[:10, 20:] == 255).all()
    assert (frame[10:] < 128).any()  # something is written
    assert framed(picture, (10, 20)).shape == picture.shape


def test_a_table_has_a_key_that_explains_the_highlight() -> None:
    rows = [["a", "b"], ["c", "d"]]
    plain, marked = (draw_table("t", rows, cells) for cells in ((), {(0, 1)}))
    assert plain.shape == marked.shape
    with_key = draw_table("t", rows, {(0, 1)}, key="cooperation of the agent")
    assert with_key.shape[0] > marked.shape[0]
    assert with_key.shape[1] > marked.shape[1]  # the key is not cut
    np.testing.assert_array_equal(with_key[: marked.shape[0] - 1, : marked.shape[1] - 1], marked[:-1, :-1])
    swatch = (with_key[marked.shape[0] :] == (0xFF, 0xD6, 0x66)).all(-1)
    assert swatch.any()
    assert not (with_key[marked.shape[0] :, -1] != 255).any()
