"""Statistics over seeds: interquartile means, bootstrap intervals, improvements, performance profiles.

The interquartile mean and the percentile bootstrap do without scipy.stats, which is slow to load. Source of
all: Agarwal et al., Deep RL at the edge of the statistical precipice, arXiv 2108.13264.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from games.core import require

FEWEST_SEEDS = 3
"""Fewest seeds for an interval."""
RESAMPLES = 2000
"""Bootstrap samples of an interval."""
AT_ONCE = 200
"""Bootstrap samples that are in memory together."""
TAILS = (0.025, 0.975)


class Interval(NamedTuple):
    """An estimate and its 95 % interval; each has the shape of the values without their seed axis."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray


def interquartile_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """The mean of the middle half over seeds: of lower variance than mean and median where tails are heavy.

    A quarter of the seeds, rounded down, is left out at each end; so with fewer than 4 it is the mean.

    Args:
        values: [..., seed].
        axis: the axis of seeds.

    >>> float(interquartile_mean(np.array([0.0, 1.0, 2.0, 100.0])))
    1.5
    """
    values = np.moveaxis(np.asarray(values), axis, -1)
    seeds = values.shape[-1]
    cut = seeds // 4
    return np.asarray(np.partition(values, (cut, seeds - cut - 1))[..., cut : seeds - cut].mean(-1))


def require_seeds(seeds: int) -> None:
    require(
        seeds >= FEWEST_SEEDS,
        f"An interval over seeds needs {FEWEST_SEEDS} seeds or more, but there are {seeds}.",
    )


