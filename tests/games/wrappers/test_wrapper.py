"""A wrapper that changes nothing: every member is the game's own."""

import inspect
import pickle
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch

from games.core import ExactGame, Game
from games.matrix import EscapeRoom, RepeatedGame
from games.wrappers import WrappedExactGame, WrappedGame

PROPERTIES = sorted(
    name for name, member in vars(Game).items() if isinstance(member, property) and name != "num_actions"
)
"""All that does not follow from another one, as the number of actions does."""


def methods(kind: type) -> list[str]:
    return sorted(name for name, member in vars(kind).items() if callable(member) and name[0] != "_")


OF_EXACT_GAMES = [name for name in methods(ExactGame) if name != "values_and_cooperation"]
"""A wrapper may have values of its own, so both together are made of the wrapper's, as by default."""


def test_values_and_cooperation_are_the_wrappers_own() -> None:
    class Doubled(WrappedExactGame):
        def values(self, policies: torch.Tensor) -> torch.Tensor:
            return 2 * self.game.values(policies)

    game, policies = RepeatedGame(), torch.full((1, 2, 5, 2), 0.5)
    values, cooperation = Doubled(game=game).values_and_cooperation(policies)
    assert torch.equal(values, 2 * game.values(policies))
    assert torch.equal(cooperation, game.cooperation(policies))


def test_nothing_is_left_to_the_defaults_of_game() -> None:
    assert {*PROPERTIES, *methods(Game)} <= set(vars(WrappedGame))
    assert {"num_observations", *OF_EXACT_GAMES} <= set(vars(WrappedExactGame))


@pytest.mark.parametrize("name", PROPERTIES)
def test_properties_are_the_games_own(name: str) -> None:
    answer = object()
    assert getattr(WrappedGame(game=SimpleNamespace(**{name: answer})), name) is answer  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*methods(Game), *OF_EXACT_GAMES])
def test_methods_are_the_games_own(name: str) -> None:
    game = Mock(spec=RepeatedGame)
    takes = len(inspect.signature(getattr(WrappedExactGame, name)).parameters) - 1  # besides self
    given = tuple(object() for _ in range(takes))
    assert getattr(WrappedExactGame(game=game), name)(*given) is getattr(game, name).return_value
    getattr(game, name).assert_called_once_with(*given)


class Counted(WrappedGame):
    """Keeps a number next to the game's state."""

    def inner(self, state: tuple) -> object:
        return state[0]


@pytest.mark.parametrize("name", ["observe", "action_mask", "render", "ended", "cooperates", "scripted"])
def test_what_looks_at_a_state_looks_at_the_games_own(name: str) -> None:
    game = Mock(spec=EscapeRoom)
    more = () if name in ("observe", "action_mask", "ended") else (object(),)
    if name == "render":
        more = (*more, 2.0)  # the scale
    getattr(Counted(game=game), name)(("inner", 7), *more)
    getattr(game, name).assert_called_once_with("inner", *more)


def test_it_plays_as_the_game_does() -> None:
    game = EscapeRoom(agents=3, levers=2, random_start=True)
    wrapped = WrappedGame(game=game)
    draws = [torch.Generator().manual_seed(3) for _ in range(2)]
    states = [each.reset(8, draw) for each, draw in zip((game, wrapped), draws, strict=True)]
    actions = torch.randint(3, (game.horizon, 8, 3), generator=torch.Generator().manual_seed(4))
    for action in actions:
        plain, same = (
            each.step(state, action, draw)
            for each, state, draw in zip((game, wrapped), states, draws, strict=True)
        )
        assert plain[1].equal(same[1])
        assert plain[2].equal(same[2])
        states = [
            each.restart(state, done, draw)
            for each, (state, _, done), draw in zip((game, wrapped), (plain, same), draws, strict=True)
        ]
        assert game.observe(states[0]).equal(wrapped.observe(states[1]))


def test_pickling_and_equality() -> None:
    wrapped = WrappedExactGame(game=RepeatedGame(discount=0.5))
    assert pickle.loads(pickle.dumps(wrapped)) == wrapped
    assert hash(wrapped) == hash(WrappedExactGame(game=RepeatedGame(discount=0.5)))
    assert wrapped != WrappedExactGame(game=RepeatedGame(discount=0.4))
