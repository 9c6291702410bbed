"""Is one method better than another? Chances and differences over seeds, with their intervals."""

from __future__ import annotations

import numpy as np
import scipy

from bilevel.errors import require
from bilevel.experiment.statistics import RESAMPLES, Interval, bootstrap_interval, interquartile_mean


def probability_of_improvement(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The chance that a seed of one method ends above a seed of another: P(A > B) + P(A = B) / 2.

    It is Mann and Whitney's U over the number of pairs. 0.5 means that neither is better; it does not say by
    how much one is.

    Args:
        one: [..., seed], the scores of A; more is better.
        other: [..., seed], those of B; the number of seeds may differ.

    Returns:
        [...], from 0 to 1.

    Source:
        Agarwal et al., Deep RL at the edge of the statistical precipice, arXiv 2108.13264.

    >>> float(probability_of_improvement(np.array([1.0, 3.0]), np.array([1.0, 2.0])))
    0.625
    """
    seeds, others = one.shape[-1], other.shape[-1]
    ranks = scipy.stats.rankdata(np.concatenate((one, other), axis=-1), axis=-1)[..., :seeds]
    return np.asarray((ranks.sum(-1) - seeds * (seeds + 1) / 2) / (seeds * others))


def improvement_interval(
    one: np.ndarray, other: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """`probability_of_improvement` with its 95 % percentile bootstrap interval.

    Both methods' seeds are drawn again independently, as if seed i of one had nothing to do with seed i of
    the other. Where no seed of one reaches any of the other's, the interval is the point 0 or 1, however few
    they are.

    Args:
        one: [..., seed], the scores of A, 3 seeds or more.
        other: [..., seed], those of B, likewise.
        resamples: bootstrap samples, 1 or more.
        seed: of the bootstrap.

    Raises:
        ValueError: as `bootstrap_interval`.

    >>> [float(part) for part in improvement_interval(np.arange(3.0), np.arange(3.0) - 9)]
    [1.0, 1.0, 1.0]
    """
    return bootstrap_interval((one, other), probability_of_improvement, resamples=resamples, seed=seed)


def difference_interval(
    one: np.ndarray, other: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The difference of two methods' interquartile means, A minus B, with its 95 % bootstrap interval.

    Both methods' seeds are drawn again independently. Whether this interval holds 0 is the question; whether
    two intervals of one method each overlap is another, which says less.

    Args:
        one: [..., seed], the scores of A, 3 seeds or more.
        other: [..., seed], those of B, likewise.
        resamples: bootstrap samples, 1 or more.
        seed: of the bootstrap.

    Returns:
        each part [...], in the units of the scores.

    Raises:
        ValueError: as `bootstrap_interval`.

    >>> interval = difference_interval(np.arange(8.0) + 9, np.arange(8.0))
    >>> float(interval.estimate), bool(interval.low > 0)
    (9.0, True)
    """
    return bootstrap_interval(
        (one, other),
        lambda drawn, against: interquartile_mean(drawn) - interquartile_mean(against),
        resamples=resamples,
        seed=seed,
    )


def paired_difference_interval(
    one: np.ndarray, other: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The difference of two interquartile means, A minus B, where seed i of both met the same data.

    As `difference_interval`, but a seed is drawn again with both of its scores, so that what a seed does to
    both falls out of the interval.

    Args:
        one: [seed], the scores of A, 3 seeds or more.
        other: [seed], those of B, seed by seed.
        resamples: bootstrap samples, 1 or more.
        seed: of the bootstrap.

    Returns:
        in the units of the scores.

    Raises:
        ValueError: as `bootstrap_interval`; or the numbers of seeds differ.

    >>> paired = paired_difference_interval(np.arange(8.0) + 1, np.arange(8.0))
    >>> [float(part) for part in paired]
    [1.0, 1.0, 1.0]
    """
    require(one.shape == other.shape, f"Pairs need as many seeds, but there are {one.size} and {other.size}.")
    return bootstrap_interval(
        (np.stack((one, other)),),
        lambda both: interquartile_mean(both[0]) - interquartile_mean(both[1]),
        resamples=resamples,
        seed=seed,
    )
