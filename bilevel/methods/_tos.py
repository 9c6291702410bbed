"""`tos`: learned sharing, jointly with the policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from torch import Tensor

from bilevel.core import Range, Scheduled
from bilevel.methods._contract import Learner, Placement
from bilevel.methods._method import OuterMethod
from bilevel.methods._outer_learner import Cost, OuterLearner
from bilevel.methods._settings import ObjectiveName, SettingsGroup, Whole
from bilevel.nn import ActivationName
from bilevel.sharing import (
    COSTS,
    OBJECTIVES,
    EdgeNetwork,
    LearnedEdges,
    LearnedMatrix,
    OuterVariable,
    Sharing,
    SharingNetwork,
    check_own_share,
    edges_of,
    per_step,
)
from games.core import Game, require


@dataclass(frozen=True, kw_only=True)
class StaticSharing(SettingsGroup, part="sharing", variant="static"):
    """One sharing matrix for all steps.

    >>> import games
    >>> from bilevel.methods import Placement, ToS
    >>> learner = ToS(sharing=StaticSharing()).build(games.make("escape-room"), Placement(seeds=4))
    >>> learner.init(seed=0)["phi"].shape  # logits, [seed, giver, receiver]
    torch.Size([4, 2, 2])
    """


@dataclass(frozen=True, kw_only=True)
class StateDependentSharing(SettingsGroup, part="sharing", variant="state-dependent"):
    """Shares by a network of the giver's observation; needs episodes, so exact values are refused.

    >>> import games
    >>> from bilevel.methods import Placement, ToS
    >>> method = ToS(sharing=StateDependentSharing(hidden_size=(8,)))
    >>> learner = method.build(games.make("escape-room"), Placement(seeds=4))
    >>> learner.init(seed=0)["phi"].shape  # parameters of the networks, [seed, giver, parameter]
    torch.Size([4, 2, 82])
    """

    hidden_size: tuple[int, ...] = (32,)
    """Units of each hidden layer of a giver's network."""
    activation: ActivationName = "tanh"
    """Activation between the layers of a giver's network."""
    interval: Whole = 1
    """Decision interval: the steps for which shares stay fixed, 1 or more."""


@dataclass(frozen=True, kw_only=True)
class EdgeNetworkSharing(StateDependentSharing, part="sharing", variant="edge-network"):
    """Shares by one network for all edges, of the observations of both agents, for any number of agents."""


@dataclass(frozen=True, kw_only=True)
class ToS(OuterMethod):
    """Learned sharing: a matrix T of softmax rows, updated by the hypergradient of the outer objective.

    Inner loop: every agent i descends its own loss on the shared rewards r~_i = sum_j T[j, i] r_j. T is
    static, or, with state-dependent `sharing`, row j in each step is a network's function of agent j's
    observation, fixed for `sharing.interval` steps. Outer loop: the logits of T, or the networks, ascend the
    objective of the policies after these inner steps, differentiated through the steps. There is one outer
    step after every `inner.steps` inner ones; with `outer.reset`, policies are reinitialized in each outer
    step (`OuterLoop` compares the two).

    Needs: the neighbors' rewards; for the outer step, all agents' policies (a central party, or agents who
    publish theirs). Conserves the total, whatever T is.

    Raises:
        ValueError: a setting is out of range; at build, the sharing network or the estimator does not suit
            the game.

    Source:
        Yi et al., Learning to Share in Networked Multi-Agent Reinforcement Learning, NeurIPS 2022, arXiv
        2112.08702: the end-to-end forms.

    >>> import games
    >>> from bilevel.methods import Placement
    >>> learner = ToS(own_share=0.8).build(games.make("prisoners-dilemma"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["share_0_0"]  # during the inner step
    tensor([0.8000, 0.8000], dtype=torch.float64)
    >>> learner.transfer(state["phi"]).matrix[0, 0]  # after the outer step: giving pays
    tensor([0.7661, 0.2339], dtype=torch.float64)
    """

    sharing: StaticSharing | StateDependentSharing | EdgeNetworkSharing = StaticSharing()
    """Form of the shares."""
    objective: ObjectiveName = "welfare"
    """Outer objective: welfare (the sum of returns), own-return (each giver's own return, for its row of
    shares), maximin, nash-welfare, gini-welfare, or a name registered with `register_objective`."""
    own_share: float | None = None
    """Initial own share, above 0 and below 1; None: equal shares for all neighbors
    (docs/studies/initial-sharing.md describes the effect)."""
    cost: Literal["l1", "kl"] = "l1"
    """Measure of giving: l1, the share given away; kl, minus the logarithm of the own share."""
    cost_weight: Annotated[Scheduled, Range(min=0)] = 0.0
    """Weight of the cost of giving in the giver's term of the objective, 0 or more, in units of value; or a
    schedule, such as 0:0, 200:0.5."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_own_share(self.own_share)

    def build(self, game: Game, placement: Placement) -> Learner:
        variable, objective = self._variable(game), OBJECTIVES.find(self.objective)
        require(
            not (objective.per_agent and isinstance(variable, EdgeNetwork)),
            f"All givers share the edge network, so they cannot each ascend their own objective, as with "
            f"{self.objective}: choose welfare or another function of all returns.",
        )
        cost = Cost(self._costs, "cost_weight")
        return OuterLearner(self, game, placement, variable, objective=objective, cost=cost)

    def _variable(self, game: Game) -> OuterVariable:
        sharing = self.sharing
        if isinstance(sharing, StaticSharing):
            if game.edges is not None:
                return LearnedEdges(edges_of(game), self.own_share)
            return LearnedMatrix(Sharing(game.neighbors, self.own_share))
        require(
            sharing.interval == 1 or not game.takes_gifts,
            f"{type(game).__name__} shows agents what they were given in the last step, so shares in it "
            "cannot stay fixed for several steps: leave interval at 1.",
        )
        network = game.observation_space, sharing.hidden_size, sharing.activation, sharing.interval
        if isinstance(sharing, EdgeNetworkSharing):
            return EdgeNetwork(edges_of(game), self.own_share, *network)
        return SharingNetwork(Sharing(game.neighbors, self.own_share), *network)

    def _costs(self, transfer: Any, data: Any) -> Tensor:
        costs = COSTS[self.cost](transfer.own_shares(data))
        return costs if costs.ndim == 2 else per_step(costs, data)
