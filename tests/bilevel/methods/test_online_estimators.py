"""Stateful estimators in a learner: their state is a part of its state."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import games
from bilevel.core import leaves, paths
from bilevel.experiments import RunConfig, RunFolder, RunInterrupted, create_run, default_config, train
from bilevel.hypergradient import BilevelProblem, Estimate, FixedData, Truncated, Unrolled
from bilevel.hypergradient._persistent_evolution import Particles
from bilevel.hypergradient._truncated import StepWindow
from bilevel.methods import OuterLearner, Placement, State, StepInputs, ToS
from games.core import Game
from tests.bilevel.methods.configured import configured

EXACT, SAMPLED = games.make("repeated-prisoners-dilemma"), games.make("escape-room")
WINDOW, PARTICLES = "truncated(steps=5, window=True)", "persistent-evolution(samples=8)"
CASES: dict[str, tuple[Game, str]] = {
    "window, exact": (EXACT, WINDOW),
    "window, sampled": (SAMPLED, WINDOW),
    "particles": (EXACT, PARTICLES),
}
every_case = pytest.mark.parametrize(("game", "text"), CASES.values(), ids=CASES)


def build(game: Game, text: str, seeds: int = 3, **settings: Any) -> OuterLearner:
    small = {"inner.steps": 2, "inner.episodes": 4, "inner.optimizer": "adam", "inner.learning_rate": 0.1}
    method = configured(ToS, **{"outer.hypergradient": text, **small, **settings})
    built = method.build(game, Placement(seeds=seeds))
    assert isinstance(built, OuterLearner)
    return built


def go_on(learner: OuterLearner, state: State, updates: int) -> State:
    for _ in range(updates):
        state, _ = learner.update(state)
    return state


def estimates_of(
    learner: OuterLearner, updates: int, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[Estimate, Any, Any]]:
    """The estimate of each outer step, and the estimator's state before and after it."""
    seen: list[tuple[Estimate, Any, Any]] = []
    kind, original = type(learner.hypergradient), type(learner.hypergradient).estimate

    def spy(self: Any, *start: Any, steps: int) -> tuple[Estimate, Any]:
        found, after = original(self, *start, steps=steps)
        seen.append((found, start[-1], after))
        return found, after

    monkeypatch.setattr(kind, "estimate", spy)
    go_on(learner, learner.init(0), updates)
    return seen


def assert_same_bits(left: object, right: object) -> None:
    assert paths(left) == paths(right)
    for one, other in zip(leaves(left), leaves(right), strict=True):
        assert torch.equal(one, other)


@every_case
def test_the_estimators_state_is_a_part_of_the_state(game: Game, text: str) -> None:
    learner = build(game, text)
    first = learner.init(0)
    later = go_on(learner, first, 3)
    assert isinstance(later["estimator"], StepWindow | Particles)
    assert paths(later) == paths(first)
    for now, then in zip(leaves(later), leaves(first), strict=True):
        assert (now.shape, now.dtype, now.requires_grad) == (then.shape, then.dtype, False)
    turns = (
        later["estimator"].filled
        if isinstance(later["estimator"], StepWindow)
        else later["estimator"].outer_steps
    )
    assert int(turns) == 3  # a window of 5 reaches 3 steps back from one of 2


@pytest.mark.parametrize("text", ["unrolled", "truncated(steps=5)", "evolution(samples=8)"])
def test_others_have_none(text: str) -> None:
    learner = build(EXACT, text)
    assert go_on(learner, learner.init(0), 1)["estimator"] is None


@every_case
def test_the_first_state_takes_nothing_from_the_stream_of_draws(game: Game, text: str) -> None:
    state, plain = build(game, text).init(0), build(game, "unrolled").init(0)
    assert_same_bits({**state, "estimator": None}, plain)


