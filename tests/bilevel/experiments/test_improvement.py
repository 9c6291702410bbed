"""Chances of being better and differences over seeds: hand-computed values, laws, and a simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from bilevel.experiments import (
    difference_interval,
    improvement_interval,
    interquartile_mean,
    probability_of_improvement,
)

SCORES = st.integers(3, 9).flatmap(
    lambda seeds: arrays(np.float64, seeds, elements=st.integers(-4, 4) | st.floats(-100, 100))
)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [  # derived: pairs won, plus half of those that tie, over all pairs
        ([3.0], [1.0], 1.0),
        ([1.0], [3.0], 0.0),
        ([1.0, 3.0], [1.0, 2.0], (0.5 + 0 + 1 + 1) / 4),
        ([0.0, 0.0, 0.0], [0.0, 0.0], 0.5),
        ([5.0, 1.0, 2.0], [2.0, 0.0], (2 + 1 + 1.5) / 6),
    ],
)
def test_probability_by_hand(one: list[float], other: list[float], expected: float) -> None:
    assert probability_of_improvement(np.array(one), np.array(other)) == pytest.approx(expected, abs=1e-15)


@given(SCORES, SCORES)
def test_the_two_chances_sum_to_one(one: np.ndarray, other: np.ndarray) -> None:
    there, back = probability_of_improvement(one, other), probability_of_improvement(other, one)
    assert there + back == pytest.approx(1, abs=1e-12)
    assert 0 <= there <= 1


@given(SCORES, SCORES)
def test_it_is_mann_and_whitneys_statistic(one: np.ndarray, other: np.ndarray) -> None:
    statistic = stats.mannwhitneyu(one, other, method="asymptotic").statistic
    assert probability_of_improvement(one, other) == pytest.approx(
        statistic / (len(one) * len(other)), abs=1e-12
    )


@given(SCORES, SCORES)
def test_only_the_order_counts(one: np.ndarray, other: np.ndarray) -> None:
    ranked = stats.rankdata(np.concatenate((one, other)))
    expected = probability_of_improvement(ranked[: len(one)], ranked[len(one) :])
    assert probability_of_improvement(one, other) == pytest.approx(float(expected), abs=1e-12)


@settings(max_examples=40)
@given(SCORES)
def test_nothing_is_better_than_itself(scores: np.ndarray) -> None:
    chance = improvement_interval(scores, scores, resamples=400)
    assert chance.low <= 0.5 <= chance.high
    difference = difference_interval(scores, scores, resamples=400)
    assert difference.estimate == 0
    assert difference.low <= 0 <= difference.high


def test_leading_axes_are_kept() -> None:
    drawn = np.random.default_rng(0)
    one, other = drawn.normal(size=(2, 3, 6)), drawn.normal(size=(2, 3, 5))
    together = probability_of_improvement(one, other)
    assert together.shape == (2, 3)
    assert together[1, 2] == pytest.approx(float(probability_of_improvement(one[1, 2], other[1, 2])))
    assert difference_interval(one, other, resamples=50).low.shape == (2, 3)


def test_seeds_that_do_not_overlap_are_surely_better() -> None:
    assert improvement_interval(np.arange(5.0) + 10, np.arange(5.0)) == (1, 1, 1)


def test_a_difference_by_hand() -> None:
    # derived: the mean of 3 draws from {0, 0, 27} is 0, 9, 18 or 27, and P(0) = 8/27, P(27) = 1/27; the other
    # method is always 1
    found = difference_interval(np.array([0.0, 0.0, 27.0]), np.ones(3), resamples=20_000)
    assert found == (8, -1, 26)


def test_methods_are_drawn_again_independently() -> None:
    """In pairs, two equal methods would differ by nothing; drawn by themselves their variances add up."""
    scores = np.random.default_rng(0).normal(size=32)
    found = difference_interval(scores, scores, resamples=4000)
    alone = difference_interval(scores, np.full(32, float(interquartile_mean(scores))), resamples=4000)
    widths = (found.high - found.low) / (alone.high - alone.low)
    assert widths == pytest.approx(np.sqrt(2), rel=0.08)


def test_the_interval_of_a_difference_covers_the_truth() -> None:
    drawn = np.random.default_rng(0)
    one, other = drawn.normal(loc=1.5, size=(400, 24)), drawn.normal(loc=1.0, scale=2.0, size=(400, 32))
    found = difference_interval(one, other, resamples=400)
    covered = np.mean((found.low <= 0.5) & (found.high >= 0.5))
    assert 0.90 <= covered <= 0.985  # 95 % nominal; 400 repetitions have a standard error of 1.1 %


def test_the_interval_of_a_chance_covers_the_truth() -> None:
    drawn = np.random.default_rng(0)
    one, other = drawn.normal(loc=1.0, size=(400, 24)), drawn.normal(size=(400, 32))
    truth = stats.norm.cdf(1 / np.sqrt(2))
    found = improvement_interval(one, other, resamples=400)
    covered = np.mean((found.low <= truth) & (found.high >= truth))
    assert 0.90 <= covered <= 0.985


@pytest.mark.parametrize("interval", [improvement_interval, difference_interval])
def test_bad_input_is_refused(interval: type) -> None:
    with pytest.raises(ValueError, match="needs 3 seeds or more, not 2"):
        interval(np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="needs finite numbers"):
        interval(np.zeros(3), np.array([0.0, np.nan, 1.0]))
