"""Performance profiles: hand-computed values and laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bilevel.experiments import performance_profile

SCORES = arrays(np.float64, st.integers(3, 20), elements=st.floats(-10, 10))
THRESHOLDS = arrays(np.float64, st.integers(1, 9), elements=st.floats(-12, 12)).map(np.sort)


def test_by_hand() -> None:
    found = performance_profile(np.array([1.0, 1.0, 4.0, 8.0]), np.array([0.0, 1.0, 4.0, 7.9, 8.0]))
    np.testing.assert_array_equal(found.estimate, [1, 0.5, 0.25, 0.25, 0])
    # derived: with p = 1/2, P(0 of 4) = 1/16 > 2.5 %, and so at both ends; with p = 1/4, P(4 of 4) = 1/256
    # and P(3 of 4) = 12/256 > 2.5 %
    np.testing.assert_array_equal(found.low, [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(found.high, [1, 1, 0.75, 0.75, 0])


@given(SCORES, THRESHOLDS)
def test_it_falls_from_one_to_zero_within_its_band(scores: np.ndarray, thresholds: np.ndarray) -> None:
    found = performance_profile(scores, thresholds)
    for part in found:
        assert part.shape == thresholds.shape
        assert (np.diff(part) <= 0).all()
        assert ((part >= 0) & (part <= 1)).all()
    assert (found.low <= found.estimate).all()
    assert (found.estimate <= found.high).all()
    assert performance_profile(scores, scores.max(keepdims=True)).estimate == 0
    assert performance_profile(scores, scores.min(keepdims=True) - 1).estimate == 1


@given(SCORES)
def test_the_area_under_it_is_the_mean(scores: np.ndarray) -> None:
    steps = np.concatenate(([-20.0], np.unique(scores)))
    shares = performance_profile(scores, steps).estimate
    area = (shares[:-1] * np.diff(steps)).sum() - 20
    assert area == pytest.approx(scores.mean(), abs=1e-9)


def test_the_band_is_that_of_the_bootstrap() -> None:
    scores = np.random.default_rng(0).normal(size=25)
    thresholds = np.array([-0.7, 0.1, 0.4])
    found = performance_profile(scores, thresholds)
    drawn = np.random.default_rng(1).choice(scores, (20_000, 25))
    shares = (drawn[..., None] > thresholds).mean(1)
    error = 0.005  # 20 000 resamples have a standard error of 0.1 %
    for end, tail in ((found.low, 0.025), (found.high, 0.975)):
        assert ((shares < end - 1e-9).mean(0) <= tail + error).all()
        assert ((shares < end + 1e-9).mean(0) >= tail - error).all()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 3 seeds or more, not 2"):
        performance_profile(np.zeros(2), np.zeros(1))
    with pytest.raises(ValueError, match="some are NaN"):
        performance_profile(np.array([0.0, np.nan, 1.0]), np.zeros(1))
    with pytest.raises(ValueError, match=r"scores must have one axis, not the shape \(2, 3\)"):
        performance_profile(np.zeros((2, 3)), np.zeros(1))
    with pytest.raises(ValueError, match=r"thresholds must have one axis, not the shape \(\)"):
        performance_profile(np.zeros(3), np.array(0.0))