@every_case
def test_each_outer_step_is_handed_what_the_one_before_gave(
    game: Game, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = estimates_of(build(game, text), 3, monkeypatch)
    for (_, _, after), (_, before, _) in itertools.pairwise(seen):
        assert_same_bits(before, after)


def test_a_window_over_everything_is_the_whole_unroll_while_sharing_stands_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    still = {"outer.optimizer": "sgd", "outer.learning_rate": 1e-300, "inner.steps": 2}
    learner = build(EXACT, "truncated(steps=6, window=True)", **still)
    state = learner.init(0)
    last, *_ = estimates_of(learner, 3, monkeypatch)[-1]
    problem = learner.problem(torch.Generator(), StepInputs((), torch.zeros((), dtype=torch.float64)))
    start = state["theta"], state["opt_state"], state["phi"]
    torch.testing.assert_close(
        last.gradient, Unrolled()(problem, *start, steps=6).gradient, rtol=1e-11, atol=1e-13
    )
    short = Truncated(steps=2)(problem, *start, steps=6).gradient
    assert float((last.gradient - short).norm() / short.norm()) > 0.1


def test_a_window_that_slides_makes_learning_less_greedy() -> None:
    """One inner step each: the window sees what sharing did to the steps before, so the two part."""
    greedy, sighted = (build(EXACT, text, inner__steps=1) for text in ("unrolled", WINDOW))
    first, other = (go_on(learner, learner.init(0), 1)["phi"] for learner in (greedy, sighted))
    assert torch.equal(first, other)  # the window is empty
    first, other = (go_on(learner, learner.init(0), 10)["phi"] for learner in (greedy, sighted))
    assert float((first - other).abs().max()) > 1e-3


@every_case
def test_saved_and_resumed_to_the_same_bits(game: Game, text: str) -> None:
    learner = build(game, text)
    state = go_on(learner, learner.init(0), 2)
    torch.manual_seed(1)
    whole = go_on(learner, state, 2)
    torch.manual_seed(2)  # the global stream has no part in it
    assert_same_bits(go_on(build(game, text), pickle.loads(pickle.dumps(state)), 2), whole)


STEPS = 4


@pytest.mark.parametrize(
    ("game", "text"), [("chicken", WINDOW), ("escape-room", WINDOW), ("repeated-chicken", PARTICLES)]
)
def test_a_run_that_is_stopped_at_every_step_has_the_same_bytes(game: str, text: str, tmp_path: Path) -> None:
    config = default_config(game, "tos")
    method = config.method.with_settings({"outer.hypergradient": text, "inner.steps": 2, "inner.episodes": 4})
    config = dataclasses.replace(
        config, method=method, seeds=2, outer_steps=STEPS, checkpoint_every=1, evaluation_episodes=4
    )
    whole, parts = folders(config, tmp_path)
    train(whole)
    for _ in range(STEPS):
        with pytest.raises(RunInterrupted):
            train(parts, listener=lambda *_: signal.raise_signal(signal.SIGINT))
    train(parts)
    for name in ("metrics", "evaluation"):
        assert getattr(parts, name).read_bytes() == getattr(whole, name).read_bytes()


def folders(config: RunConfig, path: Path) -> list[RunFolder]:
    return [create_run(config, path / name) for name in ("whole", "parts")]


def test_a_seed_with_a_window_does_not_depend_on_how_many_there_are() -> None:
    few, many = (build(EXACT, WINDOW, seeds=seeds) for seeds in (2, 5))
    left, right = (go_on(learner, learner.init(0), 4) for learner in (few, many))
    torch.testing.assert_close(left["phi"], right["phi"][:2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("text", [WINDOW, PARTICLES])
def test_reset_needs_a_stateless_estimator(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"With reset each-outer-step no state is carried .* leave reset at never"
    ):
        ToS().with_settings({"outer.hypergradient": text, "outer.reset": "each-outer-step"})
    ToS().with_settings({"outer.hypergradient": "truncated(steps=5)", "outer.reset": "each-outer-step"})


def test_exact_play_has_data_that_never_change() -> None:
    generator, bonus = torch.Generator(), torch.tensor(0.5, dtype=torch.float64)
    exact, sampled = (
        build(game, "unrolled").problem(generator, StepInputs((), bonus)) for game in (EXACT, SAMPLED)
    )
    inner, outer = exact.inner_data, exact.outer_data
    assert isinstance(inner, FixedData)
    assert isinstance(outer, FixedData)
    assert inner.data.batch == outer.data.batch == ()
    assert inner.data.entropy_coef is bonus
    assert isinstance(sampled, BilevelProblem)
    assert not isinstance(sampled.inner_data, FixedData)
    assert not isinstance(sampled.outer_data, FixedData)
