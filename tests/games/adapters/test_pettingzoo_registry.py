"""PettingZoo's registry holds the whole catalogue."""

from __future__ import annotations

from collections.abc import Iterator

import pettingzoo
import pytest
from pettingzoo.env_registry.exceptions import NameNotFound
from pettingzoo.utils.wrappers import OrderEnforcingWrapper

import games
from games import make, names
from games.adapters import ParallelView

REGISTRIES = (pettingzoo.aec_registry, pettingzoo.parallel_registry)


@pytest.fixture(autouse=True)
def _registered_environments() -> Iterator[None]:
    before = [dict(registry) for registry in REGISTRIES]
    games.register_pettingzoo()
    yield
    for registry, kept in zip(REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(kept)


@pytest.mark.parametrize("name", names())
def test_every_game_is_made_by_its_identifier(name: str) -> None:
    parallel = pettingzoo.make("parallel", f"bilevel/{name}-v0")
    assert isinstance(parallel, ParallelView)
    assert (parallel.game, str(parallel)) == (make(name), name)
    turn_based = pettingzoo.make("aec", f"bilevel/{name}-v0")
    assert isinstance(turn_based, OrderEnforcingWrapper)
    assert turn_based.unwrapped.game == make(name)


def test_settings_go_to_the_game_and_the_view() -> None:
    view = pettingzoo.make(
        "parallel", "bilevel/escape-room-v0", agents=4, levers=2, render_mode="ansi", max_cycles=3
    )
    assert view.game == make("escape-room", agents=4, levers=2)
    assert (view.render_mode, view.max_cycles) == ("ansi", 3)
    assert pettingzoo.make("parallel", "bilevel/escape-room-v0").game == make("escape-room")
    assert pettingzoo.make("parallel", "bilevel/escape-room").game == make("escape-room")  # newest version


def test_registering_again_adds_only_what_is_new() -> None:
    before = dict(pettingzoo.parallel_registry)
    assert games.register_pettingzoo() == tuple(f"bilevel/{name}-v0" for name in names())
    assert pettingzoo.parallel_registry == before
    games.register("short-escape", make("escape-room", horizon=2), summary="hurry")
    assert "bilevel/short-escape-v0" in games.register_pettingzoo()
    assert pettingzoo.make("aec", "bilevel/short-escape-v0").unwrapped.max_cycles == 2
    assert set(pettingzoo.parallel_registry) - set(before) == {"bilevel/short-escape-v0"}


def test_unknown_games_are_refused_by_pettingzoo() -> None:
    with pytest.raises(NameNotFound):
        pettingzoo.make("parallel", "bilevel/escape-rom-v0")


def test_a_pettingzoo_without_a_registry_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(pettingzoo, "parallel_registry")
    monkeypatch.setattr(pettingzoo, "__version__", "1.26.0")
    with pytest.raises(
        ValueError, match=r"since 1\.27, and this is 1\.26\.0: pip install 'pettingzoo>=1\.27'"
    ):
        games.register_pettingzoo()
