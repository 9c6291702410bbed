"""Weights of losses, learned around a training loop that is already there.

The names below load when they are first used; none needs the games.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from games.lazy import lazy_names

if TYPE_CHECKING:
    from bilevel.outer.hyper_parameter import HyperParameter
    from bilevel.outer.loss_weights import LossWeights, ScheduledLossWeights
    from bilevel.outer.sample_weights import SampleWeights
    from bilevel.tuning.functional import FunctionalTuner, Learner
    from bilevel.tuning.implicit import Implicit
    from bilevel.tuning.tuner import LossWeightTuner, StepResult

__all__ = [
    "FunctionalTuner",
    "HyperParameter",
    "Implicit",
    "Learner",
    "LossWeightTuner",
    "LossWeights",
    "SampleWeights",
    "ScheduledLossWeights",
    "StepResult",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "bilevel.outer.hyper_parameter": ("HyperParameter",),
        "bilevel.outer.loss_weights": ("LossWeights", "ScheduledLossWeights"),
        "bilevel.outer.sample_weights": ("SampleWeights",),
        "bilevel.tuning.functional": ("FunctionalTuner", "Learner"),
        "bilevel.tuning.implicit": ("Implicit",),
        "bilevel.tuning.tuner": ("LossWeightTuner", "StepResult"),
    },
)
