"""`planner`: somebody above the agents learns to pay and to tax them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from bilevel.methods.base import require_number
from bilevel.methods.contract import Learner, Placement
from bilevel.methods.outer_learner import OuterLearner
from bilevel.methods.outer_method import OuterMethod
from bilevel.networks import ActivationName
from bilevel.outer.giving import per_episode
from bilevel.outer.objectives import OBJECTIVES
from bilevel.outer.planner import Planned, Planner
from bilevel.ranges import Range
from bilevel.schedule import Scheduled
from games.base import Game, numbered_actions


@dataclass(frozen=True, kw_only=True)
class CentralPlanner(OuterMethod):
    """Learned taxes and payments: a central network adds rewards within a budget, for the sake of all.

    Inside, every agent j descends its loss on r~_j = r_j + payment_j, a network's function of what everybody
    sees and does. Outside, the network ascends the sum of all extrinsic returns under the policies that these
    inner steps produce, less what it moved, if that costs anything.

    Needs: a central party that sees everything. Conserves nothing; with `balanced` the payments add up to 0
    in each step, and the total is conserved.

    Raises:
        ValueError: a setting is out of range or a name is unknown.

    Source:
        Baumann, Graepel and Shawe-Taylor, Adaptive mechanism design, arXiv 1806.04067; Yang et al., Adaptive
        incentive design with multi-agent meta-gradient reinforcement learning, arXiv 2112.10859.

    >>> import games
    >>> learner = CentralPlanner(entropy_end=0.1).build(games.make("escape-room"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["moved"].shape
    torch.Size([2])
    """

    ranges: ClassVar[Mapping[str, Range]] = {**OuterMethod.ranges, "cost_weight": Range(least=0)}

    exact: bool = False
    """Payments depend on what is seen and done, so episodes are played: exact values are refused."""
    outer_learning_rate: Scheduled = 0.01
    """Step size of the planner's network, above 0."""
    budget: float = 4.0
    """The most that payments and taxes of a step add up to, above 0, in reward units."""
    balanced: bool = False
    """Whether what is paid to some is taken from the others."""
    planner_hidden: tuple[int, ...] = (32,)
    """Units of each hidden layer of the planner's network."""
    planner_activation: ActivationName = "tanh"
    """Between the layers of the planner's network."""
    cost_weight: Scheduled = 0.0
    """What a unit moved takes from the objective, 0 or more; or a schedule of it, as 0:0, 200:0.5."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("budget", self.budget, above=0)

    def build(self, game: Game, placement: Placement) -> Learner:
        """See `Method.build`."""
        variable = Planner(
            game.observation_space,
            game.num_agents,
            numbered_actions(game, "The planner, which sees what was done,"),
            self.budget,
            self.balanced,
            self.planner_hidden,
            self.planner_activation,
        )
        return OuterLearner(
            self,
            game,
            placement,
            variable,
            objective=OBJECTIVES["welfare"],
            costs=self._costs,
            cost_weight="cost_weight",
        )

    def _costs(self, transfer: Planned, data: Any) -> Tensor:
        return per_episode(transfer.payments(data).abs(), data)
