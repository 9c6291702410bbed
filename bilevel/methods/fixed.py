"""`fixed`: everybody keeps the same share, fixed or on a schedule: the reward-transfer rule."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bilevel.errors import require
from bilevel.methods.base import Method
from bilevel.methods.contract import Learner, Placement
from bilevel.methods.learner import PolicyLearner
from bilevel.outer.sharing import self_interest_sharing
from bilevel.outer.variables import FixedMatrix
from bilevel.schedule import LinearSchedule
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

    self_interest: float = 0.8
    """The share s that everybody keeps, from 0 to 1. The default is LToS's start (arXiv 2112.08702)."""
    self_interest_end: float | None = None
    """The share kept at the end of its schedule, from 0 to 1; None: the same all along."""
    self_interest_steps: int = 0
    """Outer steps over which the share goes from its start to its end, in a straight line; with an end, 1 or
    more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("self_interest", "self_interest_end"):
            value = getattr(self, name)
            require(value is None or 0 <= value <= 1, f"{name} is from 0 to 1, not {value}.")
        moves = self.self_interest_end is not None
        require(
            self.self_interest_steps >= 1 if moves else self.self_interest_steps == 0,
            "A share that moves needs both its end, self_interest_end, and the outer steps of the way, "
            f"self_interest_steps, 1 or more; they are {self.self_interest_end} and "
            f"{self.self_interest_steps}.",
        )

    @property
    def self_interest_schedule(self) -> LinearSchedule:
        """The share kept over outer steps."""
        end = self.self_interest if self.self_interest_end is None else self.self_interest_end
        return LinearSchedule(self.self_interest, end, self.self_interest_steps)

    def build(self, game: Game, placement: Placement) -> Learner:
        """See `Method.build`."""
        schedule, graph = self.self_interest_schedule, game.neighbours

        def matrix(outer_step: int) -> Tensor:
            return self_interest_sharing(graph, schedule(outer_step))

        variable = FixedMatrix(matrix(0))
        return PolicyLearner(self, game, placement, variable, schedule=matrix)
