"""Statistics over seeds: interquartile means, bootstrap intervals, improvements, performance profiles.

The interquartile mean and the percentile bootstrap avoid scipy.stats, which is slow to import. Source of all:
Agarwal et al., Deep RL at the edge of the statistical precipice, arXiv 2108.13264.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from games.core import require

FEWEST_SEEDS = 3
"""Minimum number of seeds for an interval."""
RESAMPLES = 2000
"""Number of bootstrap samples of an interval."""
AT_ONCE = 200
"""Bootstrap samples in memory at a time."""
TAILS = (0.025, 0.975)


class Interval(NamedTuple):
    """Estimate and its 95 % interval, each of the shape of the values without their seed axis.

    >>> from bilevel.experiments import interquartile_interval
    >>> interval = interquartile_interval(np.array([[1.0, 1.0, 1.0], [0.0, 1.0, 5.0]]))
    >>> interval.estimate, interval.low, interval.high
    (array([1., 2.]), array([1., 0.]), array([1., 5.]))
    """

    estimate: np.ndarray
    """The estimate, [...]."""
    low: np.ndarray
    """The lower bound, [...]."""
    high: np.ndarray
    """The upper bound, [...]."""


def interquartile_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Average the middle half of the seeds; under heavy tails its variance is lower than that of mean and
    median.

    A quarter of the seeds, rounded down, is discarded at each end; with fewer than 4 it is the mean.

    Args:
        values: [..., seed].
        axis: the axis of seeds.

    Returns:
        The mean, [...].

    Source:
        Agarwal et al., Deep RL at the edge of the statistical precipice, arXiv 2108.13264.

    >>> float(interquartile_mean(np.array([0.0, 1.0, 2.0, 100.0])))
    1.5
    """
    values = np.moveaxis(np.asarray(values), axis, -1)
    seeds = values.shape[-1]
    cut = seeds // 4
    return np.asarray(np.partition(values, (cut, seeds - cut - 1))[..., cut : seeds - cut].mean(-1))


def require_seeds(seeds: int) -> None:
    """Require enough seeds for an interval.

    Raises:
        ValueError: there are fewer than 3.

    >>> require_seeds(2)
    Traceback (most recent call last):
    ValueError: An interval over seeds needs 3 seeds or more, not 2.
    """
    require(
        seeds >= FEWEST_SEEDS,
        f"An interval over seeds needs {FEWEST_SEEDS} seeds or more, not {seeds}.",
    )


