"""`selfish`: everybody keeps its own reward, the usual independent learners."""

from __future__ import annotations

from dataclasses import dataclass

from bilevel.methods.base import Method
from bilevel.methods.contract import Learner, Placement
from bilevel.methods.held import policy_learner
from bilevel.outer.sharing import identity_sharing
from bilevel.outer.variables import FixedMatrix
from games.base import Game


@dataclass(frozen=True, kw_only=True)
class Selfish(Method):
    """Independent learners, each on its own reward: r~ = r.

    Needs: nothing of the others. Conserves the total. It is the baseline that social dilemmas defeat.

    Source:
        Naive learners in Foerster et al., LOLA, arXiv 1709.04326.
    """

    def build(self, game: Game, placement: Placement) -> Learner:
        """See `Method.build`."""
        return policy_learner(self, game, placement, FixedMatrix(identity_sharing(game.num_agents)))
