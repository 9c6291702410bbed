"""`tos`: learn to share, jointly with the policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from bilevel.errors import require_name
from bilevel.methods.base import require_number
from bilevel.methods.contract import Learner, Placement
from bilevel.methods.outer_learner import OuterLearner
from bilevel.methods.outer_method import OuterMethod
from bilevel.outer.objectives import COSTS, OBJECTIVES
from bilevel.outer.sharing import Sharing, check_own_share
from bilevel.outer.transfer import Transfer
from bilevel.outer.variables import LearnedMatrix
from games.base import Game


@dataclass(frozen=True, kw_only=True)
class ToS(OuterMethod):
    """Learned sharing: a static matrix T of softmax rows, moved by the meta-gradient of the outer objective.

    Inside, every agent i descends its own loss on the shared rewards r~_i = sum_j T[j, i] r_j. Outside, the
    logits of T ascend the objective of the policies that these inner steps produce, the derivative taken
    through the steps. Both levels move together: one outer step after every `inner_steps` inner ones; or, by
    `reset`, the policies start anew in each outer step (`OuterMethod` says which to take).

    Needs: the neighbours' rewards; for the outer step, everybody's policies (a central party, or agents who
    publish theirs). Conserves the total, whatever T is.

    Raises:
        ValueError: a setting is out of range or a name is unknown.

    Source:
        Yi et al., Learning to Share, arXiv 2112.08702: the end-to-end, static form.

    >>> import games
    >>> learner = ToS(own_share=0.8).build(games.make("prisoners-dilemma"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["share_0_0"]  # those under which the policies learned
    tensor([0.8000, 0.8000], dtype=torch.float64)
    >>> learner.transfer(state["phi"]).matrix[0, 0]  # those that come next: giving pays
    tensor([0.7661, 0.2339], dtype=torch.float64)
    """

    objective: Literal["welfare", "own-return"] = "welfare"
    """What the outer level maximises: the sum of all rewards, or, for each giver's row, its own reward."""
    own_share: float | None = None
    """The share kept at the start, above 0 and below 1; None: equal shares for all neighbours (docs/starts.md
    says what it does)."""
    cost: Literal["l1", "kl"] = "l1"
    """What giving is counted by: l1, the share given away; kl, minus the logarithm of the share kept."""
    cost_weight: float = 0.0
    """What a unit of that cost takes from the giver's side of the objective, 0 or more, in units of value."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_name(self.objective, OBJECTIVES, "objective")
        require_name(self.cost, COSTS, "cost")
        require_number("cost_weight", self.cost_weight, least=0)
        check_own_share(self.own_share)

    def build(self, game: Game, placement: Placement) -> Learner:
        """See `Method.build`."""
        return OuterLearner(
            self,
            game,
            placement,
            LearnedMatrix(Sharing(game.neighbours, self.own_share)),
            objective=OBJECTIVES[self.objective],
            costs=self._costs,
        )

    def _costs(self, transfer: Transfer, data: Any) -> Tensor:
        assert transfer.matrix is not None
        return self.cost_weight * COSTS[self.cost](transfer.matrix)
