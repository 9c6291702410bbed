"""Learners: a pure update of one state, seeds that do not touch each other, errors that say where."""

import math
import pickle

import pytest
import torch
from torch import Tensor

import games
from bilevel.core import leaves, tree_map
from bilevel.methods import METHODS, LToS, Method, Placement, PolicyLearner, Selfish, ToS
from games.core import Game
from games.matrix import Cyclical, EscapeRoom, RepeatedGame
from tests.bilevel.methods.configured import configured

GAMES: dict[str, Game] = {
    "coin game": games.make("coin-game", horizon=6),
    "exact": games.make("repeated-prisoners-dilemma"),
    "sampled": EscapeRoom(),
    "a ring": Cyclical(agents=4),
}
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")),
    pytest.param("mps", marks=pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no MPS")),
]
NEEDS = {
    "d3c": {"loss_bound": 100.0},
    "coala-pg": {"meta.steps": 2, "meta.episodes": 2, "meta.hidden_size": (4,), "meta.recurrent_size": 4},
    "m-fos": {"meta.steps": 3, "meta.episodes": 4, "meta.hidden_size": (4,)},
    "pola": {"proximal.steps": 2},
}
"""Method -> settings that it has to be told where a game does not say them, or that keep updates short."""
VARYING = ("lase", "ltos")
"""Methods whose shares depend on what happens, by default."""
TABLES = ("coala-pg", "m-fos")
"""Methods of tabular policies of two agents, from fresh ones in every update."""
every_game = pytest.mark.parametrize("game", GAMES.values(), ids=GAMES.keys())
every_method_and_game = pytest.mark.parametrize(
    ("name", "game"),
    [
        pytest.param(name, game, id=f"{key}-{name}")
        for name in sorted(set(METHODS) - {"meva"})  # takes none of these games
        for key, game in GAMES.items()
        if name not in TABLES or key == "exact"
    ],
)


def build(name: str, game: Game, seeds: int = 3, **settings) -> PolicyLearner:
    small = {"inner.episodes": 4, "inner.optimizer": "adam", "inner.learning_rate": 0.1}
    return configured(METHODS[name], **{**small, **NEEDS.get(name, {}), **settings}).build(
        game, Placement(seeds=seeds)
    )


def train(learner: PolicyLearner, updates: int, seed: int = 0) -> tuple[dict, list[dict[str, Tensor]]]:
    state, history = learner.init(seed), []
    for _ in range(updates):
        state, metrics = learner.update(state)
        history.append(metrics)
    return state, history


def assert_same_bits(left: object, right: object) -> None:
    for one, other in zip(leaves(left), leaves(right), strict=True):
        assert torch.equal(one, other)


@every_method_and_game
def test_an_update_moves_the_policies_and_reports_every_seed(name: str, game: Game) -> None:
    learner = build(
        name, game, inner__episodes=8
    )  # of few, an agent may do the same in all, and learn nothing
    state, (metrics, _) = train(learner, 2)
    start = learner.init(0)
    assert int(state["outer_step"]) == 2
    assert state["theta"].shape == start["theta"].shape
    assert not (state["theta"] == start["theta"]).all(-1).any()
    agents = range(game.num_agents)
    returns = torch.stack([metrics[f"return_{agent}"] for agent in agents])
    torch.testing.assert_close(metrics["welfare"], returns.sum(0), rtol=0, atol=1e-12)
    matrix = learner.transfer(start["phi"]).matrix
    conserving = matrix is not None and torch.allclose(matrix.sum(-1), matrix.new_ones(()))
    assert ("given_away" in metrics) == (conserving or name in VARYING)
    if conserving:
        shares = torch.stack(
            [torch.stack([metrics[f"share_{i}_{j}"] for j in agents], -1) for i in agents], -2
        )
        torch.testing.assert_close(shares, matrix, rtol=0, atol=0)
        given = 1 - shares.diagonal(dim1=-2, dim2=-1).mean(-1)
        torch.testing.assert_close(metrics["given_away"], given, rtol=0, atol=1e-12)
    assert all(values.shape == (3,) and not values.requires_grad for values in metrics.values())
    assert not any(leaf.requires_grad for leaf in leaves(state))


@every_method_and_game
def test_an_update_is_a_pure_function_of_the_state(name: str, game: Game) -> None:
    learner = build(name, game, inner__steps=2)
    state, _ = train(learner, 1)
    kept = tree_map(torch.clone, state)
    torch.manual_seed(1)
    first = learner.update(state)
    torch.manual_seed(2)  # the global stream has no part in it
    assert_same_bits(first, learner.update(state))
    assert_same_bits(state, kept)
    again = pickle.loads(pickle.dumps(state))
    assert_same_bits(first, build(name, game, inner__steps=2).update(again))


@pytest.mark.parametrize(
    "name", sorted(name for name, method in METHODS.items() if method().exact and name != "meva")
)
def test_the_first_seeds_do_not_depend_on_how_many_there_are(name: str) -> None:
    few, many = (train(build(name, GAMES["exact"], seeds=seeds, inner__steps=2), 3) for seeds in (4, 8))
    for key in ("theta", "phi"):
        torch.testing.assert_close(few[0][key], many[0][key][:4], rtol=0, atol=1e-12)
    for metrics, more in zip(few[1], many[1], strict=True):
        for key, values in metrics.items():
            torch.testing.assert_close(values, more[key][:4], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"ltos", "meva", *TABLES}))
