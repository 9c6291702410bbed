"""Settings: what is refused, and with which sentence; which policy and play a method chooses."""

import dataclasses
import math
import pickle
from typing import Any

import pytest
import torch

import games
from bilevel.agents import GRU, MLP, Convolutional, ExactPlay, SampledPlay, Tabular
from bilevel.agents._surrogates import dice
from bilevel.core import Schedule
from bilevel.methods import (
    METHODS,
    PPO,
    ConvPolicy,
    Fixed,
    GRUPolicy,
    Method,
    OuterLearner,
    OuterLoop,
    Placement,
    Playable,
    PolicyGradient,
    PolicyLearner,
    Selfish,
    ToS,
)
from bilevel.sharing import OBJECTIVES, FixedMatrix, LearnedMatrix, Sharing
from games.core import Game
from games.matrix import EscapeRoom
from tests.bilevel.methods.configured import configured

DILEMMA = games.make("prisoners-dilemma")
REPEATED = games.make("repeated-prisoners-dilemma")
COINS = games.make("coin-game")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"inner.learning_rate": 0.0}, "inner.learning_rate must be a finite number above 0, not 0"),
        ({"inner.learning_rate": math.nan}, "inner.learning_rate must be a finite number above 0, not nan"),
        ({"inner.learning_rate": math.inf}, "inner.learning_rate must be a finite number above 0, not inf"),
        ({"inner.steps": 0}, "inner.steps must be a whole number, 1 or more, not 0"),
        ({"inner.steps": 1.5}, "inner.steps must be a whole number, 1 or more, not 1.5"),
        ({"inner.episodes": 1}, "inner.episodes must be a whole number, 2 or more, not 1"),
        ({"inner.optimizer": "adm"}, "no inner.optimizer 'adm'. Did you mean 'adam'"),
        ({"inner.learning_rate": "fast"}, "inner.learning_rate: 'fast' is not a schedule: write a number"),
        ({"inner.stepps": 1}, "no setting of .* 'inner.stepps'. Did you mean 'inner.steps'"),
        ({"iner": "ppo"}, "no setting of .* 'iner'"),
    ],
)
@pytest.mark.parametrize("name", sorted(METHODS))
def test_bad_settings_of_the_inner_loop_are_refused(name: str, settings: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        METHODS[name]().with_settings(settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"inner.entropy_coef": "0:-0.1, 1:0"}, "inner.entropy_coef must be .* 0 or more, not -0.1"),
        ({"inner.entropy_coef": -1.0}, "inner.entropy_coef must be a finite number of 0 or more, not -1"),
        ({"inner.surrogate": "dicee"}, "no inner.surrogate 'dicee'. Did you mean 'dice'"),
        ({"policy": "table"}, "no policy 'table'. Did you mean 'tabular'"),
        ({"policy": "mlp", "policy.activation": "rely"}, "no policy.activation 'rely'. Did you mean 'relu'"),
        ({"policy": "conv", "policy.padding": "sam"}, "no policy.padding 'sam'. Did you mean 'same'"),
        ({"policy": "gru", "policy.recurrent_size": 0}, "policy.recurrent_size must be a whole number, 1"),
        ({"policy": "conv", "policy.kernel_size": 0}, "policy.kernel_size must be a whole number, 1"),
        (
            {"policy.hidden_size": (4,)},
            "setting of policy mlp or conv or gru or mixture, and policy is auto",
        ),
        ({"inner": "ppo", "inner.exact": True}, "inner.exact is a setting of inner policy-gradient"),
    ],
)
def test_bad_settings_of_policies_are_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        METHODS["selfish"]().with_settings(settings)


def test_text_is_for_the_edge_only() -> None:
    with pytest.raises(ValueError, match=r"inner\.learning_rate must be of the type float \| .*Schedule"):
        PolicyGradient(learning_rate="0:1, 5:0.1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be an estimator, such as Truncated"):
        OuterLoop(hypergradient="unrolled")  # type: ignore[arg-type]


def test_a_changed_variant_keeps_what_both_have() -> None:
    method = Selfish().with_settings({"inner.steps": 3, "inner.learning_rate": "0:1, 5:0.1"})
    changed = method.with_settings({"inner": "ppo", "inner.clip_coef": 0.1})
    assert changed.inner == PPO(steps=3, learning_rate=Schedule(((0, 1.0), (5, 0.1))), clip_coef=0.1)
    assert method.with_settings({"inner": changed.inner}) == changed


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"outer.learning_rate": 0.0}, "outer.learning_rate must be a finite number above 0, not 0"),
        ({"cost_weight": -1.0}, "cost_weight must be a finite number of 0 or more, not -1"),
        ({"cost_weight": math.inf}, "cost_weight must be a finite number of 0 or more, not inf"),
        ({"own_share": 1.0}, "own_share is above 0 and below 1 .*, not 1.0"),
        ({"outer.optimizer": "sdg"}, "no outer.optimizer 'sdg'. Did you mean 'sgd'"),
        ({"objective": "welfair"}, "no objective 'welfair'. Did you mean 'welfare'"),
        ({"cost": "l2"}, "no cost 'l2'. Did you mean 'l1'"),
    ],
)
def test_bad_settings_of_the_outer_loop_are_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        configured(ToS, **settings)


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
    schedule = Selfish().with_settings({"inner.entropy_coef": "0:1.0, 2:0.5"}).schedule
    assert [schedule.value("inner.entropy_coef", step) for step in range(4)] == [1.0, 0.75, 0.5, 0.5]


