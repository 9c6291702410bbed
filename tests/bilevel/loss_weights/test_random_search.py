"""Random search keeps the best of as many whole trainings as its budget allows."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bilevel.loss_weights import (
    FixedWeights,
    LossWeights,
    LossWeightTuner,
    Trainer,
    gradient_evaluations,
    random_search,
)
from bilevel.loss_weights._baselines import LOOK_AHEAD_COST
from tests.bilevel.loss_weights.loops import Regression, regression

RANGES = {"square": (0.01, 10.0), "large": (0.1, 0.1)}


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(budget=st.integers(1, 60), cost=st.integers(1, 60))
@settings(max_examples=50)
def test_the_budget_counts_whole_trainings(budget: int, cost: int) -> None:
    if budget < cost:
        with pytest.raises(ValueError, match="the budget must be enough for one"):
            random_search(lambda w: (0.0, None), RANGES, budget=budget, cost=cost, generator=draws())
        return
    parts: list[float] = []
    found = random_search(
        lambda w: (w["square"], dict(w)),
        RANGES,
        budget=budget,
        cost=cost,
        generator=draws(),
        progress=parts.append,
    )
    assert len(found.tried) == len(parts) == budget // cost
    assert parts[-1] == 1
    losses = [loss for _, loss in found.tried]
    assert found.validation_loss == min(losses)
    assert found.weights == found.trained == found.tried[losses.index(min(losses))][0]


def test_weights_are_log_uniform_in_their_ranges() -> None:
    found = random_search(lambda w: (1.0, None), RANGES, budget=2000, cost=1, generator=draws())
    logs = [math.log(weights["square"]) for weights, _ in found.tried]
    low, high = map(math.log, RANGES["square"])
    assert stats.kstest(logs, stats.uniform(low, high - low).cdf).pvalue > 0.01
    assert {round(weights["large"], 12) for weights, _ in found.tried} == {0.1}


def test_the_same_draws_find_the_same_and_others_do_not() -> None:
    one, again, other = (
        random_search(lambda w: (w["square"], None), RANGES, budget=3, cost=1, generator=draws(seed))
        for seed in (0, 0, 1)
    )
    assert one == again
    assert one.weights != other.weights


def test_trainings_that_diverge_are_lost_and_all_of_them_an_error() -> None:
    def train(weights: dict[str, float]) -> tuple[float, str]:
        if weights["square"] > 1:
            raise FloatingPointError
        return (math.nan, "nan") if weights["square"] > 0.1 else (5.0, "fine")

    found = random_search(train, RANGES, budget=50, cost=1, generator=draws())
    assert found.trained == "fine"
    assert found.validation_loss == 5.0
    assert {loss for _, loss in found.tried} == {5.0, math.inf}
    with pytest.raises(FloatingPointError, match="All 4 trainings of the random search diverged"):
        random_search(train, {"square": (2.0, 3.0)}, budget=4, cost=1, generator=draws())


@pytest.mark.parametrize(
    ("ranges", "sentence"),
    [
        ({}, "There is nothing to search"),
        ({"a": (0.0, 1.0)}, r"The range of 'a' is two numbers above 0 in order, not \(0\.0, 1\.0\)"),
        ({"a": (2.0, 1.0)}, "The range of 'a' is two numbers above 0 in order"),
        ({"a": (1.0, math.inf)}, "The range of 'a' is two numbers above 0 in order"),
    ],
)
def test_ranges_out_of_order_are_refused(ranges: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        random_search(lambda w: (0.0, None), ranges, budget=1, cost=1, generator=draws())


def test_it_trains_a_model_as_the_tuner_does() -> None:
    """The loss that counts is that of one target: its share of the weights comes out the larger."""

    def train(weights: dict[str, float]) -> tuple[float, Regression]:
        task = regression()
        trainer = Trainer(torch.optim.SGD(task.model.parameters(), lr=0.1), FixedWeights(weights))
        for _ in range(20):
            trainer.step(task.losses)
        return float(task.validation().detach()), task

    ranges = {"square": (0.1, 10.0), "large": (0.1, 10.0)}
    budget = gradient_evaluations(20)
    found = random_search(train, ranges, budget=budget, cost=20, generator=draws())
    assert len(found.tried) == 5
    assert float(found.trained.validation().detach()) == found.validation_loss
    assert found.weights["square"] > found.weights["large"]


def test_a_budget_counts_at_least_the_calls_of_losses() -> None:
    """Each call of a loss that is differentiated is one gradient; differentiating again comes on top."""
    assert set(LOOK_AHEAD_COST) == {"unrolled", "directional", "finite-difference", "implicit"}
    for estimator in LOOK_AHEAD_COST:
        task, calls = regression(), [0]

        def counted(losses: Any, calls: list[int] = calls) -> Any:
            calls[0] += 1
            return losses()

        weights = LossWeights(("square", "large")).double()
        tuner = LossWeightTuner(
            task.model,
            torch.optim.SGD(task.model.parameters(), lr=0.1),
            weights,
            torch.optim.SGD(weights.parameters(), lr=0.1),
            every=3,
            estimator=estimator,  # type: ignore[arg-type]
        )
        for _ in range(7):
            tuner.step(lambda: counted(task.losses), lambda: counted(task.validation))  # noqa: B023
        assert calls[0] <= gradient_evaluations(7, estimator, every=3) <= 7 + 3 * 10


def test_counts_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="steps must be 1 or more, not 0"):
        gradient_evaluations(0)
    with pytest.raises(
        ValueError, match=r"There is no counted estimator 'unroled'\. Did you mean 'unrolled'"
    ):
        gradient_evaluations(1, "unroled")
