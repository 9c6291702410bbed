"""Interquartile means and intervals against hand-computed values and a simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from bilevel.experiments import interquartile_interval, interquartile_mean
from bilevel.experiments._statistics import bootstrap_interval


@pytest.mark.parametrize(
    ("values", "expected"),
    [  # derived: a quarter of the values, rounded down, is cut at each end
        ([5.0], 5.0),
        ([1.0, 2.0, 6.0], 3.0),
        ([100.0, 1.0, 0.0, 2.0], 1.5),
        ([0.0, 10.0, 20.0, 60.0, -7.0], 10.0),
        ([8.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 4.5),
    ],
)
def test_interquartile_mean_by_hand(values: list[float], expected: float) -> None:
    assert interquartile_mean(np.array(values)) == pytest.approx(expected, abs=1e-14)


@given(
    arrays(np.float64, (3, 9), elements=st.floats(-100, 100)),
    st.floats(-10, 10),
    st.floats(0.01, 10),
    st.permutations(range(9)),
)
def test_interquartile_mean_laws(values: np.ndarray, shift: float, scale: float, order: list[int]) -> None:
    middle = interquartile_mean(values)
    assert middle.shape == (3,)
    np.testing.assert_allclose(
        interquartile_mean(scale * values[:, order] + shift), scale * middle + shift, atol=1e-10
    )
    assert (middle >= values.min(-1) - 1e-10).all()
    assert (middle <= values.max(-1) + 1e-10).all()


def test_interval_of_three_by_hand() -> None:
    # derived: the mean of 3 draws from {0, 0, 27} is 27 k / 3 with k binomial(3, 1/3); P(k = 0) = 8/27 and
    # P(k = 3) = 1/27 are both above 2.5 %, so the percentile interval goes from 0 to 27.
    interval = interquartile_interval(np.array([0.0, 0.0, 27.0]), resamples=20_000)
    assert (interval.low, interval.estimate, interval.high) == (0, 9, 27)


def test_interval_of_constant_values_is_the_point() -> None:
    interval = interquartile_interval(np.array([[0.1] * 7, [-3.0] * 7]))
    for part in interval:
        np.testing.assert_array_equal(part, [0.1, -3.0])


def test_some_constant_rows_do_not_disturb_the_others() -> None:
    rows = np.array([[0.1] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]])
    interval = interquartile_interval(rows)
    assert interval.low[0] == pytest.approx(0.1)
    assert interval.high[0] == pytest.approx(0.1)
    assert interval.low[1] < 3 < interval.high[1]


def test_interval_covers_the_truth() -> None:
    values = np.random.default_rng(0).normal(loc=2.0, size=(400, 32))
    interval = interquartile_interval(values, resamples=400)
    covered = np.mean((interval.low <= 2) & (interval.high >= 2))
    assert 0.90 <= covered <= 0.985  # 95 % nominal; 400 repetitions have a standard error of 1.1 %


def test_interval_is_reproducible_and_seeded() -> None:
    values = np.random.default_rng(1).normal(size=20)
    first, again = interquartile_interval(values), interquartile_interval(values)
    assert first == again
    assert bootstrap_interval((values,), interquartile_mean, seed=1) != first


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_seeds_are_refused(seeds: int) -> None:
    with pytest.raises(ValueError, match=f"needs 3 seeds or more, not {seeds}"):
        interquartile_interval(np.zeros((4, seeds)))


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="needs finite numbers"):
        interquartile_interval(np.array([0.0, np.inf, 1.0]))


@given(arrays(np.float64, (3, 9), elements=st.floats(-100, 100)), st.integers(0, 2))
def test_the_interquartile_mean_is_scipys_trimmed_mean(values: np.ndarray, axis: int) -> None:
    axis = min(axis, values.ndim - 1)
    expected = stats.trim_mean(values, 0.25, axis=axis)
    np.testing.assert_allclose(interquartile_mean(values, axis=axis), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("resamples", [2, 199, 450])
def test_the_bootstrap_is_scipys(resamples: int) -> None:
    draws = np.random.default_rng(3)
    samples = (draws.normal(size=(4, 8)), draws.normal(size=(4, 5)))

    def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return interquartile_mean(one) - interquartile_mean(other)

    found = bootstrap_interval(samples, difference, resamples=resamples, seed=7)
    expected = stats.bootstrap(
        samples,
        lambda one, other, axis: difference(one, other),
        n_resamples=resamples,
        axis=-1,
        method="percentile",
        vectorized=True,
        batch=200,
        rng=np.random.default_rng(7),
    ).confidence_interval
    np.testing.assert_allclose((found.low, found.high), (expected.low, expected.high), rtol=1e-13)
