"""Training by phases: who moves, what changes, and that it goes on from wherever it was saved."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import pytest
import torch

import games
from bilevel.core import leaves
from bilevel.hypergradient import check_hypergradient
from bilevel.methods import (
    LIO,
    CentralPlanner,
    Fixed,
    OuterLearner,
    OuterMethod,
    Placement,
    PolicyLearner,
    Selfish,
    ToS,
)
from games.core import Game
from games.matrix import EscapeRoom
from tests.bilevel.methods.configured import configured
from tests.bilevel.methods.courses import train

REPEATED = games.make("repeated-prisoners-dilemma")
ROOM = EscapeRoom()
KINDS = [ToS, LIO, CentralPlanner]


def build(method: OuterMethod, game: Game = REPEATED) -> OuterLearner:
    learner = method.build(game, Placement(seeds=3))
    assert isinstance(learner, OuterLearner)
    return learner


def curriculum(phases: str, kind: type[OuterMethod] = ToS, **settings: Any) -> OuterMethod:
    return configured(kind, training="curriculum", training__phases=phases, **settings)


def assert_same(one: Any, other: Any) -> None:
    for ours, theirs in zip(leaves(one), leaves(other), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("phases", "settings"),
    [
        ("0-4", {}),
        ("0-2, 2-4", {}),
        ("0-4(rounds=2)", {"training": "alternating", "training.rounds": 2}),
        ("0-2, 2-4(moves=policies, policies=new)", {"training": "staged", "training.outer_steps": 2}),
        ("0-4(inner.steps=3)", {"inner.steps": 3}),
        ("0-4(inner.learning_rate=0.3)", {"inner.learning_rate": 0.3}),
        ("0-4(outer.learning_rate='0:0.1, 3:0.4')", {"outer.learning_rate": "0:0.1, 3:0.4"}),
        ("0-4(inner.entropy_coef='0:0.3, 4:0.1')", {"inner.entropy_coef": "0:0.3, 4:0.1"}),
        ("0-4(COST=0.3)", {"COST": 0.3}),
    ],
)
def test_the_other_trainings_are_curricula_bit_for_bit(
    kind: type[OuterMethod], phases: str, settings: dict[str, Any]
) -> None:
    extra, cost = ({"cost": "objective"}, "cost.weight") if kind is LIO else ({}, "cost_weight")
    phases, settings = (
        phases.replace("COST", cost),
        {cost if n == "COST" else n: v for n, v in settings.items()},
    )
    by_phases = build(curriculum(phases, kind, inner__episodes=4, **extra), ROOM)
    plainly = build(configured(kind, inner__episodes=4, **extra, **settings), ROOM)
    for ours, theirs in zip(train(by_phases, 4), train(plainly, 4), strict=True):
        assert_same(ours, theirs)


def test_the_level_that_does_not_move_stays() -> None:
    method = curriculum("0-2(moves=policies), 2-4(moves=outer), 4-6", inner__steps=2)
    states, history = train(build(method), 6)
    moved = [
        {name for name in ("theta", "phi") if not torch.equal(before[name], after[name])}
        for before, after in itertools.pairwise(states)
    ]
    assert moved == [{"theta"}] * 2 + [{"phi"}] * 2 + [{"theta", "phi"}] * 2
    for before, after in ((history[1], history[2]), (history[2], history[3])):
        assert torch.equal(before["welfare"], after["welfare"])  # of the policies that stayed


def test_an_outer_step_alone_is_that_of_both_with_the_policies_put_back() -> None:
    both, outer = (
        build(ToS().with_settings({"inner.steps": 2})),
        build(curriculum("0-1(moves=outer)", inner__steps=2)),
    )
    state = both.init(0)
    expected, _ = both.update(state)
    found, _ = outer.update(state)
    assert torch.equal(found["phi"], expected["phi"])
    assert torch.equal(found["theta"], state["theta"])
    assert_same(found["outer_opt_state"], expected["outer_opt_state"])


def test_a_schedule_in_a_phase_counts_from_its_beginning_and_then_gives_way() -> None:
    method = curriculum(
        "0-3, 3-6(inner.learning_rate='0:1, 2:3'), 6-8(policies=new, moves=policies)",
        inner__learning_rate="0:10, 4:50",
    )
    schedule = build(method).schedule
    assert [schedule.value("inner.learning_rate", step) for step in range(8)] == [10, 20, 30, 1, 2, 3, 10, 20]


@pytest.mark.parametrize("steps", [1, 3])
def test_a_scheduled_rate_of_the_policies_has_its_closed_form(steps: int) -> None:
    """Nothing but the bonus moves the log-odds l: each step adds -rate * l p (1 - p), the rate its own."""
    game = games.matrix.NormalForm(table=(((1, 1), (1, 1)), ((1, 1), (1, 1))))
    method = Selfish().with_settings(
        {"inner.steps": steps, "inner.learning_rate": "0:0.5, 2:0.1, 2:2", "inner.entropy_coef": 1.0}
    )
    states, _ = train(build_policies(method, game), 4)
    logit = states[0]["theta"]
    for step, rate in enumerate((0.5, 0.3, 2.0, 2.0)):
        for _ in range(steps):
            p = logit.sigmoid()
            logit = logit - rate * logit * p * (1 - p)
        torch.testing.assert_close(states[step + 1]["theta"], logit, rtol=0, atol=1e-12)


def build_policies(method: Any, game: Game) -> PolicyLearner:
    learner = method.build(game, Placement(seeds=3))
    assert isinstance(learner, PolicyLearner)
    return learner


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw", "rmsprop"])
def test_a_rate_that_changes_is_the_constant_one_in_each_step(optimizer: Any) -> None:
    settings = {"inner.optimizer": optimizer, "inner.steps": 2}
    changing = build(configured(ToS, **{"inner.learning_rate": "0:0.1, 2:0.3", **settings}))
    states, _ = train(changing, 3)
    for step, rate in enumerate((0.1, 0.2, 0.3)):
        constant, _ = build(configured(ToS, **{"inner.learning_rate": rate, **settings})).update(states[step])
        assert_same(states[step + 1], constant)


@pytest.mark.parametrize("hypergradient", ["unrolled", "forward", "truncated(steps=3)"])
def test_the_hypergradient_sees_the_values_of_its_outer_step(hypergradient: str) -> None:
    """Against central differences, and against a learner to which these values are constants."""
    changing = {"cost_weight": "0:0, 2:0.4", "inner.learning_rate": "0:0.5, 2:1.5"}
    method = configured(ToS, **{"inner.steps": 3, "outer.hypergradient": hypergradient, **changing})  # type: ignore[arg-type]
    learner = build(method)
    state = train(learner, 1)[0][1]
    problem = learner.problem_at(state, torch.Generator())
    inputs = state["theta"], state["opt_state"], state["phi"]
    gradient = learner.hypergradient(problem, *inputs, steps=3).gradient
    constant = build(ToS(cost_weight=0.2).with_settings({"inner.steps": 3, "inner.learning_rate": 1.0}))
    expected = constant.hypergradient(
        constant.problem_at(state, torch.Generator()), *inputs, steps=3
    ).gradient
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)
    assert check_hypergradient(problem, *inputs, steps=3, estimator=learner.hypergradient).error < 1e-6


def test_costs_and_their_rates_change_on_the_way() -> None:
    """LIO's three forms of a cost that comes in later: until then it is as if it were not there."""
    for cost, name in (("objective", "cost.weight"), ("separate", "cost.learning_rate")):
        settings: dict[str, Any] = {"inner.episodes": 4, "cost": cost}
        later = build(configured(LIO, **{**settings, name: "0:0, 2:0, 2:0.5"}), ROOM)
        free = build(configured(LIO, **{**settings, name: 0.0}), ROOM)
        ours, theirs = train(later, 3)[0], train(free, 3)[0]
        assert torch.equal(ours[2]["phi"], theirs[2]["phi"])
        assert not torch.equal(ours[3]["phi"], theirs[3]["phi"])
        assert torch.equal(ours[3]["theta"], theirs[3]["theta"])


