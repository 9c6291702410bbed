"""`reset`: policies that start anew in each outer step, from fresh draws that a saved state repeats."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch

import games
from bilevel.agents import initial_parameters
from bilevel.core import leaves
from bilevel.methods import OuterLearner, Placement, ToS
from games.core import Game
from tests.bilevel.methods.configured import configured

GAMES: dict[str, Game] = {
    "exact": games.make("repeated-prisoners-dilemma"),
    "sampled": games.make("escape-room"),
}
every_game = pytest.mark.parametrize("game", GAMES.values(), ids=GAMES.keys())


def build(game: Game, seeds: int = 3, **settings: Any) -> OuterLearner:
    small = {
        "outer.reset": "each-outer-step",
        "inner.steps": 2,
        "inner.episodes": 4,
        "inner.optimizer": "adam",
    }
    built = configured(ToS, **{**small, **settings}).build(game, Placement(seeds=seeds))
    assert isinstance(built, OuterLearner)
    return built


def starts(learner: OuterLearner, updates: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """The (theta, opt_state) at which the inner steps of each update began."""
    seen: list[tuple[Any, Any]] = []
    kind = type(learner.hypergradient)
    estimate = kind.estimate

    def spy(self: Any, problem: Any, theta: Any, opt_state: Any, *rest: Any, **settings: Any) -> Any:
        seen.append((theta, opt_state))
        return estimate(self, problem, theta, opt_state, *rest, **settings)

    monkeypatch.setattr(kind, "estimate", spy)
    state = learner.init(0)
    for _ in range(updates):
        state, _ = learner.update(state)
    return seen


def assert_same_bits(left: object, right: object) -> None:
    for one, other in zip(leaves(left), leaves(right), strict=True):
        assert torch.equal(one, other)


@every_game
def test_every_outer_step_starts_from_new_policies_and_a_new_optimizer(
    game: Game, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = build(game)
    seen = starts(learner, 3, monkeypatch)
    thetas = [theta for theta, _ in seen]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert not (thetas[one] == thetas[other]).all(-1).any()
    for theta, opt_state in seen:
        assert_same_bits(opt_state, learner.optimizer.init(theta))


@every_game
def test_never_goes_on_from_where_it_was(game: Game, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = build(game, outer__reset="never")
    state = learner.init(0)
    after, _ = learner.update(state)
    seen = starts(learner, 2, monkeypatch)
    assert_same_bits(seen[0], (state["theta"], state["opt_state"]))
    assert_same_bits(seen[1], (after["theta"], after["opt_state"]))


def test_new_policies_are_distributed_as_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Means and standard deviations of every parameter of a network over 2000 seeds, at 5 standard errors."""
    learner = build(
        GAMES["sampled"],
        seeds=2000,
        policy="mlp",
        policy__hidden_size=(2,),
        inner__steps=1,
        inner__episodes=2,
    )
    _, (new, _) = starts(learner, 2, monkeypatch)
    first = learner.init(0)["theta"]
    assert not torch.equal(new, first)
    spread = first.std(0)
    assert ((new.mean(0) - first.mean(0)).abs() <= 5 * spread * (2 / 2000) ** 0.5).all()
    assert ((new.std(0) - spread).abs() <= 5 * spread / 2000**0.5).all()


def test_new_policies_follow_from_the_random_seed_and_the_outer_step(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = build(GAMES["exact"], seeds=4)
    for step, (theta, _) in enumerate(starts(learner, 2, monkeypatch)):
        expected = initial_parameters(learner.play.policy, seed=0, seeds=4, agents=2, outer_step=step)
        assert torch.equal(theta, expected)


@every_game
def test_saved_and_resumed_to_the_same_bits(game: Game) -> None:
    learner = build(game)
    state, _ = learner.update(learner.init(0))
    torch.manual_seed(1)
    whole = learner.update(learner.update(state)[0])
    torch.manual_seed(2)  # the global stream has no part in it
    again = build(game).update(pickle.loads(pickle.dumps(state)))[0]
    assert_same_bits(whole, build(game).update(pickle.loads(pickle.dumps(again))))


def test_the_first_seeds_do_not_depend_on_how_many_there_are() -> None:
    few, many = (build(GAMES["exact"], seeds=seeds) for seeds in (4, 8))
    left, right = few.init(0), many.init(0)
    for _ in range(3):
        (left, metrics), (right, more) = few.update(left), many.update(right)
        torch.testing.assert_close(metrics["welfare"], more["welfare"][:4], rtol=0, atol=1e-12)
    torch.testing.assert_close(left["phi"], right["phi"][:4], rtol=0, atol=1e-12)


def test_metrics_are_of_the_policies_that_the_inner_steps_made() -> None:
    learner = build(GAMES["exact"])
    state = learner.init(0)
    after, metrics = learner.update(state)
    values = learner.play.values(after["theta"], ())
    torch.testing.assert_close(metrics["welfare"], values.sum(-1), rtol=0, atol=1e-14)
    shares = learner.transfer(state["phi"]).matrix  # those under which they learned, not the next
    torch.testing.assert_close(metrics["share_0_1"], shares[:, 0, 1], rtol=0, atol=0)
    measured = learner.evaluate(after, episodes=2)
    torch.testing.assert_close(measured["welfare"], metrics["welfare"], rtol=0, atol=1e-14)


def test_policies_do_not_add_up_over_outer_steps() -> None:
    """One small step each: online the policies drift away, anew they stay about where they are drawn."""
    moved = {}
    for reset in ("never", "each-outer-step"):
        learner = build(
            GAMES["exact"], seeds=50, outer__reset=reset, inner__steps=1, inner__learning_rate=0.4
        )
        state = learner.init(0)
        for _ in range(30):
            state, _ = learner.update(state)
        moved[reset] = float(state["theta"].mean())
    assert moved["never"] > 3  # everybody learned to cooperate
    assert abs(moved["each-outer-step"]) < 0.5


@pytest.mark.parametrize("text", ["truncated(steps=1)", "forward", "evolution(samples=4)"])
def test_with_other_estimators(text: str) -> None:
    learner = build(GAMES["exact"], outer__hypergradient=text)
    state, metrics = learner.update(learner.init(0))
    assert metrics["welfare"].isfinite().all()
    assert not torch.equal(state["phi"], learner.init(0)["phi"])
