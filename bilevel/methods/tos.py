"""`tos`: learn to share, jointly with the policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bilevel.errors import require
from bilevel.methods.base import Method, OptimiserName, Placement
from bilevel.methods.learner import Learner, SharingLearner
from bilevel.optimisers import make_optimiser
from bilevel.outer.objectives import OBJECTIVES
from bilevel.outer.sharing import Sharing
from games.base import Game


@dataclass(frozen=True, kw_only=True)
class ToS(Method):
    """Learned sharing: a static matrix T of softmax rows, moved by the meta-gradient of the outer objective.

    Inside, every agent i descends its own loss on the shared rewards r~_i = sum_j T[j, i] r_j. Outside, the
    logits of T ascend the objective of the policies that these inner steps produce, the derivative taken
    through the steps. Both levels move together: one outer step after every `inner_steps` inner ones.

    Needs: the neighbours' rewards; for the outer step, everybody's policies (a central party, or agents who
    publish theirs). Conserves the total, whatever T is.

    Source:
        Yi et al., Learning to Share, arXiv 2112.08702: the end-to-end, static form.
    """

    outer_optimiser: OptimiserName = "adam"
    """How the sharing logits move."""
    outer_learning_rate: float = 0.1
    """Step size of the sharing logits, above 0."""
    objective: Literal["welfare", "own-return"] = "welfare"
    """What the outer level maximises: the sum of all rewards, or, for each giver's row, its own reward."""
    own_share: float | None = None
    """The share kept at the start, above 0 and below 1; None: equal shares for all neighbours (docs/starts.md
    says what it does)."""
    cost: Literal["l1", "kl"] = "l1"
    """What giving is counted by: l1, the share given away; kl, minus the logarithm of the share kept."""
    cost_weight: float = 0.0
    """What one unit of that cost takes from the giver's side of the objective, in reward units, 0 or more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.outer_learning_rate > 0, f"outer_learning_rate is above 0, not {self.outer_learning_rate:g}."
        )
        require(self.cost_weight >= 0, f"cost_weight is 0 or more, not {self.cost_weight:g}.")

    def build(self, game: Game, placement: Placement) -> Learner:
        """See `Method.build`."""
        return SharingLearner(
            self,
            game,
            placement,
            Sharing(game.neighbours, self.own_share),
            objective=OBJECTIVES[self.objective],
            cost=(self.cost, self.cost_weight),
            outer_optimiser=make_optimiser(self.outer_optimiser, learning_rate=self.outer_learning_rate),
        )
