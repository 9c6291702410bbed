"""Whether the weights of agents' losses are learned above, and how, as settings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from bilevel.errors import require, require_name
from bilevel.methods.inner_learner_settings import InnerLearnerSettings
from bilevel.outer.objectives import OBJECTIVES
from bilevel.schedule import Scheduled


@dataclass(frozen=True, kw_only=True)
class LossWeightSettings(InnerLearnerSettings):
    """Settings of learned loss weights; the others are not looked at where none are learned.

    Each agent has, for the policy's, the value's and the entropy's term of its loss, a factor on what the
    settings say in that outer step. Factors start at 1 and move by the meta-gradient through the policies'
    steps; what they are learned for is counted in the game's own rewards, on fresh episodes, so no weight
    changes what is counted. docs/loss_weights_and_sharing.md says what that does.

    Raises:
        ValueError: loss weights are to be learned by a method, or for a learner, that has none to learn; a
            number is out of range, or a name is unknown.

    Source:
        Zahavy et al., A self-tuning actor-critic algorithm (STAC), arXiv 2002.12928, for one agent; its
        outer loss is an actor-critic's own.
    """

    no_loss_weights: ClassVar[str] = ""
    """Why a method cannot learn loss weights, as the end of a sentence that begins with its name."""

    learn_loss_weights: bool = False
    """With a critic: whether each agent's weights of the policy's, the value's and the entropy's term are
    learned above, too. (The policy's is then a learned scale of its learning rate; the value's needs 2 inner
    steps or more to show; an entropy bonus of 0 stays 0.)"""
    loss_weight_objective: Literal["own-return", "welfare"] = "own-return"
    """What learned loss weights are for: each agent's own reward, or the sum of all."""
    loss_weight_learning_rate: Scheduled = 0.03
    """Step size of learned loss weights, 0 or more; or a schedule of it. They are moved by the outer level's
    optimiser and estimator; where nothing else is learned above, by adam and unrolled."""
    loss_weight_range: float = 10.0
    """By which factor a learned weight may leave its setting, up or down, above 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            not (self.learn_loss_weights and self.no_loss_weights),
            f"{type(self).__name__} {self.no_loss_weights}: leave learn_loss_weights off.",
        )
        require(
            not self.learn_loss_weights or self.needs_episodes,
            f"Loss weights are learned where a critic's loss stands beside the policy's, and "
            f"{self.inner_learner} has none: choose actor-critic or ppo (--method.inner-learner), or leave "
            "learn_loss_weights off.",
        )
        require_name(self.loss_weight_objective, OBJECTIVES, "loss_weight_objective")
        most = self.loss_weight_range
        require(
            math.isfinite(most) and most > 1,
            f"loss_weight_range must be a finite number above 1, not {most}.",
        )
