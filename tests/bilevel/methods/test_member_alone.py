"""Member i of a batch of seeds is random seed `seed` + i: it equals that seed alone, bit for bit."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

import games
from bilevel.core import leaves, paths
from bilevel.experiments import preset
from bilevel.methods import LASE, METHODS, Learner, Method, Placement, Selfish, ToS
from games import EscapeRoom, Game
from tests.bilevel.methods.configured import configured
from tests.games.core.test_streams import Windy

SEEDS = 3
COIN = dataclasses.replace(games.make("coin-game"), horizon=4)
EXACT = games.make("repeated-chicken")
STAGE = games.make("prisoners-dilemma")
ROOM = EscapeRoom(random_start=True)
FEW: dict[str, Any] = {"inner.exact": False, "inner.episodes": 4, "inner.steps": 2}


def run(learner: Learner, seed: int) -> Any:
    """Everything that a run of two outer steps comes to: the state, all metrics, and an evaluation."""
    state, metrics = learner.init(seed), []
    for _ in range(2):
        state, measured = learner.update(state)
        metrics.append(measured)
    return state, metrics, learner.evaluate(state, episodes=3)


def member(leaf: Tensor, alone: Tensor, index: int) -> Tensor:
    """Member `index` of a leaf of a batch, in the form that it has alone; single numbers serve all."""
    if leaf.shape == alone.shape:
        return leaf
    (axis,) = (axis for axis, length in enumerate(alone.shape) if leaf.shape[axis] != length)
    assert (leaf.shape[axis], alone.shape[axis]) == (SEEDS, 1)
    return leaf.narrow(axis, index, 1)


def assert_members_equal_seeds_alone(
    game: Game, method: Method, dtype: torch.dtype = torch.float32, atol: float = 0
) -> None:
    batch = run(method.build(game, Placement(seeds=SEEDS, dtype=dtype)), 5)
    for index in range(SEEDS):
        alone = run(method.build(game, Placement(dtype=dtype)), 5 + index)
        for path, found, expected in zip(paths(batch), leaves(batch), leaves(alone), strict=True):
            ours = member(found, expected, index)
            torch.testing.assert_close(
                ours,
                expected,
                rtol=0,
                atol=atol,
                equal_nan=True,
                msg=lambda text, path=path: f"{path}: {text}",
            )


@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"planner", "coala-pg", "m-fos", "meva"}))
def test_every_method(name: str) -> None:
    assert_members_equal_seeds_alone(
        ROOM, preset("escape-room", name)[1].with_settings({"inner.episodes": 4})
    )


def test_a_planner_but_for_rounding() -> None:
    """A seed has one network, and torch multiplies one pair of matrices by another kernel than several."""
    method = preset("escape-room", "planner")[1].with_settings({"inner.episodes": 4})
    assert_members_equal_seeds_alone(ROOM, method, torch.float64, atol=1e-12)


@pytest.mark.parametrize(
    "name",
    sorted(name for name, method in METHODS.items() if method().exact and name not in ("m-fos", "meva")),
)
def test_every_method_of_exact_values(name: str) -> None:
    assert_members_equal_seeds_alone(STAGE, METHODS[name](), torch.float64)


@pytest.mark.parametrize("training", ["ppo", "evolution"])
def test_meta_policies_but_for_rounding(training: str) -> None:
    """A seed with one agent that shapes has one network, as that of a planner."""
    settings = {"training": training, "meta.steps": 3, "meta.episodes": 4, "meta.hidden_size": (4,)}
    method = METHODS["m-fos"]().with_settings(settings)
    assert_members_equal_seeds_alone(STAGE, method, torch.float64, atol=1e-10)


@pytest.mark.parametrize("shapers", ["one", "both"])
def test_sequence_policies_but_for_rounding(shapers: str) -> None:
    settings = {"shapers": shapers, "meta.steps": 2, "meta.episodes": 2, "inner.episodes": 3}
    small = {"meta.hidden_size": (4,), "meta.recurrent_size": 4}
    method = METHODS["coala-pg"]().with_settings(settings | small)
    assert_members_equal_seeds_alone(STAGE, method, torch.float64, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "method",
    [
        ToS().with_settings(
            {"policy": "mlp", "policy.hidden_size": (7, 3), "inner.episodes": 5, "inner.steps": 2}
        ),
        ToS().with_settings(
            {"policy": "gru", "inner": "actor-critic", "policy.hidden_size": (7,), "inner.episodes": 5}
        ),
        ToS().with_settings({"policy": "conv", "policy.hidden_size": (5,), "inner.episodes": 5}),
        LASE().with_settings({"inner.episodes": 3}),
        ToS().with_settings(
            {
                "policy": "mixture",
                "policy.hidden_size": (7,),
                "policy.experts": 3,
                "policy.alpha": "0:1, 1:1.5",
                "inner.episodes": 5,
            }
        ),
        ToS().with_settings({"policy": "mixture", "policy.active": 1, "inner.episodes": 5}),
    ],
    ids=["mlp", "gru", "conv", "lase", "annealed mixture", "top-1 mixture"],
)
def test_members_that_do_not_fill_vectors(method: Method, dtype: torch.dtype) -> None:
    """Of odd sizes, where the end of one member and the beginning of the next share a vector."""
    assert_members_equal_seeds_alone(COIN, method, dtype)


def test_a_users_game_that_draws_with_torchs_functions() -> None:
    assert_members_equal_seeds_alone(Windy(), ToS().with_settings(FEW))
    with pytest.raises(RuntimeError, match="Windy says that it draws by rows, but it draws with torch's own"):
        run(Selfish().with_settings({"inner.episodes": 4}).build(Windy(says=True), Placement(seeds=2)), 0)


def test_an_evaluation_does_not_draw_what_the_next_seed_learns_from() -> None:
    """Of the same policies: seed 0's evaluation, and what seed 1 plays in any of its first outer steps."""
    learner = (
        Selfish()
        .with_settings({"inner.episodes": 64, "inner.learning_rate": 1e-300})
        .build(ROOM, Placement())
    )
    theta = torch.zeros_like(learner.init(0)["theta"])
    evaluated = learner.evaluate({**learner.init(0), "theta": theta}, episodes=64)["welfare"]
    state = {**learner.init(1), "theta": theta}
    for _ in range(3):
        state, metrics = learner.update(state)
        assert not torch.equal(metrics["welfare"], evaluated)


