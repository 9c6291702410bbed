"""Settings: what is refused, and with which sentence; which policy and play a method chooses."""

import dataclasses
import math
import pickle

import pytest
import torch

import games
from bilevel.agents import GRU, MLP, Convolutional, ExactPlay, SampledPlay, Tabular
from bilevel.agents._surrogates import dice
from bilevel.methods import (
    METHODS,
    Fixed,
    Method,
    OuterLearner,
    Placement,
    Playable,
    PolicyLearner,
    Selfish,
    ToS,
)
from bilevel.sharing import OBJECTIVES, FixedMatrix, LearnedMatrix, Sharing
from games.core import Game
from games.matrix import EscapeRoom

DILEMMA = games.make("prisoners-dilemma")
REPEATED = games.make("repeated-prisoners-dilemma")
COINS = games.make("coin-game")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"inner_learning_rate": 0.0}, "inner_learning_rate must be a finite number above 0, not 0"),
        ({"inner_learning_rate": math.nan}, "inner_learning_rate must be a finite number above 0, not nan"),
        ({"inner_learning_rate": math.inf}, "inner_learning_rate must be a finite number above 0, not inf"),
        ({"inner_steps": 0}, "inner_steps must be a whole number, 1 or more, not 0"),
        ({"inner_steps": 1.5}, "inner_steps must be a whole number, 1 or more, not 1.5"),
        ({"episodes": 1}, "episodes must be a whole number, 2 or more, not 1"),
        ({"entropy_steps": -1}, "entropy_steps must be a whole number, 0 or more, not -1"),
        ({"entropy": -0.1, "entropy_steps": 1}, "entropy must be a finite number of 0 or more, not -0.1"),
        ({"entropy_end": -1.0}, "entropy_end must be a finite number of 0 or more, not -1"),
        ({"entropy": 0.1}, "entropy 0.1 would never be used: set entropy_steps, or entropy_end alone"),
        ({"inner_optimizer": "adm"}, "no inner_optimizer 'adm'. Did you mean 'adam'"),
        ({"surrogate": "dicee"}, "no surrogate 'dicee'. Did you mean 'dice'"),
        ({"policy": "table"}, "no policy 'table'. Did you mean 'tabular'"),
        ({"activation": "rely"}, "no activation 'rely'. Did you mean 'relu'"),
        ({"padding": "sam"}, "no padding 'sam'. Did you mean 'same'"),
    ],
)
@pytest.mark.parametrize("name", sorted(METHODS))
def test_bad_settings_of_the_inner_loop_are_refused(name: str, settings: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        METHODS[name](**settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"outer_learning_rate": 0.0}, "outer_learning_rate must be a finite number above 0, not 0"),
        ({"cost_weight": -1.0}, "cost_weight must be a finite number of 0 or more, not -1"),
        ({"cost_weight": math.inf}, "cost_weight must be a finite number of 0 or more, not inf"),
        ({"own_share": 1.0}, "own_share is above 0 and below 1 .*, not 1.0"),
        ({"outer_optimizer": "sdg"}, "no outer_optimizer 'sdg'. Did you mean 'sgd'"),
        ({"objective": "welfair"}, "no objective 'welfair'. Did you mean 'welfare'"),
        ({"cost": "l2"}, "no cost 'l2'. Did you mean 'l1'"),
    ],
)
def test_bad_settings_of_the_outer_loop_are_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ToS(**settings)


@pytest.mark.parametrize("self_interest", [-0.1, 1.1, math.nan])
def test_a_fixed_share_that_is_none_is_refused(self_interest: float) -> None:
    with pytest.raises(ValueError, match="self_interest must be a finite number from 0 to 1, not"):
        Fixed(self_interest=self_interest)


def test_a_placement_needs_seeds_and_a_floating_type() -> None:
    for seeds in (0, 2.5, True):
        with pytest.raises(ValueError, match=f"A run needs a whole number of seeds, 1 or more, not {seeds}"):
            Placement(seeds=seeds)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Policies need a floating dtype, not torch\.int64"):
        Placement(dtype=torch.int64)


def test_the_entropy_bonus_follows_its_schedule() -> None:
    schedule = Selfish(entropy=1.0, entropy_end=0.5, entropy_steps=2).entropy_schedule
    assert [schedule(step) for step in range(4)] == [1.0, 0.75, 0.5, 0.5]
    assert Selfish(entropy_end=0.1).entropy_schedule(0) == 0.1


