"""The statistics against rliable 1.2.0 (with arch 7.2.0), the code of arXiv 2108.13264.

Scores are formulas; the numbers are what rliable gave for them. Its intervals are those of
`get_interval_estimates` and `create_performance_profile` after `numpy.random.seed(0)`, with 20 000 resamples
(5000 for the chance of being better): they are random, hence a tolerance for each; estimates are not.
"""

from __future__ import annotations

import numpy as np
import pytest

from bilevel.experiments import (
    Interval,
    difference_interval,
    improvement_interval,
    interquartile_interval,
    performance_profile,
)

ONE = np.round(10 * np.sin(1.0 + np.arange(12) * 1.7), 3)
OTHER = np.round(10 * np.sin(0.5 + np.arange(10) * 2.3) - 2, 3)


def agree(found: Interval, estimate: float, low: float, high: float, tolerance: float) -> None:
    assert found.estimate == pytest.approx(estimate, abs=1e-7)
    assert found.low == pytest.approx(low, abs=tolerance)
    assert found.high == pytest.approx(high, abs=tolerance)


@pytest.mark.parametrize(
    ("scores", "estimate", "low", "high"),
    [(ONE, 1.15166667, -5.25733333, 6.67633333), (OTHER, -0.72066667, -6.38771667, 4.33733333)],
)
def test_interquartile_means(scores: np.ndarray, estimate: float, low: float, high: float) -> None:
    agree(interquartile_interval(scores, resamples=20_000), estimate, low, high, 0.2)


def test_the_chance_of_being_better() -> None:
    found = improvement_interval(ONE, OTHER, resamples=20_000)
    agree(found, 0.58333333, 0.34166667, 0.81666667, 0.02)


def test_the_difference_of_interquartile_means() -> None:
    found = difference_interval(ONE, OTHER, resamples=20_000)
    agree(found, 1.87233333, -6.35310417, 9.84551667, 0.3)


def test_the_performance_profile() -> None:
    found = performance_profile(ONE, np.array([-8.0, -4.0, 0.0, 4.0, 8.0]))
    np.testing.assert_allclose(found.estimate, [0.83333333, 0.66666667, 0.5, 0.41666667, 0.25], atol=1e-8)
    np.testing.assert_allclose(found.low, [0.58333333, 0.41666667, 0.25, 0.16666667, 0], atol=1e-8)
    np.testing.assert_allclose(found.high, [1, 0.91666667, 0.75, 0.66666667, 0.5], atol=1e-8)