def bootstrap_interval(
    samples: Sequence[np.ndarray],
    statistic: Callable[..., np.ndarray],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Statistic of independent samples of seeds, with its 95 % percentile bootstrap interval.

    With few seeds bootstrap intervals are too short: with 8 normal ones, that of the interquartile mean has a
    coverage of about 90 %.

    Args:
        samples: each [..., seed], finite, 3 seeds or more; numbers of seeds may differ, leading axes may not.
        statistic: function of the samples, over their last axis: arrays [..., seed] -> [...].
        resamples: bootstrap samples, 1 or more.
        seed: seed of the bootstrap.

    Raises:
        ValueError: there are fewer than 3 seeds, or a value is not finite.
    """
    for sample in samples:
        require_seeds(sample.shape[-1])
        require(
            bool(np.isfinite(sample).all()), "An interval over seeds needs finite numbers, but some are not."
        )
    estimate = np.asarray(statistic(*samples))
    if all(np.all(sample == sample[..., :1]) for sample in samples):  # all resamples are equal
        return Interval(estimate, estimate, estimate)
    generator = np.random.default_rng(seed)

    def resampled(sample: np.ndarray, count: int) -> np.ndarray:
        seeds = sample.shape[-1]
        return np.asarray(sample[..., generator.integers(0, seeds, (count, seeds))])

    estimates = [
        statistic(*(resampled(sample, min(AT_ONCE, resamples - done)) for sample in samples))
        for done in range(0, resamples, AT_ONCE)
    ]
    low, high = np.quantile(np.concatenate(estimates, axis=-1), TAILS, axis=-1)
    return Interval(estimate, low, high)


def interquartile_interval(values: np.ndarray, *, resamples: int = RESAMPLES) -> Interval:
    """Interquartile mean with its 95 % percentile bootstrap interval over seeds.

    With few seeds it is too short: with 8 normal ones its coverage is about 90 %.

    Args:
        values: [..., seed], finite, 3 seeds or more.
        resamples: number of bootstrap samples.

    Returns:
        Estimate and bounds, each [...].

    Raises:
        ValueError: there are fewer than 3 seeds, or a value is not finite.

    Source:
        Agarwal et al., Deep RL at the edge of the statistical precipice, arXiv 2108.13264.

    >>> interval = interquartile_interval(np.arange(8.0))
    >>> float(interval.estimate), bool(interval.low < 3.5 < interval.high)
    (3.5, True)
    """
    return bootstrap_interval((values,), interquartile_mean, resamples=resamples)


def over_seeds(values: np.ndarray) -> Interval | None:
    """Interquartile mean over seeds, with its interval if there are enough seeds.

    Args:
        values: [seed].

    Returns:
        Estimate and bounds, of which the bounds are NaN for fewer than 3 seeds; None if a value is NaN.

    >>> over_seeds(np.array([1.0, 2.0])), over_seeds(np.array([1.0, np.nan]))
    (Interval(estimate=array(1.5), low=array(nan), high=array(nan)), None)
    """
    if np.isnan(values).any():
        return None
    if len(values) < FEWEST_SEEDS:
        return Interval(interquartile_mean(values), np.array(np.nan), np.array(np.nan))
    return interquartile_interval(values)


def probability_of_improvement(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Probability that a seed of method A scores above a seed of method B: P(A > B) + P(A = B) / 2.

    It is Mann and Whitney's U over the number of pairs. 0.5 means that neither is better; it does not measure
    the size of the difference.

    Args:
        one: [..., seed], the scores of A; more is better.
        other: [..., seed], those of B; the number of seeds may differ.

    Returns:
        The probability, [...].

    Source:
        Agarwal et al., Deep RL at the edge of the statistical precipice, arXiv 2108.13264.

    >>> float(probability_of_improvement(np.array([1.0, 3.0]), np.array([1.0, 2.0])))
    0.625
    """
    seeds, others = one.shape[-1], other.shape[-1]
    import scipy  # noqa: PLC0415  # slow to import, and needed for comparisons only

    ranks = scipy.stats.rankdata(np.concatenate((one, other), axis=-1), axis=-1)[..., :seeds]
    return np.asarray((ranks.sum(-1) - seeds * (seeds + 1) / 2) / (seeds * others))


def improvement_interval(one: np.ndarray, other: np.ndarray, *, resamples: int = RESAMPLES) -> Interval:
    """Probability of improvement with its 95 % percentile bootstrap interval.

    Both methods' seeds are resampled independently. Where all seeds of one score above all of
    the other's, the interval is the point 0 or 1, even with few seeds.

    Args:
        one: [..., seed], the scores of A; more is better.
        other: [..., seed], those of B.
        resamples: number of bootstrap samples.

    Returns:
        Estimate and bounds, each [...].

    Raises:
        ValueError: as for `interquartile_interval`.

    Source:
        Agarwal et al., Deep RL at the edge of the statistical precipice, arXiv 2108.13264.

    >>> [float(part) for part in improvement_interval(np.arange(3.0), np.arange(3.0) - 9)]
    [1.0, 1.0, 1.0]
    """
    return bootstrap_interval((one, other), probability_of_improvement, resamples=resamples)


def difference_interval(one: np.ndarray, other: np.ndarray, *, resamples: int = RESAMPLES) -> Interval:
    """Difference of two methods' interquartile means, A minus B, with its 95 % bootstrap interval.

    Both methods' seeds are resampled independently. An interval that excludes 0 is a better test of a
    difference than two separate intervals that do not overlap.

    Args:
        one: [..., seed], the scores of A.
        other: [..., seed], those of B.
        resamples: number of bootstrap samples.

    Returns:
        Estimate and bounds, each [...], in the units of the scores.

    Raises:
        ValueError: as for `interquartile_interval`.

    >>> interval = difference_interval(np.arange(8.0) + 9, np.arange(8.0))
    >>> float(interval.estimate), bool(interval.low > 0)
    (9.0, True)
    """
    return bootstrap_interval((one, other), _difference, resamples=resamples)


def paired_difference_interval(one: np.ndarray, other: np.ndarray, *, resamples: int = RESAMPLES) -> Interval:
    """Difference of interquartile means, A minus B, where seed i of both had the same data.

    Unlike in `difference_interval`, the two scores of a seed are resampled together, so the effect of the
    seed cancels.

    Args:
        one: [seed], the scores of A.
        other: [seed], those of B.
        resamples: number of bootstrap samples.

    Returns:
        Estimate and bounds, in the units of the scores.

    Raises:
        ValueError: as for `interquartile_interval`; or the numbers of seeds differ.

    >>> paired = paired_difference_interval(np.arange(8.0) + 1, np.arange(8.0))
    >>> [float(part) for part in paired]
    [1.0, 1.0, 1.0]
    """
    require(one.shape == other.shape, f"Pairs need as many seeds, but there are {one.size} and {other.size}.")
    pairs = np.stack((one, other))
    return bootstrap_interval((pairs,), lambda both: _difference(*both), resamples=resamples)


def _difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray(interquartile_mean(one) - interquartile_mean(other))


def stratified_interval(
    values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], *, resamples: int = RESAMPLES
) -> Interval:
    """Statistic over several games, with its 95 % bootstrap interval, which resamples seeds within each game.

    Args:
        values: [game, seed], finite, with 3 seeds or more.
        statistic: [..., game, seed] -> [...], or [value, ...].
        resamples: bootstrap samples, 1 or more.

    Raises:
        ValueError: there are fewer than 3 seeds, or a value is not finite.

    Source:
        Agarwal et al., Deep RL at the edge of the statistical precipice, arXiv 2108.13264.

    >>> values = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    >>> float(stratified_interval(values, lambda sample: sample.mean((-2, -1))).low)
    0.5
    """
    return bootstrap_interval(
        list(values), lambda *games: statistic(np.stack(games, axis=-2)), resamples=resamples
    )


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> Interval:
    """Fraction of seeds with a score above tau, for every tau, with its 95 % bootstrap interval.

    The number of resampled seeds above tau is binomial, so this is, without sampling, the percentile interval
    of infinitely many resamples. It is pointwise: a whole profile leaves the band with a probability of more
    than 5 %. A method whose profile is nowhere below another's is better by every monotone measure.

    Args:
        scores: [seed], 3 seeds or more; more is better.
        thresholds: tau, [threshold], in the units of the scores.

    Returns:
        Estimate and bounds, each [threshold], from 0 to 1.

    Raises:
        ValueError: there are fewer than 3 seeds, a score is NaN, or one of the two has another shape.

    Source:
        Agarwal et al., Deep RL at the edge of the statistical precipice, arXiv 2108.13264.

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
