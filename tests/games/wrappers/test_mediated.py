"""Mediated games: payoffs by hand, exact values against enumeration and samples, agents that leave."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

import games
from games import check_game, make
from games.core import Game
from games.grid import StagHuntGrid
from games.wrappers import MediatedExactGame, MediatedGame

NAMES = ("prisoners-dilemma", "chicken", "stag-hunt", "public-goods", "asymmetric-prisoners-dilemma")


def exact_game(name: str) -> MediatedExactGame:
    game: Any = make(name)
    return MediatedExactGame(game=game)


def payoffs(game: Game, actions: tuple[int, ...]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return game.step(game.reset(1, generator), torch.tensor([actions]), generator)[1][0].double()


@pytest.mark.parametrize("name", [*NAMES, "repeated-chicken", "escape-room", "harvest", "stag-hunt-grid"])
def test_the_contract_of_games_is_kept(name: str) -> None:
    check_game(MediatedGame(game=make(name)))


@pytest.mark.parametrize("name", NAMES)
def test_exact_games_keep_it_too(name: str) -> None:
    check_game(exact_game(name))


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_by_hand(name: str) -> None:
    """All commit: all cooperate. Else those who commit defect."""
    game: Any = make(name)
    agents = game.num_agents
    mediated, exact = MediatedGame(game=game), MediatedExactGame(game=game)
    for profile in itertools.product(range(3), repeat=agents):
        agreed = profile == (2,) * agents
        played = (0,) * agents if agreed else tuple(min(action, 1) for action in profile)
        expected = payoffs(game, played)
        torch.testing.assert_close(payoffs(mediated, profile), expected)
        policies = torch.nn.functional.one_hot(torch.tensor(profile), 3).double().unsqueeze(-2)
        torch.testing.assert_close(exact.values(policies), expected, rtol=0, atol=1e-6)
        cooperation = exact.cooperation(policies)
        assert cooperation is not None
        assert cooperation.tolist() == [float(action == 0) for action in played]
        cooperates = mediated.cooperates(mediated.reset(1, torch.Generator()), torch.tensor([profile]))
        assert cooperates is not None
        assert cooperates.tolist() == [[action == 0 for action in played]]


@pytest.mark.parametrize("name", NAMES)
def test_values_are_expectations_over_profiles(name: str) -> None:
    game: Any = make(name)
    exact = MediatedExactGame(game=game)
    drawn = torch.rand(4, game.num_agents, 1, 3, generator=torch.Generator().manual_seed(0)).double()
    policies = drawn / drawn.sum(-1, keepdim=True)
    expected = torch.zeros(4, game.num_agents, dtype=torch.float64)
    for profile in itertools.product(range(3), repeat=game.num_agents):
        probability = torch.stack([policies[:, i, 0, action] for i, action in enumerate(profile)]).prod(0)
        expected += probability[:, None] * payoffs(MediatedGame(game=game), profile)
    torch.testing.assert_close(exact.values(policies), expected, rtol=0, atol=1e-6)


def test_agents_that_left_need_not_commit() -> None:
    """Agent 2 has left, so that two commitments are enough for the mediator to hunt the stag."""
    game = StagHuntGrid(agents=3, stags=1, hares=3, size=2, horizon=6, view=0)
    mediated, generator = MediatedGame(game=game), torch.Generator().manual_seed(0)
    state: Any = mediated.reset(1, generator)
    left = state._replace(places=state.places.clone())
    left.places[:, 2] = -1
    commit = game.num_actions
    actions = torch.tensor([[commit, commit, 0]])
    cooperating = torch.ones(1, 3, dtype=torch.bool)
    present = game.present(left)
    assert present is not None
    assert present.tolist() == [[True, True, False]]
    for at, agreed in ((left, True), (state, False)):
        script = game.scripted(at, cooperating if agreed else ~cooperating)
        assert mediated.executed(at, actions)[0, :2].tolist() == script[0, :2].tolist()


@pytest.mark.parametrize(
    ("game", "sentence"),
    [
        ("braess", "Braess has none"),
        ("matching-pennies", "NormalForm has none"),
        ("repeated-matching-pennies", "RepeatedGame has none"),
    ],
)
def test_games_without_a_script_are_refused(game: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        MediatedGame(game=games.make(game))


def test_exact_values_are_of_one_shot_games() -> None:
    with pytest.raises(ValueError, match="exact values if they are one-shot; RepeatedGame is not"):
        exact_game("repeated-chicken")
