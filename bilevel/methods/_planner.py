"""`planner`: learned payments and taxes of a central planner within a budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from gymnasium import spaces
from torch import Tensor

from bilevel.core import Range, Scheduled
from bilevel.methods._contract import Learner, Placement
from bilevel.methods._inner_settings import PPO, ActorCritic, PolicyGradient, VTrace
from bilevel.methods._method import OuterMethod
from bilevel.methods._outer_learner import Cost, OuterLearner
from bilevel.methods._outer_settings import OuterLoop
from bilevel.nn import ActivationName, Perceptron
from bilevel.sharing import (
    OBJECTIVES,
    ObservationEncoder,
    Report,
    Reporting,
    Trajectory,
    Transfer,
    agent_report,
    first_parameters,
    per_episode,
)
from games.core import Game, numbered_actions


@dataclass(frozen=True, eq=False)
class Planner:
    """Central network of all observations and actions, which pays agent j budget / N * tanh(output_j) a step.

    All payments and taxes of a step together are at most the budget, in absolute value; balanced ones (their
    mean subtracted), too, and these sum to 0.

    Source:
        Baumann, Graepel and Shawe-Taylor, Adaptive mechanism design, arXiv 1806.04067; Yang et al., Adaptive
        incentive design, arXiv 2112.10859.
    """

    space: spaces.Box | spaces.Discrete
    agents: int
    actions: int
    budget: float = 2.0
    balanced: bool = False
    hidden: tuple[int, ...] = (32,)
    activation: ActivationName = "tanh"
    exact = False

    def __post_init__(self) -> None:
        self.network.num_parameters  # noqa: B018 - refuses bad layers

    @property
    def encoder(self) -> ObservationEncoder:
        return ObservationEncoder(self.space, self.agents, self.actions)

    @property
    def network(self) -> Perceptron:
        """Network of all observations and actions -> an output for each agent."""
        inputs = self.agents * (self.encoder.features + self.actions)
        return Perceptron((inputs, *self.hidden, self.agents), self.activation)

    def initial(self, seed: int, seeds: int) -> Tensor:
        """Draw initial parameters, float64 [seed, 1, parameter]: payments are nearly 0."""
        return first_parameters(self.network, seed, seeds, 1)

    def transfer(self, phi: Tensor) -> PlannerPayments:
        return PlannerPayments(self, phi)


@dataclass(frozen=True, eq=False)
class PlannerPayments(Transfer):
    """Payments at given parameters: r~_j = r_j + payment_j."""

    variable: Planner
    phi: Tensor
    """[seed, 1, parameter]."""
    reporting = Reporting("episodes")

    def payments(self, trajectory: Trajectory) -> Tensor:
        """Compute payments and, below 0, taxes: [seed, agent, time, episode]; 0 after the end.

        Agents that have left receive and pay nothing; balanced payments are balanced among those present.
        """
        planner, acting = self.variable, trajectory.acting
        acted = planner.encoder.encode_actions(trajectory, self.phi)
        inputs = (
            torch.cat((planner.encoder.encode_observations(trajectory, self.phi), acted), -1)
            .movedim(1, -2)
            .flatten(-2)
        )
        out = planner.network(self.phi[:, 0], inputs.flatten(1, 2)).unflatten(1, inputs.shape[1:3])
        paid = planner.budget / planner.agents * out.tanh().movedim(-1, 1)
        if planner.balanced and trajectory.present is None:
            paid = paid - paid.mean(1, keepdim=True)
        elif planner.balanced:
            present = acting.sum(1, keepdim=True).clamp(min=1)
            paid = paid - (paid * acting).sum(1, keepdim=True) / present
        payments: Tensor = paid * acting
        return payments

    def rewards(self, trajectory: Trajectory) -> Tensor:
        return trajectory.rewards + self.payments(trajectory)

    def report(self, trajectory: Trajectory | None) -> Report:
        """Report total payments and taxes per episode, and each agent's, in reward units."""
        assert trajectory is not None
        payments = self.payments(trajectory)
        moved = per_episode(payments.abs(), trajectory).sum(-1)
        return {"moved": moved, **agent_report("paid", per_episode(payments, trajectory))}


@dataclass(frozen=True, kw_only=True)
class CentralPlanner(OuterMethod):
    """Learned taxes and payments: a central network adds rewards within a budget to maximize welfare.

    Inner loop: every agent j descends its loss on r~_j = r_j + payment_j, a network's function of all
    observations and actions. Outer loop: the network ascends the sum of all extrinsic returns under the
    policies that these inner steps produce, less the weighted cost of payments and taxes.

    LOPT (Hua et al., Learning Optimal Pigovian Tax, arXiv 2305.06227) shapes rewards in the same form: r_j
    plus a function of state and actions. Its tax agent learns by reinforcement learning, beside the agents;
    here the network is learned by the hypergradient through the agents' steps, within a budget. The tax that
    LOPT approximates, the externality, has a closed form in symmetric games of two actions
    (`games.mechanism_thresholds`).

    Needs: a central party that observes everything. Conserves nothing; with `balanced` the payments add up to
    0 in each step, and the total is conserved.

    Raises:
        ValueError: a setting is out of range; at build, actions are not Discrete.

    Source:
        Baumann, Graepel and Shawe-Taylor, Adaptive mechanism design, arXiv 1806.04067; Yang et al., Adaptive
        incentive design with multi-agent meta-gradient reinforcement learning, arXiv 2112.10859.

    >>> import games
    >>> from bilevel.methods import Placement, PolicyGradient
    >>> method = CentralPlanner(inner=PolicyGradient(exact=False, entropy_coef=0.1))
    >>> learner = method.build(games.make("escape-room"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["moved"].shape
    torch.Size([2])
    """

    inner: PolicyGradient | ActorCritic | PPO | VTrace = PolicyGradient(exact=False)
    """The policies' learner; payments depend on observations and actions, so exact values are refused."""
    outer: OuterLoop = OuterLoop(learning_rate=0.01)
    """Optimizer and hypergradient of the planner."""
    budget: Annotated[float, Range(above=0)] = 4.0
    """Maximum sum of payments and taxes of a step, above 0, in reward units."""
    balanced: bool = False
    """Balance payments by taxes, so that they sum to 0."""
    planner_hidden_size: tuple[int, ...] = (32,)
    """Units of each hidden layer of the planner's network."""
    planner_activation: ActivationName = "tanh"
    """Activation between the layers of the planner's network."""
    cost_weight: Annotated[Scheduled, Range(min=0)] = 0.0
    """Weight of a unit paid or taxed in the objective, 0 or more; or a schedule, such as 0:0, 200:0.5."""

    def build(self, game: Game, placement: Placement) -> Learner:
        variable = Planner(
            game.observation_space,
            game.num_agents,
            numbered_actions(game, "The planner, which observes actions,"),
            self.budget,
            self.balanced,
            self.planner_hidden_size,
            self.planner_activation,
        )
        objective, cost = OBJECTIVES["welfare"], Cost(self._costs, "cost_weight")
        return OuterLearner(self, game, placement, variable, objective=objective, cost=cost)

    def _costs(self, transfer: PlannerPayments, data: Any) -> Tensor:
        return per_episode(transfer.payments(data).abs(), data)
