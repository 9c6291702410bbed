"""The draws of evolution: every library is given the same ones, so that their estimates agree."""

from __future__ import annotations

import numpy as np

from bilevel.hypergradient._smoothing import draw_noise
from tests.benchmarks.case import Case
from tests.benchmarks.problems.named import make_setting

SAMPLES, SIGMA = 64, 0.05
"""Perturbed runs (in pairs), and their width."""


def of_evolution(case: Case) -> np.ndarray:
    """Give what `bilevel.hypergradient.Evolution` draws by default: [pair, *phi], seed by seed."""
    setting = make_setting(case)
    (draws,) = draw_noise(setting.phi, SAMPLES // 2, 0, setting.theta, members=len(setting.phi))
    return np.asarray(draws)
