"""Settings of the outer loop: every estimator learns through `tos`, or says in one sentence why it cannot."""

from __future__ import annotations

import dataclasses
import pickle
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import games
from bilevel.core import leaves
from bilevel.hypergradient import (
    ESTIMATORS,
    Estimator,
    Evolution,
    Forward,
    Implicit,
    OneStep,
    PersistentEvolution,
    Truncated,
    Unrolled,
    register_hypergradient,
)
from bilevel.methods import (
    OuterLearner,
    OuterLoop,
    OuterMethod,
    Placement,
    StepInputs,
    ToS,
    fit_hypergradient,
)
from tests.bilevel.methods.configured import configured

REPEATED = games.make("repeated-prisoners-dilemma")
STEPS = 3
BY_VALUES = ("evolution", "persistent-evolution")
SETTINGS: dict[str, str] = {"truncated": "(steps=2)", **dict.fromkeys(BY_VALUES, "(samples=8)")}
TEXTS = [name + SETTINGS.get(name, "") for name in ESTIMATORS]


@dataclass(frozen=True)
class Half(Estimator):
    """An estimator of one's own: half of the right gradient."""

    scale: float = 0.5

    def estimate(
        self, problem: Any, theta: Any, opt_state: Any, phi: Any, state: Any = None, *, steps: int
    ) -> Any:
        estimate = Unrolled()(problem, theta, opt_state, phi, steps=steps)
        return dataclasses.replace(estimate, gradient=self.scale * estimate.gradient), None


def learner(hypergradient: Any, seeds: int = 3, game: Any = REPEATED, **settings: Any) -> OuterLearner:
    small = {"inner.steps": STEPS, "inner.episodes": 4, "inner.learning_rate": 0.5}
    method = configured(ToS, **{"outer.hypergradient": hypergradient, **small, **settings})
    built = method.build(game, Placement(seeds=seeds))
    assert isinstance(built, OuterLearner)
    return built


def gradient(built: OuterLearner) -> torch.Tensor:
    """The hypergradient of the first outer step."""
    state = built.init(0)
    generator, bonus = torch.Generator().manual_seed(0), torch.zeros((), dtype=torch.float64)
    problem = built.problem(generator, StepInputs((), bonus))
    estimate = built.hypergradient(
        problem, state["theta"], state["opt_state"], state["phi"], steps=built.method.inner.steps
    )
    found: torch.Tensor = estimate.gradient
    return found


@pytest.mark.parametrize("text", [text for text in TEXTS if text != "implicit"])
@pytest.mark.parametrize("objective", ["welfare", "own-return"])
def test_exact_values_with_every_estimator(text: str, objective: str) -> None:
    built = learner(text, objective=objective)
    state = built.init(0)
    for _ in range(2):
        state, metrics = built.update(state)
    assert metrics["welfare"].isfinite().all()
    assert not torch.equal(state["phi"], built.init(0)["phi"])


@pytest.mark.parametrize(
    "text", [text for text in TEXTS if text.split("(")[0] not in ("implicit", *BY_VALUES)]
)
@pytest.mark.parametrize("game", [games.make("prisoners-dilemma"), games.make("escape-room")])
def test_sampled_episodes_with_every_estimator(text: str, game: Any) -> None:
    built = learner(text, game=game, inner__exact=False, inner__episodes=16, inner__learning_rate=0.1)
    state, _ = built.update(built.init(0))
    state, metrics = built.update(state)
    assert metrics["welfare"].isfinite().all()
    assert not torch.equal(state["phi"], built.init(0)["phi"])


def test_what_should_agree_does() -> None:
    expected = gradient(learner("unrolled", inner__optimizer="adam"))
    for text, tolerance in (("forward", 1e-12), ("truncated(steps=3)", 1e-12), ("truncated(steps=9)", 1e-12)):
        found = gradient(learner(text, inner__optimizer="adam"))
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    last = gradient(learner("one-step"))
    torch.testing.assert_close(gradient(learner("truncated(steps=1)")), last, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(gradient(learner("finite-difference")), last, rtol=1e-6, atol=1e-9)
    assert not torch.allclose(last, gradient(learner("unrolled")), rtol=1e-2)


def test_evolution_agrees_up_to_its_noise() -> None:
    expected = gradient(learner("unrolled"))
    found = gradient(learner("evolution(samples=4000)"))
    assert float((found - expected).norm() / expected.norm()) < 0.15


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_implicit_where_learning_comes_to_rest(optimizer: str) -> None:
    """A strong entropy bonus gives the policies a fixed point; holding Adam's state is exact there."""
    settings = {
        "inner.steps": 300,
        "inner.optimizer": optimizer,
        "inner.learning_rate": 0.1 if optimizer == "adam" else 0.6,
    }
    game = games.make("prisoners-dilemma")
    built, unrolled = (learner(text, 2, game, **settings) for text in ("implicit", "unrolled"))
    found, expected = (gradient_with_bonus(one) for one in (built, unrolled))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8)


def gradient_with_bonus(built: OuterLearner) -> torch.Tensor:
    state = built.init(0)
    problem = built.problem(torch.Generator(), StepInputs((), torch.tensor(1.0, dtype=torch.float64)))
    start = state["theta"], state["opt_state"], state["phi"]
    found: torch.Tensor = built.hypergradient(problem, *start, steps=built.method.inner.steps).gradient
    return found