def test_every_update_draws_new_episodes(name: str) -> None:
    """With policies that do not move, what is measured still changes.

    Not so with `ltos`, which is measured without exploring, in a game without chance, and with `meva`, whose
    values are exact.
    """
    learner = build(name, GAMES["sampled"], inner__optimizer="sgd", inner__learning_rate=1e-300)
    state, (first, second) = train(learner, 2)
    torch.testing.assert_close(state["theta"], learner.init(0)["theta"], rtol=0, atol=1e-290)
    assert not torch.equal(first["welfare"], second["welfare"])


@every_game
def test_an_evaluation_does_not_touch_the_state(game: Game) -> None:
    learner = build("tos", game)
    state, _ = train(learner, 1)
    kept = tree_map(torch.clone, state)
    measured = learner.evaluate(state, episodes=16)
    assert_same_bits(state, kept)
    assert_same_bits(measured, learner.evaluate(state, episodes=16))
    expected = learner.transfer(state["phi"]).matrix[
        :, 0, 1
    ]  # the sharing of the state, not the one before it
    torch.testing.assert_close(measured["share_0_1"], expected, rtol=0, atol=0)


def test_an_evaluation_plays_as_many_episodes_as_asked() -> None:
    """The standard error of a uniform policy's welfare falls with the root of the episodes."""
    learner = build("selfish", EscapeRoom(), seeds=200)
    state = learner.init(0)
    state["theta"] = torch.zeros_like(state["theta"])
    few, many = (float(learner.evaluate(state, episodes=episodes)["welfare"].std()) for episodes in (4, 64))
    assert few / many == pytest.approx(4, rel=0.3)
    later = {**state, "outer_step": state["outer_step"] + 1}  # other draws after another outer step
    one, other = (learner.evaluate(now, episodes=4)["welfare"] for now in (state, later))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", ["selfish", "tos"])
def test_a_policy_that_is_no_number_is_told_by_step_seed_and_agent(name: str) -> None:
    learner = build(name, GAMES["a ring"], inner__optimizer="sgd", inner__learning_rate=1.0)
    state, _ = train(learner, 3)
    state["theta"][2, 3] = math.nan
    sentence = "A policy stopped being a finite number in outer step 3, first for seed 2, agent 0: try"
    with pytest.raises(FloatingPointError, match=sentence):  # in whose values agent 3's policy is
        learner.update(state)


@pytest.mark.parametrize(("name", "settings"), [("selfish", {}), ("tos", {"own_share": 0.99})])
def test_a_learning_rate_that_is_too_large_is_told(name: str, settings: dict) -> None:
    learner = build(name, GAMES["exact"], inner__optimizer="sgd", inner__learning_rate=1e308, **settings)
    sentence = (
        "A policy stopped being .* outer step 0, first for seed 0, agent 0: try a smaller learning rate"
    )
    with pytest.raises(FloatingPointError, match=sentence):
        learner.update(learner.init(0))


def test_a_hypergradient_that_is_no_number_is_told() -> None:
    """Under the KL cost nobody can keep nothing: with T_11 = 0 the cost is infinite."""
    learner = build("tos", GAMES["exact"], cost="kl", cost_weight=1.0)
    state = learner.init(0)
    state["phi"][1, 1, 1] = -1e4
    sentence = "A hypergradient stopped being a finite number in outer step 0, first for seed 1, agent 1: try"
    with pytest.raises(FloatingPointError, match=sentence):
        learner.update(state)


def test_the_bonus_of_an_update_is_that_of_its_outer_step() -> None:
    """With constant rewards nothing but the bonus moves a policy."""
    game = games.matrix.NormalForm(table=(((1, 1), (1, 1)), ((1, 1), (1, 1))))
    learner = Selfish().with_settings({"inner.entropy_coef": "0:1.0, 2:0"}).build(game, Placement())
    state = learner.init(0)
    moves = []
    for _ in range(3):
        logit = state["theta"]
        state, _ = learner.update(state)
        p = logit.sigmoid()
        moves.append((state["theta"] - logit) / (-logit * p * (1 - p)))  # d entropy / d log-odds
    expected = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    torch.testing.assert_close(torch.stack([move.mean() for move in moves]), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "method",
    [
        Selfish().with_settings({"inner.episodes": 4}),
        ToS().with_settings({"inner.episodes": 4}),
        ToS(objective="own-return").with_settings({"inner.episodes": 4, "inner.steps": 2}),
        LToS().with_settings({"inner.steps": 2, "outer.updates": 2, "outer.every": 1}),
    ],
)
@pytest.mark.parametrize("game", [RepeatedGame(), EscapeRoom()], ids=["exact", "sampled"])
def test_any_device(device: str, method: Method, game: Game) -> None:
    learner = method.build(game, Placement(seeds=2, dtype=torch.float32, device=device))
    state = learner.init(0)
    for _ in range(2):
        state, metrics = learner.update(state)
    learner.evaluate(state, episodes=4)
    for key in ("theta", "phi"):
        assert state[key].device.type == device
        assert state[key].dtype == torch.float32
    assert metrics["welfare"].device.type == device
