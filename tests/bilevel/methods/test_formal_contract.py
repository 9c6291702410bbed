"""Formal contracts: zero-sum transfers, thresholds, hypergradients in closed form, acceptance."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import games
from bilevel.agents import Trajectory
from bilevel.core import Purpose
from bilevel.methods import FormalContract, OuterLearner, Placement
from bilevel.methods._formal_contract import ContractTransfer, ContractVariable, ExactContractPlay
from games.core import Game
from games.matrix import FiniteRepeatedGame, NormalForm
from tests.bilevel.methods.configured import configured

F64 = torch.float64
DILEMMA = games.make("prisoners-dilemma")
FROZEN: dict[str, Any] = {"outer.optimizer": "sgd", "outer.learning_rate": 1e-300}
UNFAIR = NormalForm(  # cooperation costs agent 0 three and gives agent 1 five; agent 1's costs and gives one
    table=(((-2.0, 4.0), (-3.0, 5.0)), ((1.0, -1.0), (0.0, 0.0))),
    names=("cooperate", "defect"),
    cooperative=True,
)


def built(game: Game = DILEMMA, /, **settings: Any) -> Any:
    """Two underscores stand for the dot of a part; `seeds` is the placement's."""
    seeds = settings.pop("seeds", 2)
    return configured(FormalContract, **settings).build(game, Placement(seeds=seeds))


def trained(learner: Any, updates: int) -> tuple[Any, Any]:
    state = learner.init(0)
    for _ in range(updates):
        state, metrics = learner.update(state)
    return state, metrics


@pytest.mark.parametrize("game", ["prisoners-dilemma", "public-goods", "stag-hunt"])
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_cooperation_is_learned_above_the_threshold_of_theory(game: str, factor: float) -> None:
    """Of a fixed contract; in the stag hunt agents that start at 20 % hunting need the greatest gain."""
    threshold = games.mechanism_thresholds(games.make(game)).contract
    payment: dict[str, Any] = {"max_payment": 100.0, "initial_payment": factor * threshold}
    learner = built(games.make(game), **payment, inner__learning_rate=5.0, **FROZEN)
    state = learner.init(0)
    state["theta"] = torch.full_like(state["theta"], -5.0)
    for _ in range(3000):
        theta, _ = learner._learn(
            1, state["theta"], state["opt_state"], state["phi"], None, learner.inputs(state)
        )
        state["theta"] = theta
    cooperation = state["theta"].sigmoid()
    assert (cooperation > 0.9).all() if factor > 1 else (cooperation < 0.1).all()


def test_the_hypergradient_of_one_step_has_its_closed_form() -> None:
    """In the dilemma V_i = -2 - p_i + 2 p_j: a step moves the logit by a p (1 - p) (theta - 1)."""
    rate, learner = 0.5, built(seeds=1, inner__learning_rate=0.5)
    state = learner.init(0)
    x, phi = state["theta"][0, :, 0], state["phi"]
    payment = learner.transfer(phi).payment.squeeze()
    p = x.sigmoid()
    after = (x + rate * p * (1 - p) * (payment - 1)).sigmoid()
    by_payment = (after * (1 - after) * rate * p * (1 - p)).sum()  # welfare is -4 + p_0 + p_1
    by_phi = by_payment * payment * (1 - payment / 5)
    problem = learner.problem_at(state, learner.streams(state, Purpose.TRAINING))
    estimate, _ = learner.hypergradient.estimate(
        problem, state["theta"], state["opt_state"], phi, None, steps=1
    )
    torch.testing.assert_close(estimate.theta[0, :, 0].sigmoid(), after, rtol=0, atol=1e-12)
    torch.testing.assert_close(-estimate.gradient.squeeze(), by_phi, rtol=0, atol=1e-12)


def test_transfers_among_three_by_hand() -> None:
    """Agents 1 and 2 defect and pay 2 each, half to each other agent."""
    transfer = ContractTransfer(torch.full((1, 1, 1), 2.0, dtype=F64), lambda rewards: rewards.sum(0))
    assert transfer.net(torch.tensor([[0.0, 1.0, 1.0]], dtype=F64)).tolist() == [[2.0, -1.0, -1.0]]


def test_transfers_are_among_those_present() -> None:
    """Agent 2 has left in step 1: agent 1 pays agent 0 alone; in step 2 agent 0 is alone and pays nobody."""
    shape = (1, 3, 3, 1)
    present = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]], dtype=torch.bool)
    zeros = torch.zeros(shape, dtype=F64)
    cooperated = torch.tensor([[0, 1, 0], [1, 0, 0], [1, 1, 1]], dtype=F64).reshape(shape)
    played = Trajectory(
        zeros, zeros, zeros, torch.ones(1, 1, 3, 1), cooperated, present=present.T.reshape(shape)
    )
    transfer = ContractTransfer(torch.full((1, 1, 1), 2.0, dtype=F64), lambda rewards: rewards.sum(0))
    by_agent = [[-2, 2, 0], [1, -2, 0], [1, 0, 0]]
    assert transfer.transfers(played).squeeze().tolist() == by_agent
    report = transfer.report(played)
    assert [float(report[f"transfer_{agent}"]) for agent in range(3)] == [0, -1, 1]


