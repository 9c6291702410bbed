import dataclasses
import pickle

import pytest
import torch

import games
from games import check_game, entry, make, names
from games.core import ExactGame
from games.matrix import MatrixGame, RepeatedGame, SymmetricTwoAgentGame
from tests.games.adapters.pettingzoo_contract import shortened

# (R, S, T, P) of the symmetric games, as published.
PAYOFFS = {
    "prisoners-dilemma": (-1, -3, 0, -2),
    "prisoners-dilemma-axelrod": (3, 0, 5, 1),
    "prisoners-dilemma-lase": (4, 0, 5, 1),
    "chicken": (0, -1, 1, -10),
    "chicken-100": (0, -1, 1, -100),
    "stag-hunt": (3, 0, 2, 1),
    "stag-hunt-melting-pot": (4, 0, 2, 2),
    "stag-hunt-gifting": (2, -2, 1, 1),
    "assurance": (2, 0, 0, 1),
}

# Payoffs of both agents, row by row.
TABLES = {
    "battle-of-the-sexes": [(2, 1), (0, 0), (0, 0), (1, 2)],
    "battle-of-the-sexes-3-2": [(3, 2), (0, 0), (0, 0), (2, 3)],
    "pure-coordination": [(1, 1), (0, 0), (0, 0), (1, 1)],
    "matching-pennies": [(1, -1), (-1, 1), (-1, 1), (1, -1)],
    "perturbed-rock-paper-scissors": [
        *((0, 0), (-3, 3), (3, -3)),
        *((3, -3), (0, 0), (-1, 1)),
        *((-3, 3), (1, -1), (0, 0)),
    ],
    "shapley": [*((1, 0), (0, 1), (0, 0)), *((0, 0), (1, 0), (0, 1)), *((0, 1), (0, 0), (1, 0))],
    "asymmetric-prisoners-dilemma": [(6, 3), (0, 4), (8, 0), (2, 1)],
}


@pytest.mark.parametrize("name", PAYOFFS)
def test_symmetric_payoffs(name: str) -> None:
    for game in (make(name), make(f"repeated-{name}")):
        stage = game.stage if isinstance(game, RepeatedGame) else game
        assert isinstance(stage, SymmetricTwoAgentGame)
        assert (stage.reward, stage.sucker, stage.temptation, stage.punishment) == PAYOFFS[name]


@pytest.mark.parametrize("name", TABLES)
def test_other_payoffs(name: str) -> None:
    game = make(name)
    assert isinstance(game, MatrixGame)
    assert [tuple(pair) for pair in game.payoffs().flatten(0, 1).tolist()] == TABLES[name]


def test_each_action_of_rock_paper_scissors_beats_the_one_before_it() -> None:
    game = make("rock-paper-scissors")
    assert isinstance(game, MatrixGame)
    own = game.payoffs()[..., 0]
    assert own.equal(-own.T)
    assert [own[(action + 1) % 3, action].item() for action in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("name", names())
def test_every_game_keeps_the_contract(name: str) -> None:
    game = make(name)
    assert game == pickle.loads(pickle.dumps(game))
    assert game == entry(name).game
    assert entry(name).summary
    assert entry(name).source
    check_game(shortened(game))


@pytest.mark.parametrize("name", [name for name in names() if isinstance(make(name), ExactGame)])
def test_no_policy_beats_the_group_optimum(name: str) -> None:
    game = make(name)
    assert isinstance(game, ExactGame)
    generator = torch.Generator().manual_seed(0)
    shape = (200, game.num_agents, game.num_observations, int(game.action_space.n))
    policies = (9 * torch.randn(shape, generator=generator, dtype=torch.float64)).softmax(-1)
    welfare = game.values(policies).sum(-1)
    assert game.best_welfare is not None
    assert welfare.max() <= game.best_welfare + 1e-9
    if game.defection_welfare is not None:
        state, nobody = game.reset(1, generator), torch.zeros(1, game.num_agents, dtype=torch.bool)
        defecting = game.scripted(state, nobody)
        assert defecting is not None
        actions = torch.nn.functional.one_hot(defecting[0], game.num_actions).double()
        defect = actions.unsqueeze(1).expand(shape[1:])
        assert game.values(defect).sum().item() == pytest.approx(game.defection_welfare, abs=1e-9)


def test_settings_replace_the_preset() -> None:
    game = make("stag-hunt-gifting", sucker=-6)
    assert isinstance(game, SymmetricTwoAgentGame)
    assert (game.reward, game.sucker) == (2, -6)
    preset = entry("stag-hunt-gifting").game
    assert isinstance(preset, SymmetricTwoAgentGame)
    assert preset.sucker == -2
    assert make("escape-room", agents=3, levers=2).num_agents == 3


def test_unknown_names_and_settings_name_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no game 'chikken'; did you mean 'chicken'"):
        make("chikken")
    with pytest.raises(ValueError, match=r"no setting of chicken 'punishmnt'. Did you mean 'punishment'"):
        make("chicken", punishmnt=1)
    with pytest.raises(ValueError, match=r"no game 'Escape-Room'; did you mean 'escape-room' \(`bilevel"):
        make("Escape-Room")


def test_settings_are_given_by_name() -> None:
    for name in names():
        game = make(name)
        assert dataclasses.is_dataclass(game)
        assert all(field.kw_only for field in dataclasses.fields(game))


def test_the_front_door_exports_what_it_lists() -> None:
    assert all(hasattr(games, name) for name in games.__all__)


def test_a_registered_game_is_made_by_its_name() -> None:
    games.register("short-escape", make("escape-room", horizon=2), summary="hurry")
    assert games.make("short-escape", agents=3).horizon == 2
    assert entry("short-escape").summary == "hurry"


def test_a_registered_game_can_be_replaced() -> None:
    games.register("mine", make("chicken"))
    games.register("mine", make("stag-hunt"), replace=True)
    assert make("mine") == make("stag-hunt")


@pytest.mark.parametrize(
    ("name", "sentence"), [("chicken", "already"), ("My Game", "lower case"), ("", "lower")]
)
def test_bad_names_are_not_registered(name: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        games.register(name, make("chicken"), summary="")
    assert "My Game" not in names()
