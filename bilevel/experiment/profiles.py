"""Performance profiles: not one number of all seeds, but how many get how far."""

from __future__ import annotations

import numpy as np
import scipy

from bilevel.errors import require
from bilevel.experiment.statistics import TAILS, Interval, require_seeds


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> Interval:
    """The share of seeds whose score is above tau, for every tau, with its 95 % bootstrap interval.

    How many of n seeds drawn again are above tau is binomial, so nothing is drawn: this is the percentile
    interval of endlessly many resamples. It is one for each tau by itself (pointwise): a whole profile leaves
    the band somewhere more often than 1 time in 20. A method whose profile is nowhere below another's is
    better by every measure in which more is better.

    Args:
        scores: [seed], 3 seeds or more; more is better.
        thresholds: tau, [threshold], in the units of the scores.

    Returns:
        each part [threshold], from 0 to 1; it falls as tau grows.

    Raises:
        ValueError: there are fewer than 3 seeds, a score is NaN, or one of the two has another shape.

    Source:
        Agarwal et al., Deep RL at the edge of the statistical precipice, arXiv 2108.13264 (the run-score
        distribution of one task).

    >>> performance_profile(np.array([0.0, 1.0, 1.0, 5.0]), np.array([-1.0, 0.0, 1.0, 5.0])).estimate
    array([1.  , 0.75, 0.25, 0.  ])
    """
    for name, values in (("scores", scores), ("thresholds", thresholds)):
        require(values.ndim == 1, f"{name} must have one axis, not the shape {values.shape}.")
    require(not np.isnan(scores).any(), "A performance profile needs scores, but some are NaN.")
    seeds = len(scores)
    require_seeds(seeds)
    share = (scores > thresholds[:, None]).mean(-1)
    low, high = (scipy.stats.binom.ppf(tail, seeds, share) / seeds for tail in TAILS)
    return Interval(share, low, high)