@pytest.mark.parametrize(
    ("method", "game", "sentence"),
    [
        (Selfish(policy="mlp"), REPEATED, "Exact values need a tabular policy: leave policy at auto"),
        (Selfish(policy="tabular"), EscapeRoom(), r"EscapeRoom's have the shape \(7,\): use mlp"),
        (Selfish(policy="mlp", hidden=()), EscapeRoom(), "hidden layers need 1 unit or more each"),
        (Selfish(share_parameters=True), REPEATED, "need a network, which is told their number"),
        (Selfish(policy="gru"), REPEATED, "Exact values need a tabular policy: leave policy at auto"),
        (Selfish(policy="gru", memory=0), EscapeRoom(), "A GRU remembers with 1 unit or more, not 0"),
        (
            Selfish(policy="conv"),
            EscapeRoom(),
            r"planes of a grid \[plane, row, column\], but EscapeRoom's are of the shape \(7,\): use mlp",
        ),
        (Selfish(policy="conv"), REPEATED, "but RepeatedGame's are numbers: use tabular, mlp or gru"),
        (Selfish(policy="conv", channels=()), COINS, r"1 layer or more, .* but channels is \(\)"),
        (Selfish(policy="conv", kernel=0), COINS, "Planes, kernel and stride are 1 or more"),
        (
            Selfish(policy="conv", kernel=5, padding="valid"),
            COINS,
            "A kernel of 5 without padding does not fit into the 3 x 3 planes that reach layer 0",
        ),
    ],
)
def test_a_policy_that_does_not_fit_the_game_is_refused(method: Method, game: Game, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        method.build(game, Placement())


def test_a_sharing_that_does_not_fit_the_game_is_refused() -> None:
    with pytest.raises(ValueError, match="has 2 agents, but what passes between them is for 3"):
        PolicyLearner(Selfish(), DILEMMA, Placement(), FixedMatrix(torch.eye(3)))
    with pytest.raises(ValueError, match="Every row of a sharing matrix sums to 1"):
        FixedMatrix(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="has 2 agents, but what passes between them is for 3"):
        OuterLearner(
            ToS(),
            DILEMMA,
            Placement(),
            LearnedMatrix(Sharing(torch.ones(3, 3, dtype=torch.bool))),
            objective=OBJECTIVES["welfare"],
        )


def test_a_seed_is_not_negative() -> None:
    with pytest.raises(ValueError, match="seed must be 0 or more, not -1"):
        Selfish().build(DILEMMA, Placement()).init(-1)


@pytest.mark.parametrize(
    ("method", "game", "play", "policy"),
    [
        (Selfish(), REPEATED, ExactPlay, Tabular),
        (Selfish(exact=False), REPEATED, SampledPlay, Tabular),
        (Selfish(exact=False, policy="mlp"), REPEATED, SampledPlay, MLP),
        (Selfish(), EscapeRoom(), SampledPlay, MLP),
        (Selfish(), COINS, SampledPlay, MLP),
        (Selfish(policy="conv"), COINS, SampledPlay, Convolutional),
        (Selfish(policy="gru"), COINS, SampledPlay, GRU),
        (Selfish(exact=False, policy="gru"), REPEATED, SampledPlay, GRU),
    ],
)
def test_how_a_game_is_played(method: Method, game: Game, play: type, policy: type) -> None:
    chosen = method.play(game)
    assert isinstance(chosen, play)
    assert isinstance(chosen.policy, policy)


def test_sampled_play_is_as_it_was_set() -> None:
    play = ToS(exact=False, surrogate="dice", episodes=17, policy="mlp", hidden=(5, 4)).play(REPEATED)
    assert isinstance(play, SampledPlay)
    assert (play.surrogate, play.episodes) == (dice, 17)
    assert play.policy == MLP(5, 2, (5, 4), one_hot=True)


def test_settings_of_a_policy_reach_it() -> None:
    settings = {"hidden": (5, 4), "activation": "relu"}
    shape = {"channels": (3, 2), "kernel": 2, "stride": 2, "padding": "valid"}
    conv = Selfish(policy="conv", **shape, **settings).play(games.make("coin-game-lase")).policy
    assert conv == Convolutional((4, 5, 5), 4, **shape, **settings)
    assert Selfish(policy="gru", memory=7, **settings).play(COINS).policy == GRU(
        36, 4, (5, 4), 7, observation_axes=3, activation="relu"
    )
    assert Selfish(policy="gru", exact=False, **settings).play(REPEATED).policy == GRU(
        5, 2, (5, 4), one_hot=True, activation="relu"
    )


@pytest.mark.parametrize("name", sorted(METHODS))
def test_settings_travel(name: str) -> None:
    method, usual = METHODS[name](inner_steps=3), METHODS[name]()
    assert pickle.loads(pickle.dumps(method)) == method
    assert dataclasses.replace(method, inner_steps=usual.inner_steps) == usual != method
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.inner_steps = 2
    assert isinstance(method.build(DILEMMA, Placement()), Playable)


def test_a_game_too_large_for_exact_values_is_refused_when_built() -> None:
    game = games.make("repeated-public-goods", stage=games.make("public-goods", agents=6))
    with pytest.raises(ValueError, match=r"at most 32 joint actions.*--method\.no-exact"):
        ToS().build(game, Placement())
    ToS(exact=False, policy="tabular").build(game, Placement())
