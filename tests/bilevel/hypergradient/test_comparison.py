"""Every column of a comparison against what it must be, where that is known in closed form."""

import dataclasses
import pickle
from dataclasses import dataclass

import pytest
import torch

from bilevel.core import inner_step
from bilevel.hypergradient import (
    COLUMNS,
    ESTIMATORS,
    REFERENCES,
    BilevelProblem,
    Estimator,
    Evolution,
    Implicit,
    OneStep,
    Truncated,
    Unrolled,
    compare_hypergradients,
)
from bilevel.optimizers import sgd

DOUBLE = torch.float64


def quadratic(**more):
    """Each step halves the distance to phi: d theta_K / d phi = 1 - 2^-K."""
    inner = sgd(0.25)
    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: (theta - phi) ** 2, inner),
        **{"outer_loss": lambda theta, phi, data: theta.sum(), **more},
    )
    theta = torch.zeros(3, dtype=DOUBLE)
    return problem, theta, inner.init(theta), torch.ones(3, dtype=DOUBLE)


def noisy(generator):
    """The same, where the outer loss is multiplied by a draw."""
    return quadratic(
        outer_loss=lambda theta, phi, data: (data * theta).sum(),
        outer_data=lambda theta, phi: 1 + torch.rand((), generator=generator, dtype=DOUBLE),
    )


@dataclass(frozen=True)
class Scaled(Estimator):
    """An estimator that is off by a factor."""

    factor: float
    inner: object = Unrolled()
    seed: int = 0

    def estimate(self, problem, theta, opt_state, phi, state=None, *, steps):
        inner = dataclasses.replace(self.inner, seed=self.seed) if hasattr(self.inner, "seed") else self.inner
        estimate = inner(problem, theta, opt_state, phi, steps=steps)
        return dataclasses.replace(estimate, gradient=self.factor * estimate.gradient), None


@dataclass(frozen=True)
class Fails(Estimator):
    """An estimator that stops with an error."""

    error: Exception

    def estimate(self, problem, theta, opt_state, phi, state=None, *, steps):
        raise self.error


@pytest.mark.parametrize("steps", [1, 4])
def test_errors_of_the_quadratic(steps):
    comparison = compare_hypergradients(
        *quadratic(), steps=steps, estimators=["unrolled", Truncated(steps=2), "one-step", Scaled(-1.0)]
    )
    assert [row.estimator for row in comparison.measured] == [
        "unrolled",
        "truncated(steps=2)",
        "one-step",
        "Scaled(factor=-1.0, inner=Unrolled(), seed=0)",
    ]
    truth = 1 - 0.5**steps
    expected = [0, 1 - (1 - 0.5 ** min(2, steps)) / truth, 1 - 0.5 / truth, 2]
    for row, error, cosine in zip(comparison.measured, expected, [1, 1, 1, -1], strict=True):
        assert row.check.relative_error == pytest.approx(error, abs=1e-9)
        assert row.check.cosine == pytest.approx(cosine, abs=1e-12)
        assert row.relative_variance == 0
        assert row.inside_interval is None
        assert row.seconds > 0
    assert comparison.reference == "finite-differences"
    assert not comparison.refused


def test_all_there_are_and_the_cost_of_each():
    first, second = (compare_hypergradients(*quadratic(), steps=steps, resamples=2) for steps in (9, 18))
    names = [name if name != "truncated" else "truncated(steps=3)" for name in ESTIMATORS]
    assert [row.estimator for row in first.rows] == names
    assert second.rows[1].estimator == "truncated(steps=5)"  # the square root, rounded up
    calls = {
        row.estimator.partition("(")[0]: (row.step_calls, again.step_calls)
        for row, again in zip(first.rows, second.rows, strict=True)
        if row in first.measured and again in second.measured
    }
    slopes = {name: (more - few) / 9 for name, (few, more) in calls.items()}
    assert slopes["unrolled"] == 1  # the graph of K steps is kept
    assert slopes["one-step"] == slopes["finite-difference"] == slopes["evolution"] - 1 == 1
    assert slopes["truncated"] == 1
    peaks = {row.estimator.partition("(")[0]: row.peak_bytes for row in second.measured}
    assert peaks["evolution"] > peaks["unrolled"] > peaks["one-step"] > 0