@pytest.mark.parametrize(
    ("method", "game", "sentence"),
    [
        (
            Selfish().with_settings({"policy": "mlp"}),
            REPEATED,
            "Exact values need a tabular policy: leave policy at auto",
        ),
        (
            Selfish().with_settings({"policy": "tabular"}),
            EscapeRoom(),
            r"EscapeRoom's have the shape \(7,\): use mlp",
        ),
        (
            Selfish().with_settings({"policy": "mlp", "policy.hidden_size": ()}),
            EscapeRoom(),
            "hidden layers need 1 unit or more each",
        ),
        (
            Selfish().with_settings({"policy": "gru"}),
            REPEATED,
            "Exact values need a tabular policy: leave policy at auto",
        ),
        (
            Selfish().with_settings({"policy": "conv"}),
            EscapeRoom(),
            r"planes of a grid \[plane, row, column\], but EscapeRoom's are of the shape \(7,\): use mlp",
        ),
        (
            Selfish().with_settings({"policy": "conv"}),
            REPEATED,
            "but RepeatedGame's are numbers: use tabular, mlp or gru",
        ),
        (
            Selfish().with_settings({"policy": "conv", "policy.channels": ()}),
            COINS,
            r"1 layer or more, .* but channels is \(\)",
        ),
        (
            Selfish().with_settings({"policy": "conv", "policy.kernel_size": 5, "policy.padding": "valid"}),
            COINS,
            "A kernel of 5 without padding does not fit into the 3 x 3 planes that reach layer 0",
        ),
    ],
)
def test_a_policy_that_does_not_fit_the_game_is_refused(method: Method, game: Game, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        method.build(game, Placement())


def test_a_sharing_that_does_not_fit_the_game_is_refused() -> None:
    with pytest.raises(ValueError, match="has 2 agents, but the outer variable is for 3"):
        PolicyLearner(Selfish(), DILEMMA, Placement(), FixedMatrix(torch.eye(3)))
    with pytest.raises(ValueError, match="keeps and gives must sum to 1"):
        FixedMatrix(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="has 2 agents, but the outer variable is for 3"):
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
        (Selfish().with_settings({"inner.exact": False}), REPEATED, SampledPlay, Tabular),
        (Selfish().with_settings({"policy": "mlp", "inner.exact": False}), REPEATED, SampledPlay, MLP),
        (Selfish(), EscapeRoom(), SampledPlay, MLP),
        (Selfish(), COINS, SampledPlay, MLP),
        (Selfish().with_settings({"policy": "conv"}), COINS, SampledPlay, Convolutional),
        (Selfish().with_settings({"policy": "gru"}), COINS, SampledPlay, GRU),
        (Selfish().with_settings({"policy": "gru", "inner.exact": False}), REPEATED, SampledPlay, GRU),
    ],
)
def test_how_a_game_is_played(method: Method, game: Game, play: type, policy: type) -> None:
    chosen = method.play(game)
    assert isinstance(chosen, play)
    assert isinstance(chosen.policy, policy)


def test_sampled_play_is_as_it_was_set() -> None:
    play = (
        ToS()
        .with_settings(
            {
                "policy": "mlp",
                "inner.exact": False,
                "inner.surrogate": "dice",
                "inner.episodes": 17,
                "policy.hidden_size": (5, 4),
            }
        )
        .play(REPEATED)
    )
    assert isinstance(play, SampledPlay)
    assert (play.surrogate, play.episodes) == (dice, 17)
    assert play.policy == MLP(5, 2, (5, 4), one_hot=True)


def test_settings_of_a_policy_reach_it() -> None:
    settings: dict[str, Any] = {"hidden_size": (5, 4), "activation": "relu"}
    shape: dict[str, Any] = {"channels": (3, 2), "stride": 2, "padding": "valid"}
    conv = ConvPolicy(kernel_size=2, **shape, **settings).build(games.make("coin-game-lase"))
    assert conv == Convolutional((4, 5, 5), 4, (3, 2), 2, 2, "valid", (5, 4), activation="relu")
    gru = GRUPolicy(recurrent_size=7, **settings)
    assert gru.build(COINS) == GRU(36, 4, (5, 4), 7, observation_axes=3, activation="relu")
    assert gru.build(REPEATED) == GRU(5, 2, (5, 4), 7, one_hot=True, activation="relu")


@pytest.mark.parametrize("name", sorted(METHODS))
def test_settings_travel(name: str) -> None:
    method, usual = configured(METHODS[name], inner__steps=3), METHODS[name]()
    assert pickle.loads(pickle.dumps(method)) == method
    assert method.with_settings({"inner.steps": usual.inner.steps}) == usual != method
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.inner.steps = 2
    assert isinstance(method.build(DILEMMA, Placement()), Playable)


def test_a_game_too_large_for_exact_values_is_refused_when_built() -> None:
    game = games.make("repeated-public-goods", stage=games.make("public-goods", agents=6))
    with pytest.raises(ValueError, match=r"at most 32 joint actions.*--inner\.no-exact"):
        ToS().build(game, Placement())
    ToS().with_settings({"policy": "tabular", "inner.exact": False}).build(game, Placement())
