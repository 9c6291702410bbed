"""Performance profiles: not one number of all seeds, but how many get how far."""

from __future__ import annotations

import numpy as np

from bilevel.errors import require
from bilevel.experiment.statistics import RESAMPLES, Interval, bootstrap_interval


def performance_profile(
    scores: np.ndarray, thresholds: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The share of seeds whose score is above tau, for every tau, with its 95 % bootstrap interval.

    The interval is one for each tau by itself (pointwise): a whole profile leaves the band somewhere more
    often than 1 time in 20. A method whose profile is nowhere below another's is better in every sense that
    only more and less counts in.

    Args:
        scores: [seed], 3 seeds or more; more is better.
        thresholds: tau, [threshold], in the units of the scores.
        resamples: bootstrap samples, 1 or more.
        seed: of the bootstrap.

    Returns:
        each part [threshold], from 0 to 1; it falls as tau grows.

    Raises:
        ValueError: the thresholds are not one axis; or as `bootstrap_interval`.

    Source:
        Agarwal et al., Deep RL at the edge of the statistical precipice, arXiv 2108.13264 (the run-score
        distribution of one task).

    >>> performance_profile(np.array([0.0, 1.0, 1.0, 5.0]), np.array([-1.0, 0.0, 1.0, 5.0])).estimate
    array([1.  , 0.75, 0.25, 0.  ])
    """
    require(
        thresholds.ndim == 1, f"thresholds must be [threshold], one axis, not of shape {thresholds.shape}."
    )
    require(not np.isnan(scores).any(), "A performance profile needs scores, but some are NaN.")
    above = (scores > thresholds[:, None]).astype(np.float64)
    return bootstrap_interval((above,), lambda drawn: drawn.mean(-1), resamples=resamples, seed=seed)