def test_the_same_draws_for_every_estimator_and_their_variance():
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    comparison = compare_hypergradients(
        *noisy(generator), steps=3, estimators=["unrolled", "one-step", "forward"], generator=generator
    )
    assert torch.equal(generator.get_state(), before)
    draws = []
    for seed in torch.randint(2**62, (8,), generator=generator).tolist():
        other = torch.Generator().manual_seed(seed)
        draws.append(1 + torch.rand((), generator=other, dtype=DOUBLE))
    expected = float(torch.stack(draws).var() / torch.stack(draws).mean() ** 2)
    for row in comparison.measured:
        assert row.relative_variance == pytest.approx(expected, rel=1e-10)
    assert comparison.measured[0].check.relative_error < 1e-9
    assert comparison.measured[1].check.relative_error == pytest.approx(1 - 0.5 / 0.875, abs=1e-9)


def test_without_the_generator_each_estimator_has_draws_of_its_own():
    generator = torch.Generator().manual_seed(3)
    comparison = compare_hypergradients(*noisy(generator), steps=3, estimators=["unrolled", "forward"])
    first, second = comparison.measured
    assert 0 < first.relative_variance != second.relative_variance > 0
    assert max(first.check.relative_error, second.check.relative_error) < 1e-9  # each on its own data


def linear(entries):
    inner = sgd(0.25)
    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: (theta - phi) ** 2, inner),
        outer_loss=lambda theta, phi, data: (torch.arange(1, entries + 1, dtype=DOUBLE) * theta).sum(),
    )
    theta = torch.zeros(entries, dtype=DOUBLE)
    return problem, theta, inner.init(theta), torch.ones(entries, dtype=DOUBLE)


def test_evolution_draws_anew_and_knows_its_interval():
    """Of a linear objective: no bias, and a relative variance of 2 (P + 1) / samples (derived)."""
    comparison = compare_hypergradients(
        *linear(30), steps=2, resamples=60, estimators=[Evolution(samples=40), Scaled(2, Evolution())]
    )
    honest, doubled = comparison.measured
    assert honest.relative_variance == pytest.approx(2 * 31 / 40, rel=0.25)
    assert honest.inside_interval is not None
    assert honest.inside_interval >= 0.8
    assert honest.inside_interval * 30 == pytest.approx(round(honest.inside_interval * 30))
    assert doubled.inside_interval < honest.inside_interval


def test_a_reference_that_is_given_is_compared_with_the_mean():
    generator = torch.Generator().manual_seed(0)
    exact = torch.full((3,), 1.5 * 0.875, dtype=DOUBLE)  # the draws' mean times d theta_3 / d phi
    problem, *start = noisy(generator)
    comparison = compare_hypergradients(
        problem,
        *start,
        steps=3,
        resamples=400,
        estimators=["unrolled", "one-step"],
        generator=generator,
        reference=exact,
    )
    unrolled, one_step = comparison.measured
    assert comparison.reference == "supplied"
    assert 1e-6 < unrolled.check.relative_error < 4 * (1 / 12 / 400) ** 0.5 / 1.5
    assert (unrolled.inside_interval, one_step.inside_interval) == (1, 0)
    assert one_step.check.relative_error == pytest.approx(1 - 0.5 / 0.875, abs=0.05)


def test_a_reference_of_another_form_is_refused():
    with pytest.raises(
        ValueError, match=r"must have the form of the gradient, with 3 entries, not shape \(2,\)"
    ):
        compare_hypergradients(*quadratic(), steps=2, reference=torch.ones(2))


def surrogate_loss(theta, phi, data):
    """Like DiCE: a value that stands still, and a slope that does not."""
    return ((theta - theta.detach()).exp() * data).sum()


def test_where_values_are_blind_unrolled_is_the_reference():
    comparison = compare_hypergradients(
        *quadratic(outer_loss=surrogate_loss, outer_data=lambda theta, phi: torch.tensor(2.0)), steps=3
    )
    assert comparison.reference == "unrolled"
    rows = {row.estimator.partition("(")[0]: row for row in comparison.measured}
    assert rows["unrolled"].check.relative_error == 0
    assert rows["one-step"].check.relative_error == pytest.approx(1 - 0.5 / 0.875, abs=1e-12)
    (refused,) = (row for row in comparison.refused if row.estimator.startswith("evolution"))
    assert "fresh_data=True" in refused.estimator


def test_blindness_is_seen_on_a_later_draw_if_the_first_has_no_slope():
    draws = iter([0.0] + [1.0] * 1000)
    problem = quadratic(outer_loss=surrogate_loss, outer_data=lambda theta, phi: torch.tensor(next(draws)))
    assert compare_hypergradients(*problem, steps=3, estimators=["unrolled"]).reference == "unrolled"


