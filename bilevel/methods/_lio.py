"""`lio`: learn to incentivise the others.

Incentives: each agent has a network that rewards the others for what they did.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from gymnasium import spaces
from torch import Tensor

from bilevel.core import Range, Scheduled
from bilevel.methods._contract import Learner, Placement
from bilevel.methods._inner_settings import PPO, ActorCritic, PolicyGradient
from bilevel.methods._lio_learner import ModelingLearner
from bilevel.methods._method import OuterMethod
from bilevel.methods._outer_learner import Costs, OuterLearner, SeparateCost
from bilevel.methods._outer_settings import OuterLoop
from bilevel.methods._settings import OptimizerName, Whole
from bilevel.nn import ActivationName, Perceptron, sigmoid
from bilevel.optimizers import make_optimizer
from bilevel.sharing import (
    OBJECTIVES,
    ObservationEncoder,
    Report,
    Reporting,
    TrajectoryLike,
    check_neighbours,
    first_parameters,
    given_report,
    only_among_present,
    per_episode,
)
from games.core import Game, numbered_actions, require


@dataclass(frozen=True, eq=False)
class Incentives:
    """What agent i gives j in a step: r_eta_i(o_i, a_-i)_j = most * sigmoid(network), nothing to itself.

    Raises:
        ValueError: the graph is none, a layer has no unit, or `most` is not above 0.

    Source:
        Yang et al., Learning to Incentivize Other Learning Agents (LIO), arXiv 2006.06051.

    >>> graph = torch.ones(2, 2, dtype=torch.bool)
    >>> Incentives(graph, spaces.Discrete(5), actions=2).initial(seed=0, seeds=3).shape
    torch.Size([3, 2, 322])
    """

    neighbours: Tensor
    """Who may give to whom: boolean [giver, receiver], True on the diagonal (which is not used)."""
    space: spaces.Box | spaces.Discrete
    """One agent's observations."""
    actions: int
    """How many each agent has."""
    most: float = 2.0
    """The most that an agent can give another in a step, above 0, in reward units."""
    hidden: tuple[int, ...] = (32,)
    """Units of each hidden layer."""
    activation: ActivationName = "tanh"
    """Between layers."""
    charged: bool = False
    """Whether givers pay for what they give from the reward that they learn from: the total is conserved."""

    def __post_init__(self) -> None:
        check_neighbours(self.neighbours)
        require(self.most > 0, f"The most that agents give must be above 0, not {self.most:g}.")
        self.network.num_parameters  # noqa: B018 - refuses bad layers

    @property
    def agents(self) -> int:
        """As many as the graph has."""
        return len(self.neighbours)

    @property
    def exact(self) -> bool:
        """It does not: it depends on what is seen and done."""
        return False

    @property
    def encoder(self) -> ObservationEncoder:
        """What the networks look at."""
        return ObservationEncoder(self.space, self.agents, self.actions)

    @property
    def network(self) -> Perceptron:
        """The network that each giver has: its observation, the others' actions -> one for each receiver."""
        inputs = self.encoder.features + self.encoder.acted
        return Perceptron((inputs, *self.hidden, self.agents), self.activation)

    def initial(self, seed: int, seeds: int) -> Tensor:
        """First parameters, float64 [seed, giver, parameter]: about half of `most` is given at first."""
        return first_parameters(self.network, seed, seeds, self.agents)

    def transfer(self, phi: Tensor) -> IncentiveTransfer:
        """Incentives by these networks."""
        return IncentiveTransfer(self, phi)


@dataclass(frozen=True, eq=False)
class IncentiveTransfer:
    """Incentives with given parameters: r~_j = r_j + sum_i gift_ij, less what j gives if it is charged."""

    variable: Incentives
    phi: Tensor
    """[seed, giver, parameter]."""

    @property
    def matrix(self) -> None:
        """Incentives are no shares of a reward."""

    def gifts(self, trajectory: TrajectoryLike) -> Tensor:
        """See `Transfer.gifts`; 0 after the end, and to and from agents that have left."""
        encoder = self.variable.encoder
        inputs = torch.cat(
            (encoder.seen(trajectory, self.phi), encoder.done_by_others(trajectory, self.phi)), -1
        )
        out = self.variable.network(self.phi, inputs.flatten(2, 3)).unflatten(2, inputs.shape[2:4])
        graph = self.variable.neighbours.to(self.phi.device).clone().fill_diagonal_(False)
        given = self.variable.most * sigmoid(out).movedim(-1, 2)
        return only_among_present(given * graph[..., None, None] * trajectory.mask.unsqueeze(1), trajectory)

    def rewards(self, trajectory: TrajectoryLike) -> Tensor:
        """See `Transfer.rewards`."""
        gifts = self.gifts(trajectory)
        seen = trajectory.rewards + gifts.sum(1)
        return seen - gifts.sum(2) if self.variable.charged else seen

    def report(self, trajectory: TrajectoryLike | None) -> Report:
        """What agents give in an episode, in reward units: on average, and each to each other."""
        assert trajectory is not None
        return given_report(per_episode(self.gifts(trajectory), trajectory))

    @property
    def reporting(self) -> Reporting:
        """What is given adds up over an episode."""
        return Reporting("episodes")