def test_a_share_that_moves() -> None:
    learner = (
        Fixed()
        .with_settings({"self_interest": "0:0.9, 2:0.9, 2:0.5, 4:0.3"})
        .build(REPEATED, Placement(seeds=2))
    )
    state, kept = learner.init(0), []
    for _ in range(6):
        state, metrics = learner.update(state)
        kept.append(float(metrics["share_0_0"][0]))
    assert kept == pytest.approx([0.9, 0.9, 0.5, 0.4, 0.3, 0.3])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_what_was_saved_in_any_phase_goes_on_to_the_same_bits(kind: type[OuterMethod], at: int) -> None:
    phases = (
        "0-2(moves=policies, inner.entropy_coef=0.3), 2-4(rounds=1, inner.learning_rate='0:0.3, 2:0.1'), "
        f"4-6(policies=new, inner.steps=2, cost{'.' if kind is LIO else '_'}weight='0:0, 2:0.5', "
        "outer.learning_rate=0.01)"
    )
    settings = {"inner.episodes": 4, "inner.optimizer": "adam"} | (
        {"cost": "objective"} if kind is LIO else {}
    )
    states, _ = train(build(curriculum(phases, kind, **settings), ROOM), 6)
    state = pickle.loads(pickle.dumps(states[at]))
    for _ in range(6 - at):
        state, _ = build(curriculum(phases, kind, **settings), ROOM).update(state)
    assert_same(state, states[6])


def test_how_many_steps_a_run_looks_through() -> None:
    method = curriculum("0-10(moves=policies), 10-14(inner.steps=5), 14-20(moves=outer)", inner__steps=2)
    assert method.schedule.inner_steps_of(20) == 4 * 5 + 6 * 2
    assert ToS().with_settings({"inner.steps": 3}).schedule.inner_steps_of(20) == 60