def test_one_that_does_not_apply_has_a_row_with_its_reason():
    comparison = compare_hypergradients(
        *quadratic(),
        steps=2,
        estimators=[
            "unrolled",
            Implicit(),
            Fails(RuntimeError("no batching rule\nand more")),
            Fails(ValueError("not me")),
        ],
    )
    assert [row.estimator for row in comparison.measured] == ["unrolled"]
    implicit, torch_stopped, refused = comparison.refused
    assert implicit.reason.startswith("Implicit needs the step's fixed point, but theta is about")
    assert torch_stopped.reason == "torch stopped it: no batching rule"
    assert refused.reason == "not me"
    assert "implicit does not apply: Implicit needs" in str(comparison)
    assert str(comparison).endswith(REFERENCES["finite-differences"])


def test_what_build_refuses_is_a_row_and_a_name_that_is_not_known_an_error():
    def build(estimator):
        raise ValueError("never here")

    comparison = compare_hypergradients(*quadratic(), steps=2, estimators=["unrolled"], build=build)
    assert comparison.refused[0].reason == "never here"
    with pytest.raises(ValueError, match="There is no hypergradient 'unroled'"):
        compare_hypergradients(*quadratic(), steps=2, estimators=["unroled"])


def test_a_mistake_in_the_problem_is_no_row():
    def broken(theta, phi, data):
        raise ValueError("my loss is wrong")

    with pytest.raises(ValueError, match="my loss is wrong"):
        compare_hypergradients(*quadratic(outer_loss=broken), steps=2)
    with pytest.raises(KeyError):
        compare_hypergradients(*quadratic(), steps=2, estimators=[Fails(KeyError("a bug"))])


def test_data_in_float32_that_do_not_follow_are_told_of():
    single = torch.ones(3, 3)
    problem, *_ = quadratic(outer_loss=lambda theta, phi, data: (single @ theta).sum())
    start = torch.zeros(3), sgd(0.25).init(torch.zeros(3)), torch.ones(3)
    with pytest.raises(ValueError, match=r"measured in float64.*x.to\(theta.dtype\)"):
        compare_hypergradients(problem, *start, steps=2)


def test_several_objectives_and_a_large_phi(sharing):
    inner = sgd(0.5)
    comparison = compare_hypergradients(
        sharing.problem(inner, per_agent_objective=True),
        sharing.theta,
        inner.init(sharing.theta),
        sharing.phi,
        steps=3,
        resamples=2,
        max_entries=17,
        estimators=["unrolled", "one-step", "evolution"],
    )
    unrolled, one_step, evolution = comparison.measured
    assert unrolled.check.estimated.shape == (2, 8)
    assert unrolled.check.passed
    assert one_step.check.relative_error > 0.01
    assert 0 <= evolution.inside_interval <= 1


def test_float32_is_kept_but_for_the_error():
    problem, *start = quadratic()
    start = [torch.zeros(3), start[1], torch.ones(3)]
    seen = set()

    def step(theta, opt_state, phi, data):
        seen.add(theta.dtype)
        return problem.step(theta, opt_state, phi, data)

    single = dataclasses.replace(problem, step=step)
    (row,) = compare_hypergradients(single, *start, steps=3, estimators=["one-step"]).measured
    assert seen == {torch.float32, torch.float64}
    assert row.check.relative_error == pytest.approx(1 - 0.5 / 0.875, abs=1e-9)


def test_a_comparison_tells_its_listener_and_can_be_pickled():
    told = []
    comparison = compare_hypergradients(
        *quadratic(), steps=2, estimators=[OneStep()], resamples=2, listener=told.append
    )
    assert told == ["one-step"]
    (record,) = pickle.loads(pickle.dumps(comparison)).records()
    assert tuple(record) == COLUMNS
    assert record["relative_error"] == pytest.approx(1 / 3, abs=1e-9)
    assert record["reason"] is None
    everything = compare_hypergradients(*quadratic(), steps=1, resamples=2)
    assert len(everything.rows) == len(ESTIMATORS)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"resamples": 1}, "resamples must be at least 2, not 1"),
        ({"estimators": []}, "estimators must name one at least"),
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"epsilon": 0.0}, "epsilon must be a number above 0"),
        ({"estimators": ["truncated"]}, "needs the setting 'steps'"),
    ],
)
def test_bad_settings(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        compare_hypergradients(*quadratic(), **{"steps": 2, **settings})