@pytest.mark.parametrize(
    ("policy", "game"),
    [("mlp", COIN), ("gru", COIN), ("conv", COIN), ("tabular", STAGE), ("mlp", STAGE)],
)
def test_every_policy(policy: str, game: Game) -> None:
    assert_members_equal_seeds_alone(game, configured(ToS, **{"policy": policy, **FEW}))


@pytest.mark.parametrize("inner_learner", ["actor-critic", "ppo"])
@pytest.mark.parametrize("share", [False, True])
def test_every_inner_learner(inner_learner: str, share: bool) -> None:
    few = {name: value for name, value in FEW.items() if name != "inner.exact"}  # critics play episodes only
    method = ToS().with_settings(
        {"policy": "mlp", "inner": inner_learner, "policy.share_parameters": share, **few}
    )
    assert_members_equal_seeds_alone(COIN, method)


@pytest.mark.parametrize(
    "settings",
    [
        {"outer.hypergradient": "evolution(members=True, fresh_data=True, samples=4)"},
        {"outer.hypergradient": "forward"},
        {"inner.surrogate": "loaded-dice"},
        {"outer.reset": "each-outer-step"},
        {"training": "staged", "training.outer_steps": 1},
        {"training": "curriculum", "training.phases": "0-1(moves=outer), 1-2(policies=new)"},
    ],
    ids=lambda settings: " ".join(map(str, settings.values())),
)
def test_every_estimator_and_training(settings: dict[str, Any]) -> None:
    assert_members_equal_seeds_alone(ROOM, configured(ToS, **{**FEW, **settings}))


@pytest.mark.parametrize(
    "estimator", ["evolution(samples=4)", "persistent-evolution(samples=4)", "implicit(max_distance=inf)"]
)
def test_every_estimator_of_exact_values(estimator: str) -> None:
    assert_members_equal_seeds_alone(
        EXACT, ToS().with_settings({"outer.hypergradient": estimator, "inner.steps": 2}), torch.float64
    )
