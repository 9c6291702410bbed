"""Differences in which a seed is drawn again with both of its scores."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bilevel.experiments import interquartile_interval, interquartile_mean, paired_difference_interval


def test_what_a_seed_does_to_both_falls_out() -> None:
    scores = np.random.default_rng(0).normal(size=20)
    assert paired_difference_interval(scores, scores) == (0, 0, 0)
    found = paired_difference_interval(scores + 0.5, scores)
    assert [float(part) for part in found] == pytest.approx([0.5, 0.5, 0.5])


def test_against_a_constant_it_is_the_interval_of_one() -> None:
    scores = np.random.default_rng(1).normal(size=12)
    found, alone = paired_difference_interval(scores, np.zeros(12)), interquartile_interval(scores)
    assert found == alone


def test_it_is_scipys_paired_bootstrap() -> None:
    drawn = np.random.default_rng(2)
    one, other = drawn.normal(size=15), drawn.normal(size=15)
    found = paired_difference_interval(one, other, resamples=500)
    theirs = stats.bootstrap(
        (one, other),
        lambda a, b, axis: interquartile_mean(a, axis) - interquartile_mean(b, axis),
        paired=True,
        n_resamples=500,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert (float(found.low), float(found.high)) == pytest.approx((theirs.low, theirs.high))


def test_pairs_need_as_many_seeds() -> None:
    with pytest.raises(ValueError, match="Pairs need as many seeds, but there are 3 and 4"):
        paired_difference_interval(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="needs 3 seeds or more"):
        paired_difference_interval(np.zeros(2), np.zeros(2))
