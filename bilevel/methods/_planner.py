"""`planner`: somebody above the agents learns to pay and to tax them.

A planner above the agents, who pays and taxes them within a budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from gymnasium import spaces
from torch import Tensor

from bilevel.core import Range, Scheduled
from bilevel.methods._contract import Learner, Placement
from bilevel.methods._inner_settings import PPO, ActorCritic, PolicyGradient
from bilevel.methods._method import OuterMethod
from bilevel.methods._outer_learner import OuterLearner
from bilevel.methods._outer_settings import OuterLoop
from bilevel.nn import ActivationName, Perceptron
from bilevel.sharing import (
    OBJECTIVES,
    ObservationEncoder,
    Report,
    Reporting,
    TrajectoryLike,
    first_parameters,
    no_gifts,
    per_episode,
)
from games.core import Game, numbered_actions, require


@dataclass(frozen=True, eq=False)
class Planner:
    """A central network of all observations and actions pays agent j budget / N * tanh(output_j) in a step.

    So all payments and taxes of a step together are at most the budget, in absolute value; and if they are
    balanced (each less their mean), they are still, and add up to 0.

    Raises:
        ValueError: a layer has no unit, or the budget is not above 0.

    Source:
        Baumann, Graepel and Shawe-Taylor, Adaptive mechanism design, arXiv 1806.04067; Yang et al., Adaptive
        incentive design, arXiv 2112.10859.

    >>> Planner(spaces.Discrete(5), agents=2, actions=2).initial(seed=0, seeds=3).shape
    torch.Size([3, 1, 546])
    """

    space: spaces.Box | spaces.Discrete
    """One agent's observations."""
    agents: int
    """How many there are."""
    actions: int
    """How many each has."""
    budget: float = 2.0
    """The most that payments and taxes of a step add up to, above 0, in reward units."""
    balanced: bool = False
    """Whether what is paid is taken from the others: nothing is created."""
    hidden: tuple[int, ...] = (32,)
    """Units of each hidden layer."""
    activation: ActivationName = "tanh"
    """Between layers."""

    def __post_init__(self) -> None:
        require(self.budget > 0, f"A planner's budget must be above 0, not {self.budget:g}.")
        self.network.num_parameters  # noqa: B018 - refuses bad layers

    @property
    def exact(self) -> bool:
        """It does not: it depends on what is seen and done."""
        return False

    @property
    def encoder(self) -> ObservationEncoder:
        """What the network looks at."""
        return ObservationEncoder(self.space, self.agents, self.actions)

    @property
    def network(self) -> Perceptron:
        """What everybody sees and does -> a number for each agent."""
        inputs = self.agents * (self.encoder.features + self.actions)
        return Perceptron((inputs, *self.hidden, self.agents), self.activation)

    def initial(self, seed: int, seeds: int) -> Tensor:
        """First parameters, float64 [seed, 1, parameter]: little is paid at first."""
        return first_parameters(self.network, seed, seeds, 1)

    def transfer(self, phi: Tensor) -> PlannerPayments:
        """Payments by this network."""
        return PlannerPayments(self, phi)


@dataclass(frozen=True, eq=False)
class PlannerPayments:
    """Payments with given parameters: r~_j = r_j + payment_j."""

    variable: Planner
    phi: Tensor
    """[seed, 1, parameter]."""

    @property
    def matrix(self) -> None:
        """Payments are no shares of a reward."""

    def payments(self, trajectory: TrajectoryLike) -> Tensor:
        """What each agent gets or, below 0, pays: [seed, agent, time, episode]; 0 after the end.

        Agents that have left get and pay nothing; balanced payments are balanced among those present.
        """
        planner, acting = self.variable, trajectory.acting
        acted = planner.encoder.done(trajectory, self.phi)
        inputs = torch.cat((planner.encoder.seen(trajectory, self.phi), acted), -1).movedim(1, -2).flatten(-2)
        out = planner.network(self.phi[:, 0], inputs.flatten(1, 2)).unflatten(1, inputs.shape[1:3])
        paid = planner.budget / planner.agents * out.tanh().movedim(-1, 1)
        if planner.balanced and trajectory.present is None:
            paid = paid - paid.mean(1, keepdim=True)
        elif planner.balanced:
            here = acting.sum(1, keepdim=True).clamp(min=1)
            paid = paid - (paid * acting).sum(1, keepdim=True) / here
        payments: Tensor = paid * acting
        return payments

    def rewards(self, trajectory: TrajectoryLike) -> Tensor:
        """See `Transfer.rewards`."""
        return trajectory.rewards + self.payments(trajectory)

    def gifts(self, trajectory: TrajectoryLike) -> Tensor:
        """Agents give each other nothing: zeros."""
        return no_gifts(trajectory)

    def report(self, trajectory: TrajectoryLike | None) -> Report:
        """What the planner moves in an episode, and what each agent gets or pays, in reward units."""
        assert trajectory is not None
        payments = self.payments(trajectory)
        paid = per_episode(payments, trajectory)
        agents = range(self.variable.agents)
        return {
            "moved": per_episode(payments.abs(), trajectory).sum(-1),
            **{f"paid_{agent}": paid[:, agent] for agent in agents},
        }

    @property
    def reporting(self) -> Reporting:
        """Payments add up over an episode."""
        return Reporting("episodes")


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
    >>> method = CentralPlanner(inner=PolicyGradient(exact=False, entropy_coef=0.1))
    >>> learner = method.build(games.make("escape-room"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["moved"].shape
    torch.Size([2])
    """

    inner: PolicyGradient | ActorCritic | PPO = PolicyGradient(exact=False)
    """The policies' learner; payments depend on observations and actions: exact values are refused."""
    outer: OuterLoop = OuterLoop(learning_rate=0.01)
    """The planner's optimizer and hypergradient."""
    budget: Annotated[float, Range(above=0)] = 4.0
    """The most that payments and taxes of a step add up to, above 0, in reward units."""
    balanced: bool = False
    """Whether what is paid to some is taken from the others."""
    planner_hidden_size: tuple[int, ...] = (32,)
    """Units of each hidden layer of the planner's network."""
    planner_activation: ActivationName = "tanh"
    """Between the layers of the planner's network."""
    cost_weight: Annotated[Scheduled, Range(least=0)] = 0.0
    """What a unit moved takes from the objective, 0 or more; or a schedule of it, as 0:0, 200:0.5."""

    def build(self, game: Game, placement: Placement) -> Learner:
        """See `Method.build`."""
        variable = Planner(
            game.observation_space,
            game.num_agents,
            numbered_actions(game, "The planner, which sees what was done,"),
            self.budget,
            self.balanced,
            self.planner_hidden_size,
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

    def _costs(self, transfer: PlannerPayments, data: Any) -> Tensor:
        return per_episode(transfer.payments(data).abs(), data)