def test_implicit_where_it_does_not_is_refused() -> None:
    built = learner("implicit")
    with pytest.raises(ValueError, match="Implicit needs the step's fixed point, but theta is about"):
        built.update(built.init(0))


@pytest.mark.parametrize(
    ("hypergradient", "sentence"),
    [
        ("implicit", "on sampled episodes it never does: use exact values"),
        (Implicit(solver="cg"), "on sampled episodes it never does: use exact values"),
        (
            "evolution(samples=8)",
            r"let every sample draw its own, evolution\(members=True, fresh_data=True\)",
        ),
        (Evolution(members=True), "let every sample draw its own"),
        (
            "persistent-evolution",
            r"use exact values, or evolution\(members=True, fresh_data=True\)",
        ),
        (
            "implicit(max_distance=inf)",
            "which the surrogate reinforce biases: use dice or loaded-dice, or exact values",
        ),
    ],
)
def test_what_sampled_episodes_cannot_give_is_refused_when_built(hypergradient: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        learner(hypergradient, game=games.make("escape-room"))
    learner(hypergradient)  # exact values are fine


def test_evolution_with_episodes_of_its_own() -> None:
    built = learner("evolution(samples=8, members=True, fresh_data=True)", inner__exact=False)
    state, metrics = built.update(built.init(0))
    assert metrics["welfare"].shape == (3,)
    assert (state["phi"] != built.init(0)["phi"]).flatten(1).any(-1).all()


@pytest.mark.parametrize("surrogate", ["dice", "loaded-dice"])
def test_implicit_regardless_of_rest(surrogate: str) -> None:
    built = learner(
        Implicit(max_distance=float("inf")),
        inner__exact=False,
        inner__surrogate=surrogate,
        inner__episodes=16,
    )
    assert gradient(built).isfinite().all()


def test_seeds_are_members() -> None:
    exact, sampled = (ToS().with_settings({"inner.exact": exact}).play(REPEATED) for exact in (True, False))
    assert fit_hypergradient("implicit", exact) == Implicit(batch_dims=1)
    assert fit_hypergradient(Evolution(samples=2), exact) == Evolution(samples=2, members=True)
    assert fit_hypergradient("persistent-evolution", exact) == PersistentEvolution(members=True)
    for estimator in (Unrolled(), OneStep(), Truncated(steps=2), Half()):
        assert fit_hypergradient(estimator, sampled) is estimator
    many = gradient(learner("forward", seeds=40))  # 160 logits, of which one seed has 4: no more than 100
    torch.testing.assert_close(many, gradient(learner("unrolled", seeds=40)), rtol=1e-12, atol=1e-14)
    with pytest.raises(ValueError, match="Forward carries one tangent for each entry of phi, and 4"):
        gradient(learner("forward(max_entries=3)"))


def test_one_form_for_each_estimator() -> None:
    same = ["truncated(steps=5)", " truncated( steps=5 )", Truncated(steps=5)]
    assert len({ToS().with_settings({"outer.hypergradient": one}) for one in same}) == 1
    method = ToS().with_settings({"outer.hypergradient": Forward(batch_dims=1)})
    assert method.outer.hypergradient == Forward(batch_dims=1)
    assert pickle.loads(pickle.dumps(method)) == method
    assert (
        ToS().with_settings({"outer.hypergradient": Unrolled()})
        == ToS()
        == ToS().with_settings({"outer.hypergradient": "unrolled()"})
    )


def test_an_object_without_a_name_learns_too() -> None:
    built = learner(Half())
    assert built.method == built.method.with_settings({"outer.hypergradient": Half(0.5)})
    torch.testing.assert_close(gradient(built), 0.5 * gradient(learner("unrolled")), rtol=1e-14, atol=0)
    register_hypergradient("half", Half)
    assert ToS().with_settings({"outer.hypergradient": "half(scale=0.25)"}).outer.hypergradient == Half(0.25)
    torch.testing.assert_close(
        gradient(learner("half(scale=0.25)")), 0.5 * gradient(built), rtol=1e-14, atol=0
    )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"outer.hypergradient": "trunc"}, "no hypergradient 'trunc'. Did you mean 'truncated'"),
        ({"outer.hypergradient": "truncated"}, "'truncated' needs the setting 'steps'"),
        ({"outer.hypergradient": "truncated(steps=0)"}, "Truncated needs steps of at least 1, not 0"),
        ({"outer.hypergradient": "truncated(5)"}, "Settings of a hypergradient have names"),
        ({"outer.hypergradient": 3}, "must be an estimator, such as Truncated.*, not 3"),
        ({"outer.hypergradient": None}, "must be an estimator, .*, not None"),
        ({"outer.hypergradient": Unrolled}, "must be an estimator, .*, not <class"),
        ({"outer.reset": "always"}, "no outer.reset 'always'.* Known: never, each-outer-step"),
        ({"outer.optimizer": "sdg"}, "no outer.optimizer 'sdg'. Did you mean 'sgd'"),
        ({"outer.learning_rate": 0.0}, "outer.learning_rate must be a finite number above 0, not 0"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        configured(ToS, **settings)


def test_nothing_but_the_estimator_changed_in_the_default() -> None:
    assert issubclass(ToS, OuterMethod)
    default = ToS()
    assert default.outer == OuterLoop(optimizer="adam", learning_rate=0.1, reset="never")
    assert default.outer.hypergradient == Unrolled()
    assert learner("unrolled").hypergradient == Unrolled()
    assert all(leaf.shape for leaf in leaves(learner("unrolled").init(0)["theta"]))
