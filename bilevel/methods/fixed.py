"""`fixed`: everybody keeps the same, fixed share: the reward-transfer rule."""

from __future__ import annotations

from dataclasses import dataclass

from bilevel.errors import require
from bilevel.methods.base import Method
from bilevel.methods.contract import Learner, Placement
from bilevel.methods.learner import PolicyLearner
from bilevel.outer.sharing import self_interest_sharing
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

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.self_interest <= 1, f"self_interest is from 0 to 1, not {self.self_interest:g}.")

    def build(self, game: Game, placement: Placement) -> Learner:
        """See `Method.build`."""
        return PolicyLearner(
            self, game, placement, self_interest_sharing(game.neighbours, self.self_interest)
        )
