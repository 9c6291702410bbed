"""Settings of a stranger's constructor, read from its signature."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal

import pytest

from games import make, register
from games._catalogue import CATALOGUE
from games.adapters import from_pettingzoo
from games.adapters._constructors import parameters_of
from tests.games.adapters.foreign_environments import StandIn


class Told:
    def __init__(
        self,
        size: int,
        speed: float = 1,
        kind: Literal["slow", "fast"] = "slow",
        seats: tuple[int, ...] = (1, 2),
        most: int | None = None,
        wrong: int = None,  # type: ignore[assignment]  # noqa: RUF013 - as many write it
        words=("a", "b"),
        mixed=(1, "b"),
        on=True,
        model=object,
        render_mode: str | None = None,
        horizon: int = 3,
        _secret: int = 4,
    ) -> None:
        self.unwrapped = self


def passed_on(**kwargs: Any) -> Told:
    return Told(**{"size": 3} | kwargs)


def test_numbers_words_and_tuples_are_options() -> None:
    options = parameters_of(Told).options({}, reserved={"horizon"})
    assert {name: option.hint for name, option in options.items()} == {
        "speed": float,
        "kind": Literal["slow", "fast"],
        "seats": tuple[int, ...],
        "most": int | None,
        "wrong": int | None,
        "words": tuple[str, ...],
        "on": bool,
    }
    assert parameters_of(Told).options({"size": 5}, reserved={"horizon"})["size"].default == 5


def test_kwargs_are_those_of_what_was_made_and_partials_have_defaults_of_their_own() -> None:
    assert not parameters_of(passed_on).complete
    assert list(parameters_of(passed_on, Told(1)).defaults) == list(parameters_of(Told).defaults)
    bound = functools.partial(passed_on, speed=2.5, seats=[3])
    options = parameters_of(bound, Told(1)).options({}, ())
    assert (options["speed"].default, options["seats"].default) == (2.5, (3,))


def test_settings_are_fields_and_presets_of_the_game() -> None:
    game = from_pettingzoo(StandIn, max_cycles=3, truncates=True)
    assert game.settings == {"max_cycles": 3}  # what games mean by truncates is something else
    register("stand-in", game)
    try:
        assert make("stand-in", max_cycles=2).horizon == 2
        assert make("stand-in") == game
        with pytest.raises(ValueError, match="no setting of stand-in 'cycles'"):
            make("stand-in", cycles=2)
    finally:
        del CATALOGUE["stand-in"]


def test_lists_are_tuples_in_the_game_and_lists_to_the_constructor() -> None:
    told = []

    def build(seats: list[int] = [1, 2]) -> StandIn:  # noqa: B006
        told.append(seats)
        return StandIn()

    game = from_pettingzoo(build)
    assert game.settings == {"seats": (1, 2)}
    dataclasses.replace(game, seats=(3,))
    assert told[0] == told[1] == [1, 2]
    assert told[2:] == [[3], [3]]


def test_a_setting_with_a_games_own_name_stays_as_it_is() -> None:
    def build(horizon: int = 7, discount: float = 0.5) -> StandIn:
        return StandIn(max_cycles=horizon)

    game = from_pettingzoo(build)
    assert (game.settings, game.horizon, game.discount) == ({}, 7, 1.0)
    assert from_pettingzoo(functools.partial(build, 2)).horizon == 2
