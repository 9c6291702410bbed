"""Honest numbers over seeds: interquartile means and bootstrap intervals, on SciPy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from bilevel.errors import require


class Interval(NamedTuple):
    """An estimate and its 95 % interval; each has the shape of the values without their seed axis."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray


def interquartile_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """The mean of the middle half over seeds: steadier than the mean, less blind than the median.

    Args:
        values: [..., seed].
        axis: which axis counts seeds.

    Source:
        Agarwal et al., Deep RL at the edge of the statistical precipice, arXiv 2108.13264.

    >>> float(interquartile_mean(np.array([0.0, 1.0, 2.0, 100.0])))
    1.5
    """
    return np.asarray(stats.trim_mean(values, 0.25, axis=axis))


def interquartile_interval(values: np.ndarray, *, resamples: int = 2000, seed: int = 0) -> Interval:
    """The interquartile mean with its 95 % percentile bootstrap interval over seeds.

    Args:
        values: [..., seed], 3 seeds or more.
        resamples: bootstrap samples.
        seed: of the bootstrap.

    Raises:
        ValueError: there are fewer than 3 seeds.
    """
    require(
        values.shape[-1] >= 3,
        f"An interval over seeds needs 3 seeds or more, but there are {values.shape[-1]}.",
    )
    estimate = interquartile_mean(values)
    if np.all(values == values[..., :1]):  # every resample is the same: the interval is the point
        return Interval(estimate, estimate, estimate)
    found = stats.bootstrap(
        (values,),
        interquartile_mean,
        axis=-1,
        n_resamples=resamples,
        method="percentile",
        vectorized=True,
        batch=200,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(estimate, np.asarray(found.low), np.asarray(found.high))