def incentive_costs(transfer: IncentiveTransfer, trajectory: TrajectoryLike, discount: float) -> Tensor:
    """What giving costs by the L1 norm: the discounted sum of all that one gives, [seed, giver].

    Args:
        transfer: the incentives.
        trajectory: sampled play; that it depends on the policies is not seen.
        discount: per step.
    """
    gifts = transfer.gifts(trajectory).sum(2)
    weights = discount ** torch.arange(gifts.shape[-2], dtype=gifts.dtype, device=gifts.device)
    return per_episode(gifts * weights[:, None], trajectory)


@dataclass(frozen=True, kw_only=True)
class LIO(OuterMethod):
    """Learned incentives: each agent rewards the others by a network, for the sake of its own reward.

    Inside, every agent j descends its loss on r~_j = r_j + sum_i r_eta_i(o_i, a_-i)_j. Outside, each network
    eta_i ascends agent i's own, extrinsic return under the policies that these inner steps produce, on fresh
    episodes: one meta-gradient for each giver. What giving costs (its discounted L1 norm) enters by `cost`.

    Needs: the others' actions; for the outer step, the others' policies, or, with `opponents` modeled, what
    they see, do and get: each giver then fits a model of every other agent's policy to its actions, on that
    agent's own observations, and differentiates through the steps that the models would take
    (`ModelingLearner`). Conserves nothing: incentives come on top of the rewards; with cost "charged" the
    givers pay for them, and the total is conserved.

    Raises:
        ValueError: a setting is out of range or a name is unknown; at build, the game has one agent.

    Source:
        Yang et al., Learning to Incentivize Other Learning Agents, arXiv 2006.06051. Its Escape Room settings
        are plain gradient steps of 1e-4 on one episode each; the defaults here suit many episodes per step.
        Its decentralized form as in the released code (lio_decentralized.py, for two agents): the models are
        policies of the same form, take plain gradient steps on the others' true rewards and the incentives,
        and are fitted by Adam, there with a step of 1e-3 after each episode. Ours: ten steps of 1e-2 on the
        episodes of a policy step, and more agents than two, each knowing what the others give.

    >>> import games
    >>> method = LIO(inner=PolicyGradient(exact=False, entropy_coef=0.1))
    >>> learner = method.build(games.make("escape-room"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["incentive_0_1"].shape
    torch.Size([2])
    """

    inner: PolicyGradient | ActorCritic | PPO = PolicyGradient(exact=False)
    """The policies' learner; incentives depend on observations and actions: exact values are refused."""
    outer: OuterLoop = OuterLoop(learning_rate=0.03)
    """The incentive networks' optimizer and hypergradient."""
    max_incentive: Annotated[float, Range(above=0)] = 2.0
    """The most that an agent can give another in a step, above 0, in reward units."""
    incentive_hidden_size: tuple[int, ...] = (32,)
    """Units of each hidden layer of an incentive network."""
    incentive_activation: ActivationName = "tanh"
    """Between the layers of an incentive network."""
    cost: Literal["separate", "objective", "charged"] = "separate"
    """How givers feel what they give: separate, descended by an optimizer of its own, as released; objective,
    taken from each giver's return above; charged, paid out of the reward that the giver learns from."""
    cost_weight: Annotated[Scheduled, Range(least=0)] = 0.1
    """With cost objective: what a unit given takes from the giver's objective, 0 or more; or a schedule of
    it."""
    cost_learning_rate: Annotated[Scheduled, Range(least=0)] = 0.001
    """With cost separate: step size of Adam on what is given, 0 or more; or a schedule of it."""

    opponents: Literal["known", "modeled"] = "known"
    """Whether givers know the others' policies, or have models of them (bilevel check looks at the gradient
    through the true steps either way)."""
    model_optimizer: OptimizerName = "adam"
    """With modeled opponents: how models descend the cross-entropy of what they saw."""
    model_learning_rate: Annotated[float, Range(above=0)] = 0.01
    """With modeled opponents: step size of the models, above 0."""
    model_steps: Whole = 10
    """With modeled opponents: steps of a fit in each outer step, 1 or more."""

    def build(self, game: Game, placement: Placement) -> Learner:
        """See `Method.build`."""
        require(game.num_agents >= 2, f"{type(game).__name__} has one agent: there is nobody to incentivise.")
        costs: Costs = functools.partial(incentive_costs, discount=game.discount)
        variable = Incentives(
            game.neighbours,
            game.observation_space,
            numbered_actions(game, "LIO, which pays for actions,"),
            self.max_incentive,
            self.incentive_hidden_size,
            self.incentive_activation,
            charged=self.cost == "charged",
        )
        separate = self.cost == "separate" and self.schedule.ever("cost_learning_rate")
        within = costs if self.cost == "objective" else None
        separate_cost = SeparateCost(costs, "adam", "cost_learning_rate") if separate else None
        if self.opponents == "modeled":
            return ModelingLearner(
                self,
                game,
                placement,
                variable,
                steps=self.model_steps,
                optimizer=make_optimizer(self.model_optimizer, learning_rate=self.model_learning_rate),
                costs=within,
                cost_weight="cost_weight",
                separate=separate_cost,
            )
        return OuterLearner(
            self,
            game,
            placement,
            variable,
            objective=OBJECTIVES["own-return"],
            costs=within,
            cost_weight="cost_weight",
            separate=separate_cost,
        )
