"""Weights of losses, learned around a training loop that is already there."""

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
