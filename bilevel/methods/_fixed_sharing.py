"""Methods of fixed sharing: `fixed`, the reward-transfer rule; `selfish`; `prosocial`, the common reward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from bilevel.core import Range, Scheduled
from bilevel.methods._contract import Learner, Placement
from bilevel.methods._learner import PolicyLearner
from bilevel.methods._method import LossWeightMethod
from bilevel.methods._outer_learner import OuterLearner
from bilevel.sharing import (
    CommonReward,
    FixedEdges,
    FixedMatrix,
    OuterVariable,
    edges_of,
    self_interest_sharing,
    shares_kept,
)
from games.core import Game


def policy_learner(
    method: LossWeightMethod,
    game: Game,
    placement: Placement,
    variable: OuterVariable,
    *,
    fixed: Callable[[int], Tensor] | None = None,
) -> PolicyLearner:
    """Build a learner of policies under a fixed outer variable, and of loss weights if configured.

    Args:
        method, game, placement, variable, fixed: as for `PolicyLearner`.

    Raises:
        ValueError: as `PolicyLearner`.

    >>> import games
    >>> from bilevel.methods import ActorCritic, LearnedLossWeights, Placement, Selfish
    >>> method = Selfish(inner=ActorCritic(), loss_weights=LearnedLossWeights())
    >>> learner = method.build(games.make("escape-room"), Placement(seeds=3))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["value_weight_0"]  # during the inner step
    tensor([0.5000, 0.5000, 0.5000], dtype=torch.float64)
    """
    if method.loss_weights is not None:
        return OuterLearner(method, game, placement, variable, objective=None, fixed=fixed)
    return PolicyLearner(method, game, placement, variable, fixed=fixed)


def reward_transfer(game: Game, self_interest: float) -> FixedMatrix | FixedEdges:
    """Sharing by the reward-transfer rule, on the game's matrix, or on its edges if it states them."""
    if game.edges is None:
        return FixedMatrix(self_interest_sharing(game.neighbors, self_interest))
    edges = edges_of(game)
    return FixedEdges(edges, shares_kept(edges, self_interest))


@dataclass(frozen=True, kw_only=True)
class Fixed(LossWeightMethod):
    """Reward transfer: keep a share s, split the rest among neighbors; T_ii = s, T_ij = (1 - s) / (k_i - 1).

    k_i counts i's neighbors, itself included.

    Needs: the neighbors' rewards. Conserves the total.

    Raises:
        ValueError: a setting is out of range.

    Source:
        Willis et al., Resolving social dilemmas with minimal reward transfer, arXiv 2310.12928.

    >>> import games
    >>> from bilevel.methods import Placement
    >>> learner = Fixed(self_interest=0.6).build(games.make("prisoners-dilemma"), Placement())
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> [round(float(metrics[f"share_0_{receiver}"]), 3) for receiver in (0, 1)]
    [0.6, 0.4]
    """

    self_interest: Annotated[Scheduled, Range(least=0, most=1)] = 0.8
    """Share s that each agent keeps, from 0 to 1; or a schedule of it, as 0:0.9, 100:0.5. The default is
    LToS's initial own share (arXiv 2112.08702)."""

    def build(self, game: Game, placement: Placement) -> Learner:
        def variable(outer_step: int) -> FixedMatrix | FixedEdges:
            return reward_transfer(game, self.schedule.value("self_interest", outer_step))

        def shares(outer_step: int) -> Tensor:
            return variable(outer_step).initial(seed=0, seeds=1)[0]

        return policy_learner(self, game, placement, variable(0), fixed=shares)


@dataclass(frozen=True, kw_only=True)
class Selfish(LossWeightMethod):
    """Independent learners, each on its own reward: r~ = r.

    Needs: nothing of the other agents. Conserves the total. The baseline that fails in social dilemmas.

    Source:
        Naive learners in Foerster et al., LOLA, arXiv 1709.04326.

    >>> import games
    >>> from bilevel.methods import Placement
    >>> learner = Selfish().build(games.make("prisoners-dilemma"), Placement())
    >>> state = learner.init(seed=0)
    >>> for _ in range(50):
    ...     state, metrics = learner.update(state)
    >>> bool(metrics["cooperation"] < 0.1)
    True
    """

    def build(self, game: Game, placement: Placement) -> Learner:
        return policy_learner(self, game, placement, reward_transfer(game, 1.0))


@dataclass(frozen=True, kw_only=True)
class Prosocial(LossWeightMethod):
    """The common reward, the mean or the sum over agents, regardless of the neighbor graph.

    r~_j = sum_i r_i / N, which conserves the total: each agent gives (N - 1) / N of everything away. Or
    r~_j = sum_i r_i, N times as large, so that learning rate and entropy bonus need not grow with N.

    Needs: all agents' rewards. With many agents gradients have high variance.

    Source:
        Peysakhovich and Lerer, Prosocial learning agents solve generalized stag hunts, arXiv 1709.02865.

    >>> import games
    >>> from bilevel.methods import Placement
    >>> learner = Prosocial().build(games.make("prisoners-dilemma"), Placement())
    >>> state = learner.init(seed=0)
    >>> for _ in range(50):
    ...     state, metrics = learner.update(state)
    >>> bool(metrics["cooperation"] > 0.9)
    True
    """

    common_reward: Literal["mean", "sum"] = "mean"
    """Reward of every agent: the mean of all agents' rewards, or their sum."""

    def build(self, game: Game, placement: Placement) -> Learner:
        agents = game.num_agents
        if self.common_reward == "mean" and game.edges is None:
            everybody = torch.ones(agents, agents, dtype=torch.bool)
            return policy_learner(
                self, game, placement, FixedMatrix(self_interest_sharing(everybody, 1 / agents))
            )
        return policy_learner(self, game, placement, CommonReward(agents, self.common_reward))