def bootstrap_interval(
    samples: Sequence[np.ndarray],
    statistic: Callable[..., np.ndarray],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """A statistic of independent samples of seeds, with its 95 % percentile bootstrap interval.

    With few seeds the interval is too short, as every bootstrap's: with 8 normal ones, that of the
    interquartile mean covers the truth about 9 times in 10.

    Args:
        samples: each [..., seed], finite, 3 seeds or more; numbers of seeds may differ, the leading axes not.
        statistic: of the samples, over their last axis: arrays [..., seed] -> [...].
        resamples: bootstrap samples, 1 or more.
        seed: of the bootstrap.

    Raises:
        ValueError: there are fewer than 3 seeds, or a value is not finite.
    """
    for sample in samples:
        require_seeds(sample.shape[-1])
        require(
            bool(np.isfinite(sample).all()), "An interval over seeds needs finite numbers, but some are not."
        )
    estimate = np.asarray(statistic(*samples))
    if all(np.all(sample == sample[..., :1]) for sample in samples):  # every resample is the same
        return Interval(estimate, estimate, estimate)
    generator = np.random.default_rng(seed)

    def drawn(sample: np.ndarray, count: int) -> np.ndarray:
        seeds = sample.shape[-1]
        return np.asarray(sample[..., generator.integers(0, seeds, (count, seeds))])

    found = [
        statistic(*(drawn(sample, min(AT_ONCE, resamples - done)) for sample in samples))
        for done in range(0, resamples, AT_ONCE)
    ]
    low, high = np.quantile(np.concatenate(found, axis=-1), TAILS, axis=-1)
    return Interval(estimate, low, high)


def interquartile_interval(values: np.ndarray, *, resamples: int = RESAMPLES) -> Interval:
    """The interquartile mean of [..., seed] with its 95 % percentile bootstrap interval over seeds.

    Raises:
        ValueError: there are fewer than 3 seeds, or a value is not finite.

    >>> interval = interquartile_interval(np.arange(8.0))
    >>> float(interval.estimate), bool(interval.low < 3.5 < interval.high)
    (3.5, True)
    """
    return bootstrap_interval((values,), interquartile_mean, resamples=resamples)


def over_seeds(values: np.ndarray) -> Interval | None:
    """The interquartile mean of [seed] with its interval, NaN for fewer than 3 seeds; None if a value is NaN.

    >>> over_seeds(np.array([1.0, 2.0])), over_seeds(np.array([1.0, np.nan]))
    (Interval(estimate=array(1.5), low=array(nan), high=array(nan)), None)
    """
    if np.isnan(values).any():
        return None
    if len(values) < FEWEST_SEEDS:
        return Interval(interquartile_mean(values), np.array(np.nan), np.array(np.nan))
    return interquartile_interval(values)


def probability_of_improvement(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The probability that a seed of one method scores above a seed of another: P(A > B) + P(A = B) / 2.

    It is Mann and Whitney's U over the number of pairs. 0.5 means that neither is better; it does not say by
    how much one is.

    Args:
        one: [..., seed], the scores of A; more is better.
        other: [..., seed], those of B; the number of seeds may differ.

    >>> float(probability_of_improvement(np.array([1.0, 3.0]), np.array([1.0, 2.0])))
    0.625
    """
    seeds, others = one.shape[-1], other.shape[-1]
    import scipy  # noqa: PLC0415  # runs that compare nothing load none of it

    ranks = scipy.stats.rankdata(np.concatenate((one, other), axis=-1), axis=-1)[..., :seeds]
    return np.asarray((ranks.sum(-1) - seeds * (seeds + 1) / 2) / (seeds * others))


def improvement_interval(one: np.ndarray, other: np.ndarray, *, resamples: int = RESAMPLES) -> Interval:
    """`probability_of_improvement` with its 95 % percentile bootstrap interval.

    Both methods' seeds are resampled independently. Where no seed of one reaches any of the other's, the
    interval is the point 0 or 1, however few they are.

    Raises:
        ValueError: as `interquartile_interval`.

    >>> [float(part) for part in improvement_interval(np.arange(3.0), np.arange(3.0) - 9)]
    [1.0, 1.0, 1.0]
    """
    return bootstrap_interval((one, other), probability_of_improvement, resamples=resamples)


def difference_interval(one: np.ndarray, other: np.ndarray, *, resamples: int = RESAMPLES) -> Interval:
    """The difference of two methods' interquartile means, A minus B, with its 95 % bootstrap interval.

    Both methods' seeds are resampled independently. Whether this interval contains 0 says more than whether
    the two methods' own intervals overlap.

    Raises:
        ValueError: as `interquartile_interval`.

    >>> interval = difference_interval(np.arange(8.0) + 9, np.arange(8.0))
    >>> float(interval.estimate), bool(interval.low > 0)
    (9.0, True)
    """
    return bootstrap_interval((one, other), _difference, resamples=resamples)


def paired_difference_interval(one: np.ndarray, other: np.ndarray, *, resamples: int = RESAMPLES) -> Interval:
    """The difference of interquartile means over [seed], A minus B, where seed i of both had the same data.

    As `difference_interval`, but a seed is resampled with both of its scores, so that its effect on both
    cancels.

    Raises:
        ValueError: as `interquartile_interval`; or the numbers of seeds differ.

    >>> paired = paired_difference_interval(np.arange(8.0) + 1, np.arange(8.0))
    >>> [float(part) for part in paired]
    [1.0, 1.0, 1.0]
    """
    require(one.shape == other.shape, f"Pairs need as many seeds, but there are {one.size} and {other.size}.")
    pairs = np.stack((one, other))
    return bootstrap_interval((pairs,), lambda both: _difference(*both), resamples=resamples)


def _difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray(interquartile_mean(one) - interquartile_mean(other))


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> Interval:
    """The share of seeds whose score is above tau, for every tau, with its 95 % bootstrap interval.

    The number of resampled seeds above tau is binomial, so nothing is drawn: this is the percentile interval
    of infinitely many resamples. It is pointwise: a whole profile leaves the band somewhere more often than 1
    time in 20. A method whose profile is nowhere below another's is better by every monotone measure.

    Args:
        scores: [seed], 3 seeds or more; more is better.
        thresholds: tau, [threshold], in the units of the scores.

    Returns:
        each part [threshold], from 0 to 1.

    Raises:
        ValueError: there are fewer than 3 seeds, a score is NaN, or one of the two has another shape.

    >>> performance_profile(np.array([0.0, 1.0, 1.0, 5.0]), np.array([-1.0, 0.0, 1.0, 5.0])).estimate
    array([1.  , 0.75, 0.25, 0.  ])
    """
    for name, values in (("scores", scores), ("thresholds", thresholds)):
        require(values.ndim == 1, f"{name} must have one axis, not the shape {values.shape}.")
    require(not np.isnan(scores).any(), "A performance profile needs scores, but some are NaN.")
    seeds = len(scores)
    require_seeds(seeds)
    share = (scores > thresholds[:, None]).mean(-1)
    import scipy  # noqa: PLC0415

    low, high = (scipy.stats.binom.ppf(tail, seeds, share) / seeds for tail in TAILS)
    return Interval(share, low, high)
