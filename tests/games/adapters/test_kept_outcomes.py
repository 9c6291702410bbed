"""The PettingZoo view computes a step of a pure game once, and nobody can tell."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch

from games import make
from games._catalogue import CATALOGUE
from games.adapters import ForeignGame, ParallelView
from games.adapters import _parallel_env as pettingzoo_view
from games.core import Game
from games.grid import StagHuntGrid
from games.matrix import EscapeRoom
from games.wrappers import gift_actions, shared
from tests.games.adapters.pettingzoo_contract import assert_same, play

ROOM = EscapeRoom(random_start=True)
GAMES: dict[str, Game] = {
    "room": ROOM,
    "one-shot": make("chicken"),
    "repeated": make("repeated-prisoners-dilemma", horizon=4),
    "noise": make("repeated-prisoners-dilemma", horizon=4, noise=0.2),
    "hunt": StagHuntGrid(agents=3, stags=1, hares=3, hunters=2, size=2, horizon=8),
    "gifts": gift_actions(ROOM, 1.5, budget="fixed", purse=4),
    "shared": shared(ROOM, [[0.5, 0.5], [0.25, 0.75]]),
    "draws in a step": make("soccer", horizon=6),
}


def forgetful(game: Game) -> ParallelView:
    """A view that keeps nothing."""
    view = ParallelView(game)
    view._caches_start = view._caches_steps = False
    return view


@pytest.mark.parametrize("game", GAMES.values(), ids=GAMES.keys())
@pytest.mark.parametrize("most", [2**24, 10_000])
def test_kept_and_computed_steps_are_the_same(game: Game, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pettingzoo_view, "CACHE_SIZE", most)
    seeds: list[int | None] = [3, *[None] * 60]
    view = ParallelView(game)
    assert_same(play(view, seeds), play(forgetful(game), seeds))
    assert view._cached <= most + 2000


def test_steps_are_kept_where_nothing_was_drawn() -> None:
    for name, game in GAMES.items():
        view = ParallelView(game)
        list(play(view, [0, None]))
        kept = any(known.outcomes for known in view._views.values())
        assert kept == (name not in ("noise", "draws in a step")), name
        assert (view._start is not None) == (name in ("one-shot", "repeated", "noise")), name


def test_incentives_may_change() -> None:
    worth = [1.0]

    def reward(seen: Any, actions: torch.Tensor) -> torch.Tensor:
        return worth[0] * torch.ones(len(actions), 2, 2)

    view = ParallelView(shared(make("prisoners-dilemma"), reward))
    for number in (1.0, 5.0):
        worth[0] = number
        view.reset()
        assert view.step({"agent_0": 0, "agent_1": 0})[1] == {"agent_0": number - 1, "agent_1": number - 1}


def test_which_games_are_pure() -> None:
    """Those of the catalogue, and none that other programs play."""
    assert all(entry.game.pure for entry in CATALOGUE.values() if type(entry.game).__module__[:6] == "games.")
    assert ForeignGame.pure is Game.pure


def test_copies_leave_behind_what_is_kept() -> None:
    view = ParallelView(ROOM)
    view.reset(seed=0)
    before = len(pickle.dumps(view))
    list(play(view, [0, *[None] * 20]))
    view.reset(seed=0)
    assert len(pickle.dumps(view)) < 1.2 * before


def test_what_was_kept_is_not_the_callers() -> None:
    view: Any = ParallelView(EscapeRoom())
    for _ in range(3):
        observations, infos = view.reset()
        assert infos == {"agent_0": {}, "agent_1": {}}
        assert observations["agent_0"].tolist() == [0, 1, 0, 0, 1, 0, 0]
        observations["agent_0"][:] = 9
        infos["agent_0"]["mine"] = 1
        answer = view.step({"agent_0": 0, "agent_1": 1})
        assert answer[1:4] == (
            {"agent_0": -1, "agent_1": 0},
            {"agent_0": False, "agent_1": False},
            {"agent_0": False, "agent_1": False},
        )
        assert answer[4] == {"agent_0": {"cooperated": True}, "agent_1": {"cooperated": False}}
        assert np.array_equal(answer[0]["agent_0"], [1, 0, 0, 0, 1, 0, 0])
        answer[0]["agent_0"][:] = 9
        for part in answer[1:]:
            part.clear()
        view.state()[:] = 9
