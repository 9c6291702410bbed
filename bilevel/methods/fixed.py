"""`fixed`: everybody keeps the same share, fixed or on a schedule: the reward-transfer rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bilevel.methods.base import Method
from bilevel.methods.contract import Learner, Placement
from bilevel.methods.held import policy_learner
from bilevel.outer.sharing import self_interest_sharing
from bilevel.outer.variables import FixedMatrix
from bilevel.ranges import Range
from bilevel.schedule import Scheduled
from games.base import Game


@dataclass(frozen=True, kw_only=True)
class Fixed(Method):
    """Keep the share s and split the rest evenly among the neighbours: T_ii = s, T_ij = (1 - s) / (k_i - 1).

    k_i counts i's neighbours, itself included.

    Needs: the neighbours' rewards. Conserves the total.

    Raises:
        ValueError: a setting is out of range.

    Source:
        Willis et al., Resolving social dilemmas with minimal reward transfer, arXiv 2310.12928.
    """

    ranges: ClassVar[Mapping[str, Range]] = {**Method.ranges, "self_interest": Range(least=0, most=1)}

    self_interest: Scheduled = 0.8
    """The share s that everybody keeps, from 0 to 1; or a schedule of it, as 0:0.9, 100:0.5. The default is
    LToS's start (arXiv 2112.08702)."""

    def build(self, game: Game, placement: Placement) -> Learner:
        """See `Method.build`."""
        course, graph = self.course, game.neighbours

        def matrix(outer_step: int) -> Tensor:
            return self_interest_sharing(graph, course.value("self_interest", outer_step))

        variable = FixedMatrix(matrix(0))
        return policy_learner(self, game, placement, variable, schedule=matrix)
