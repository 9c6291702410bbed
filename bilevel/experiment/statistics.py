"""Honest numbers over seeds: interquartile means and bootstrap intervals.

They are `scipy.stats.trim_mean` and `scipy.stats.bootstrap` (percentile), written out: SciPy's statistics
take longer to load than everything else that a run writes down takes to compute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from bilevel.errors import require

FEWEST_SEEDS = 3
"""With fewer there is no interval over seeds to speak of."""
RESAMPLES = 2000
"""How often seeds are drawn again for an interval."""
AT_ONCE = 200
"""Bootstrap samples that are in memory together."""
TAILS = (0.025, 0.975)
"""The ends of a 95 % percentile interval."""


class Interval(NamedTuple):
    """An estimate and its 95 % interval; each has the shape of the values without their seed axis."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray


def interquartile_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """The mean of the middle half over seeds: steadier than the mean, less blind than the median.

    A quarter of the seeds, rounded down, is left out at each end; so with fewer than 4 it is the mean.

    Args:
        values: [..., seed].
        axis: which axis counts seeds.

    Returns:
        [...], in the units of the values.

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
    """Raise ValueError where there are too few seeds for an interval.

    >>> require_seeds(2)
    Traceback (most recent call last):
    ValueError: An interval over seeds needs 3 seeds or more, but there are 2.
    """
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
    """A statistic of one or several samples of seeds, with its 95 % percentile bootstrap interval.

    The seeds of each sample are drawn again by themselves: samples are independent, and where a sample stands
    for a game this is the stratified bootstrap.

    Args:
        samples: each [..., seed], finite, 3 seeds or more; numbers of seeds may differ, the leading axes not.
        statistic: of the samples, over their last axis: arrays [..., seed] -> [...].
        resamples: bootstrap samples, 1 or more.
        seed: of the bootstrap: the same seed gives the same interval.

    With few seeds the interval is too short, as every bootstrap's: with 8 normal ones, that of the
    interquartile mean covers the truth about 9 times in 10.

    Raises:
        ValueError: there are fewer than 3 seeds, or a value is not finite.

    Source:
        Agarwal et al., Deep RL at the edge of the statistical precipice, arXiv 2108.13264.

    >>> values = np.arange(8.0)
    >>> interval = bootstrap_interval((values, values), lambda one, other: one.mean(-1) - other.mean(-1))
    >>> float(interval.estimate), bool(interval.low < 0 < interval.high)
    (0.0, True)
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


def interquartile_interval(values: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """The interquartile mean with its 95 % percentile bootstrap interval over seeds.

    Args:
        values: [..., seed], 3 seeds or more, finite.
        resamples: bootstrap samples, 1 or more.
        seed: of the bootstrap: the same seed gives the same interval.

    Raises:
        ValueError: as `bootstrap_interval`.

    >>> interval = interquartile_interval(np.arange(8.0))
    >>> float(interval.estimate), bool(interval.low < 3.5 < interval.high)
    (3.5, True)
    """
    return bootstrap_interval((values,), interquartile_mean, resamples=resamples, seed=seed)


def stratified_interval(
    scores: Sequence[np.ndarray], *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """One number for several games: the interquartile mean over all their seeds, with its 95 % interval.

    Seeds are drawn again within each game (a stratified bootstrap), so the games are taken as they are: the
    interval says how sure the number is for these games, not for others.

    Args:
        scores: of each game, [seed], made comparable beforehand, for instance as shares of the optimum; 3
            seeds or more of each. A game with more seeds counts for more.
        resamples: bootstrap samples, 1 or more.
        seed: of the bootstrap.

    Raises:
        ValueError: there is no game; or as `bootstrap_interval`.

    Source:
        Agarwal et al., arXiv 2108.13264, with games for tasks.

    >>> float(stratified_interval([np.array([0.0, 0.25, 0.5]), np.full(3, 1.0)]).estimate)
    0.6875
    """
    require(len(scores) > 0, "An aggregate over games needs the scores of 1 game or more.")
    return bootstrap_interval(
        scores,
        lambda *games: interquartile_mean(np.concatenate(games, axis=-1)),
        resamples=resamples,
        seed=seed,
    )