@pytest.mark.parametrize("name", ["prisoners-dilemma", "public-goods", "repeated-prisoners-dilemma"])
def test_exact_transfers_are_expectations_of_sampled_ones(name: str) -> None:
    game = games.make(name)
    exact, sampled = (
        built(game, seeds=1, inner__exact=choice, inner__episodes=20_000) for choice in (True, False)
    )
    assert isinstance(exact.play, ExactContractPlay)
    state = exact.init(0)
    state["theta"] = state["theta"] + torch.linspace(-1, 1, game.num_agents, dtype=F64).reshape(1, -1, 1)
    transfer, theta = exact.transfer(state["phi"]), state["theta"]
    episodes = sampled.play.sample(theta, transfer, torch.Generator().manual_seed(0))
    torch.testing.assert_close(transfer.rewards(episodes).sum(1), episodes.rewards.sum(1), rtol=0, atol=1e-12)
    expected = exact._measured(theta, transfer, ())
    found = sampled._measured(theta, transfer, episodes)
    for agent in range(game.num_agents):
        error = abs(float(found[f"transfer_{agent}"] - expected[f"transfer_{agent}"]))
        assert error < 0.02, agent
        assert abs(float(expected[f"transfer_{agent}"])) > error
    losses = exact.play.losses(theta, theta, transfer, (), None) / exact.game.effective_horizon
    total = torch.stack(
        [expected[f"return_{a}"] + expected[f"transfer_{a}"] for a in range(game.num_agents)], -1
    )
    torch.testing.assert_close(-losses, total, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"inner.exact": False, "inner.episodes": 4, "inner.steps": 2},
        {"outer.reset": "each-outer-step"},
        {"training": "alternating", "training.rounds": 2},
        {"training": "staged", "training.outer_steps": 2},
        {
            "training": "curriculum",
            "training.phases": "0-1(moves=outer), 1-2(policies=new), 2-3(moves=policies)",
        },
        {"inner": "ppo", "inner.episodes": 4, "loss_weights": "learned"},
    ],
    ids=str,
)
def test_a_contract_without_payment_changes_nothing(settings: dict[str, Any]) -> None:
    """Both groups of policies are the same, bit for bit, and the contract is accepted."""
    learner = built(max_payment=1e-299, initial_payment=1e-300, **settings)
    state, metrics = trained(learner, 3)
    if settings.get("inner") != "ppo":  # the learned loss weights of the same step differ in time
        assert torch.equal(state["theta"], state["without_theta"])
    assert metrics["contract_payment"].max() < 1e-298
    assert (metrics["accepted"] == 1).all() or settings.get("inner") == "ppo"


def test_a_contract_is_accepted_where_all_gain() -> None:
    learner = built(seeds=4)
    state, metrics = trained(learner, 150)
    assert (metrics["accepted"] == 1).all()
    assert (metrics["welfare"] > -2.05).all()
    assert (metrics["contract_payment"] > 1).all()
    assert learner.evaluate(state, episodes=1)["cooperation"].min() > 0.95
    without = state["without_theta"].sigmoid()
    assert without.max() < 0.1  # defection, had it been rejected


def test_a_contract_is_rejected_where_an_agent_loses() -> None:
    """Under the contract both cooperate, which costs agent 0 more than it gains; welfare would be greater."""
    learner = built(UNFAIR, seeds=3, initial_payment=4.0, inner__learning_rate=5.0)
    state, metrics = trained(learner, 300)
    assert state["theta"].sigmoid().min() > 0.9
    assert (metrics["accepted"] == 0).all()
    assert metrics["welfare"].abs().max() < 0.1
    assert (metrics["transfer_0"] == 0).all()
    evaluated = learner.evaluate(state, episodes=1)
    assert evaluated["welfare"].abs().max() < 0.1
    assert (evaluated["contract_payment"] > 3).all()  # it is still proposed
    policy, theta = learner.policies(state, 1)
    assert policy.probabilities(theta)[:, 0, 0].max() < 0.1
    _, transfer = learner.actor(UNFAIR, state, 1)
    assert isinstance(transfer, ContractTransfer)
    assert float(transfer.payment) == 0


def test_it_is_an_outer_method() -> None:
    assert isinstance(built(), OuterLearner)
    variable = ContractVariable(2, 5.0, 0.5, lambda rewards: rewards.sum(0))
    payment = variable.transfer(variable.initial(0, 2)).payment
    torch.testing.assert_close(payment, torch.full((2, 1, 1), 0.5, dtype=F64))


@pytest.mark.parametrize(
    ("game", "settings", "sentence"),
    [
        ("braess", {}, "Braess does not define which actions cooperate"),
        ("rock-paper-scissors", {}, "NormalForm does not define which actions cooperate"),
        (
            "prisoners-dilemma",
            {"initial_payment": 5.0},
            "initial_payment must be below max_payment, 5, not 5",
        ),
        ("prisoners-dilemma", {"max_payment": 0.0}, "max_payment"),
    ],
)
def test_bad_input_is_one_sentence(game: str, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        built(games.make(game), **settings)


def test_finite_repetitions_are_sampled() -> None:
    with pytest.raises(
        ValueError, match=r"FiniteRepeatedGame is neither: play episodes \(--inner.no-exact\)"
    ):
        built(FiniteRepeatedGame())
    trained(built(FiniteRepeatedGame(horizon=3), inner__exact=False, inner__episodes=4), 1)
