"""Frames: sizes, colors, and that what is drawn can be told apart."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import torch

import games
from games.grid._frame import COLORS, Figure, KeyEntry, Thing, draw_grid
from games.render import AGENTS
from games.render._key import LINE, MARGIN, SIDE


def color_of(name: object) -> object:
    return COLORS.get(name, name) if isinstance(name, str) else name


def is_grid(name: str) -> bool:
    return type(games.entry(name).game).__module__.startswith("games.grid.")


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


def test_a_key_stands_below_the_map_and_leaves_it_as_it_is() -> None:
    ground = [["ground"] * 4] * 2
    plain = draw_grid(ground, cell=20)
    key = [KeyEntry("wall", "wall"), KeyEntry(Thing(0, "apple"), "apple"), KeyEntry(Figure(0, 1), "agent")]
    frame = draw_grid(ground, cell=20, key=key)
    assert np.array_equal(frame[:40, :80], plain)
    assert (frame[:40, 80:] == 255).all()
    for line, color in enumerate(
        (COLORS["wall"], COLORS["apple"], AGENTS[1][0])
    ):  # each on a line of its own
        strip = frame[40 + LINE * line : 40 + LINE * (line + 1)]
        assert (strip == rgb(color)).all(-1).any()
        assert (strip[:, SIDE + 2 * MARGIN :] < 128).any()  # its meaning
    wide = draw_grid([["ground"] * 40], cell=20, key=key)
    assert wide.shape == (20 + LINE, 800, 3)


@pytest.mark.parametrize("name", [name for name in games.names() if is_grid(name)])
def test_every_grid_game_has_a_key_of_all_that_it_draws(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[set[object], set[object]]] = []

    def record(ground: Any, things: Any = (), agents: Any = (), *, key: Any = (), **settings: Any) -> Any:
        symbols = [entry.symbol for entry in key]
        known = {color_of(symbol.color if isinstance(symbol, Thing) else symbol) for symbol in symbols}
        shown = {color_of(color) for row in ground for color in row}
        shown |= {color_of(thing.color) for thing in things}
        assert any(isinstance(symbol, Figure) for symbol in symbols) or not agents
        drawn.append((shown - {COLORS["ground"]}, known))
        return draw_grid(ground, things, agents, key=key, **settings)

    game = games.make(name)
    for module in {kind.__module__ for kind in type(game).__mro__} | {"games.grid._social_state"}:
        if hasattr(importlib.import_module(module), "draw_grid"):
            monkeypatch.setattr(f"{module}.draw_grid", record)
    generator = torch.Generator().manual_seed(0)
    state = game.reset(1, generator)
    for _ in range(20):
        game.render(state)
        actions = torch.randint(game.num_actions, (1, game.num_agents), generator=generator)
        state = game.step(state, actions, generator)[0]
    assert drawn
    for shown, known in drawn:
        assert shown <= known
