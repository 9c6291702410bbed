"""`prosocial`: everybody learns from the common reward."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bilevel.methods.base import Method
from bilevel.methods.contract import Learner, Placement
from bilevel.methods.held import policy_learner
from bilevel.outer.sharing import self_interest_sharing
from bilevel.outer.variables import FixedMatrix
from games.base import Game


@dataclass(frozen=True, kw_only=True)
class Prosocial(Method):
    """The common reward: r~_j = sum_i r_i / N, whoever are neighbours.

    Needs: everybody's reward. Conserves the total. It is what full cooperation would look like if nobody
    minded giving (N - 1) / N of everything away; with many agents its gradients grow noisy.

    Source:
        Peysakhovich and Lerer, Prosocial learning agents solve generalized stag hunts, arXiv 1709.02865.
    """

    def build(self, game: Game, placement: Placement) -> Learner:
        """See `Method.build`."""
        agents = game.num_agents
        everybody = torch.ones(agents, agents, dtype=torch.bool)
        common = FixedMatrix(self_interest_sharing(everybody, 1 / agents))
        return policy_learner(self, game, placement, common)
