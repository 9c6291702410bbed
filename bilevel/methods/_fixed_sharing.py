"""Methods of fixed rules: `fixed`, `selfish`, `prosocial` and `spatial-discount`."""

from __future__ import annotations

import functools
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
    CurrentWeights,
    DifferenceRewards,
    FixedEdges,
    FixedMatrix,
    OuterVariable,
    SplitAmongCurrent,
    check_changes,
    check_spatial_discount,
    discounted_by_distance,
    edges_of,
    mean_of_neighbors,
    neighborhood_mean,
    self_interest_sharing,
    shares_kept,
    spatial_discount,
)
from games.core import Game, require


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
        ValueError: as for `PolicyLearner`.

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
    """Sharing by the reward-transfer rule, as a matrix, or on the edges of a sparse graph."""
    if game.edges is None:
        return FixedMatrix(self_interest_sharing(game.neighbors, self_interest))
    edges = edges_of(game)
    return FixedEdges(edges, shares_kept(edges, self_interest))


@dataclass(frozen=True, kw_only=True)
class Fixed(LossWeightMethod):
    """Reward transfer: keep a share s, split the rest among neighbors; T_ii = s, T_ij = (1 - s) / (k_i - 1).

    k_i counts i's neighbors, itself included: those on the current graph with `follow_graph`, otherwise all
    that the game's graph may have.

    Needs: the neighbors' rewards. Conserves the total.

    Raises:
        ValueError: a setting is out of range; at build, `follow_graph` is on and the graph does not change,
            or values are exact.

    Source:
        Willis et al., Resolving social dilemmas with minimal reward transfer, arXiv 2310.12928.

    >>> import games
    >>> from bilevel.methods import Placement
    >>> learner = Fixed(self_interest=0.6).build(games.make("prisoners-dilemma"), Placement())
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> [round(float(metrics[f"share_0_{receiver}"]), 3) for receiver in (0, 1)]
    [0.6, 0.4]
    """

    self_interest: Annotated[Scheduled, Range(min=0, max=1)] = 0.8
    """Share s that each agent keeps, from 0 to 1; or a schedule, such as 0:0.9, 100:0.5. The default is
    LToS's initial own share (arXiv 2112.08702)."""
    follow_graph: bool = False
    """In games whose sharing graph changes from step to step, share with the neighbors in that step."""

    def build(self, game: Game, placement: Placement) -> Learner:
        if self.follow_graph:
            check_changes(game)

        def variable(outer_step: int) -> FixedMatrix | FixedEdges | SplitAmongCurrent:
            kept = self.schedule.value("self_interest", outer_step)
            return (
                SplitAmongCurrent(game.num_agents, kept) if self.follow_graph else reward_transfer(game, kept)
            )

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
    """The common reward: the mean or sum over agents, the mean over a neighborhood, or difference rewards.

    mean: r~_j = sum_i r_i / N, which conserves the total: each agent gives (N - 1) / N of everything away.
    sum: r~_j = sum_i r_i, N times as large, so that learning rate and entropy bonus need not grow with N.
    neighborhood: the mean over the agents that may give to j on the sharing graph, itself included; conserves
    the total if all neighborhoods have the same size. difference: the sum of all rewards minus what it would
    be if j had taken the default action, a reference that shares no reward and requires
    `Game.difference_rewards`; it has the same expected policy gradient as the sum, with less variance. Only
    neighborhood uses the graph: with `follow_graph` the current one.

    Needs: all agents' rewards (neighborhood: the neighbors'; difference: a model of the game). With many
    agents gradients of the mean and of the sum have high variance.

    Raises:
        ValueError: a default action without difference rewards, or `follow_graph` without neighborhood; at
            build, the game has no difference rewards, or no such action, or `follow_graph` is on and the
            graph does not change, or values are exact.

    Source:
        Peysakhovich and Lerer, Prosocial learning agents solve generalized stag hunts, arXiv 1709.02865.
        Difference rewards: Wolpert and Tumer, Optimal payoff functions for members of collectives, Advances
        in Complex Systems 4(2-3), 2001; COMA has a baseline of this kind (Foerster et al., arXiv 1705.08926).

    >>> import games
    >>> from bilevel.methods import Placement
    >>> learner = Prosocial().build(games.make("prisoners-dilemma"), Placement())
    >>> state = learner.init(seed=0)
    >>> for _ in range(50):
    ...     state, metrics = learner.update(state)
    >>> bool(metrics["cooperation"] > 0.9)
    True
    """

    common_reward: Literal["mean", "sum", "neighborhood", "difference"] = "mean"
    """Reward of every agent: the mean of all agents' rewards, their sum, the mean over its neighborhood, or
    its difference reward."""
    default_action: int | None = None
    """Index of the default action of difference rewards; None: the last action, which is defection in aid and
    public goods."""
    follow_graph: bool = False
    """In games whose sharing graph changes from step to step, take the mean over the neighborhood in that
    step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            not self.follow_graph or self.common_reward == "neighborhood",
            f"Of the common rewards only that of the neighborhood follows a graph, and common_reward is "
            f"{self.common_reward}: choose common_reward neighborhood, or leave follow_graph off.",
        )
        require(
            self.default_action is None or self.common_reward == "difference",
            f"The default action is of difference rewards, and common_reward is {self.common_reward}: choose "
            "common_reward difference first.",
        )

    def build(self, game: Game, placement: Placement) -> Learner:
        return policy_learner(self, game, placement, self._variable(game))

    def _variable(self, game: Game) -> OuterVariable:
        agents = game.num_agents
        if self.follow_graph:
            check_changes(game)
            return CurrentWeights(agents, mean_of_neighbors)
        if self.common_reward == "neighborhood":
            return neighborhood_mean(edges_of(game))
        if self.common_reward == "difference":
            chosen = self.default_action
            return DifferenceRewards(game, game.num_actions - 1 if chosen is None else chosen)
        if self.common_reward == "mean" and game.edges is None:
            everybody = torch.ones(agents, agents, dtype=torch.bool)
            return FixedMatrix(self_interest_sharing(everybody, 1 / agents))
        return CommonReward(agents, self.common_reward)


@dataclass(frozen=True, kw_only=True)
class SpatialDiscount(LossWeightMethod):
    """Spatial discount: other agents' rewards by distance, r~_i = sum_j alpha^d(i, j) r_j.

    d(i, j) is the number of edges between i and j on the sharing graph (on a directed one, from j to i).
    alpha = 0 is selfish, and alpha = 1 the sum over all connected agents. If the game defines no graph, all
    agents are neighbors: r~_i = r_i + alpha sum_(j != i) r_j. Time and memory grow with the number of pairs
    within the largest distance; with `follow_graph`, distances are those of each step's graph, and they grow
    with the number of all pairs.

    Needs: rewards of the agents within the largest distance. Not conserved: a reward counts in full for its
    agent, and again, discounted, for each agent within the largest distance, whereas shares of learned
    sharing sum to 1.

    Raises:
        ValueError: a setting is out of range; at build, there are more than 20 million pairs, or
            `follow_graph` is on and the graph does not change, or values are exact.

    Source:
        Chu, Chinchali and Katti, Multi-agent reinforcement learning for networked system control, ICLR 2020,
        arXiv 2004.01339.

    >>> import games
    >>> from bilevel.methods import Placement
    >>> learner = SpatialDiscount(discount=0.5).build(games.make("aid", agents=4), Placement())
    >>> learner.transfer(learner.init(seed=0)["phi"]).matrix[0]
    tensor([[1.0000, 0.5000, 0.2500, 0.5000],
            [0.5000, 1.0000, 0.5000, 0.2500],
            [0.2500, 0.5000, 1.0000, 0.5000],
            [0.5000, 0.2500, 0.5000, 1.0000]], dtype=torch.float64)
    """

    discount: float = 0.5
    """Spatial discount alpha, from 0 to 1."""
    max_distance: int | None = None
    """Largest distance d, 0 or more; None: the largest with alpha^d of at least 0.001."""
    follow_graph: bool = False
    """In games whose sharing graph changes from step to step, measure distances on the graph of that step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_spatial_discount(self.discount, self.max_distance)

    def build(self, game: Game, placement: Placement) -> Learner:
        variable: OuterVariable
        if self.follow_graph:
            check_changes(game)
            rule = functools.partial(
                discounted_by_distance, discount=self.discount, max_distance=self.max_distance
            )
            variable = CurrentWeights(game.num_agents, rule)
        else:
            variable = spatial_discount(edges_of(game), self.discount, self.max_distance)
        return policy_learner(self, game, placement, variable)
