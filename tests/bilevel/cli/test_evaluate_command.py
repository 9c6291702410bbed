"""`bilevel evaluate`: the run's own game, other settings, and other numbers of agents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from bilevel import evaluate, load_run
from bilevel.experiments import final_shares
from bilevel.methods import PolicyLearner
from bilevel.sharing import FixedMatrix

Call = Callable[..., Any]
SMALL = (
    "--seeds",
    3,
    "--outer-steps",
    2,
    "--inner.no-exact",
    "--inner.episodes",
    8,
    "--evaluation-episodes",
    8,
)
CROSSED = "edges(edges=((0,2),(2,1),(1,3),(3,4),(4,5),(5,0)))"
SHARED = ("--policy", "mlp", "--policy.share-parameters", "--policy.no-observe-index")


def train(call: Call, method: str, *words: object) -> None:
    game = ("--game", "aid", "--game.agents", 6)
    said = call("train", *game, "--method", method, *SMALL, *words, "--out", "run")
    assert said.code == 0, said.err


def test_shared_policies_and_an_edge_network_apply_to_more_agents(call: Call) -> None:
    train(call, "tos", *SHARED, "--sharing", "edge-network")
    run = load_run("run")
    for agents in (6, 100):
        found = evaluate("run", **{"game.agents": agents})
        assert found["welfare"].shape == (3,)
    assert found["return"].shape == (3, 100)
    same = evaluate("run", **{"game.agents": 6})
    assert all((same[name] == values).all() for name, values in run.final.items())
    said = call("evaluate", "run", "--game.agents", 2000, "--episodes", 4)
    assert said.code == 0, said.err
    assert "aid: learned sharing edges" in said.out
    assert "normalized" in said.out


def test_cooperation_on_a_ring_does_not_depend_on_its_size(call: Call) -> None:
    """All agents of a ring observe the same, and play by the same parameters."""
    train(call, "prosocial", *SHARED, "--evaluation-episodes", 256)
    few, many = (evaluate("run", **{"game.agents": agents})["cooperation"] for agents in (6, 300))
    np.testing.assert_allclose(few, many, atol=0.05)


def test_other_payoffs_are_those_of_the_same_policies(call: Call) -> None:
    train(call, "fixed", "--method.self-interest", "0:0.9,1:0.5")
    run, other = load_run("run"), evaluate("run", **{"game.benefit": 5.0, "game.cost": 1.0})
    np.testing.assert_allclose(other["welfare"] / run.final["welfare"], 2.0, rtol=1e-5)  # 5 - 1 to 3 - 1
    np.testing.assert_allclose(other["given_away"], 0.5)
    said = call("evaluate", "run")
    assert said.code == 0, said.err


@pytest.mark.parametrize(("method", "settings"), [("selfish", ()), ("prosocial", SHARED)])
def test_new_policies_under_a_fixed_rule_are_those_of_training_with_other_seeds(
    call: Call, method: str, settings: tuple[object, ...]
) -> None:
    """Bit for bit those of a run with the random seeds after the run's own, and not the run's policies."""
    train(call, method, *settings)
    found = evaluate("run", new_policies=2)
    other = ("--game", "aid", "--game.agents", 6, "--method", method, *SMALL, *settings)
    assert call("train", *other, "--seed", 3, "--out", "later").code == 0
    for name, values in load_run("later").final.items():
        np.testing.assert_array_equal(found[name], values)
    assert (found["welfare"] != load_run("run").final["welfare"]).any()


def test_new_policies_learn_from_rewards_shared_by_the_learned_matrix(call: Call) -> None:
    """The sharing stays: the same as a learner with that fixed matrix, without a hypergradient."""
    train(call, "tos", "--method.own-share", 0.4)
    run = load_run("run")
    shares = torch.tensor(final_shares(run), dtype=torch.float32)  # [seed, giver, receiver]
    found = evaluate("run", new_policies=5)
    np.testing.assert_allclose([found[f"share_0_{i}"] for i in range(6)], shares[:, 0].T, rtol=1e-6)
    method = run.config.method
    learner = PolicyLearner(method, run.config.game, run.config.placement, FixedMatrix(torch.eye(6)))
    state = {**learner.init(3), "phi": shares}
    for _ in range(5):
        state, _ = learner.update(state)
    expected = learner.evaluate(state, episodes=8)["welfare"]
    np.testing.assert_allclose(found["welfare"], expected, rtol=1e-4)


def test_new_policies_of_an_edge_network_need_no_shared_parameters(call: Call) -> None:
    train(call, "tos", "--sharing", "edge-network")
    found = evaluate("run", new_policies=3, **{"game.agents": 50})
    assert found["return_0"].shape == (3,)
    said = call("evaluate", "run", "--game.agents", 50, "--new-policies", 3)
    assert said.code == 0, said.err
    assert "aid: learned sharing edges" in said.out


@pytest.mark.parametrize(
    ("method", "settings", "words", "message"),
    [
        ("selfish", (), ("--game.agents", 8), "Each of the 6 agents has its own parameters"),
        (
            "selfish",
            SHARED[:-1],
            ("--game.agents", 8),
            "The policy observes an agent's index, so its parameters are for 6 agents",
        ),
        ("tos", SHARED, ("--game.agents", 8), "What tos learned besides policies is for the 6 agents"),
        ("tos", (), ("--game.graph", CROSSED), "What tos learned besides policies"),
        ("selfish", SHARED, ("--game.graph", "ring(reach=2)"), "policies have the observations Discrete(2)"),
        ("selfish", (), ("--episodes", 1), "evaluation_episodes must be 2 or more, not 1."),
        ("lase", (), ("--game.benefit", 4), "lase learns more than policies and sharing"),
        ("lase", (), ("--new-policies", 4), "lase learns more than policies and sharing"),
        ("selfish", (), ("--new-policies", 0), "new_policies must be 1 outer step or more, not 0."),
        ("tos", (), ("--new-policies", 2, "--game.agents", 8), "What tos learned besides policies is for"),
        (
            "tos",
            ("--sharing", "edge-network"),
            ("--new-policies", 2, "--game.graph", "ring(reach=2)"),
            "The run's sharing is computed from the observations Discrete(2)",
        ),
        ("gifting", (), ("--new-policies", 2), "this run of gifting has more than that"),
    ],
)
def test_what_depends_on_the_number_of_agents_is_refused(
    call: Call, method: str, settings: tuple[object, ...], words: tuple[object, ...], message: str
) -> None:
    train(call, method, *settings)
    said = call("evaluate", "run", *words)
    assert said.code == 2
    assert message in said.sentence()


def test_a_folder_is_needed_and_only_settings_of_the_game_change(call: Call) -> None:
    said = call("evaluate", "--game.agents", 3)
    assert said.code == 2
    assert said.sentence().startswith("Name the folder of a run first")
    assert call("evaluate", "--help").code == 0
    train(call, "selfish")
    with pytest.raises(ValueError, match="Only settings of the game may change"):
        evaluate("run", **{"inner.steps": 3})
