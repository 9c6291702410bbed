"""`lio`: learned incentives for the other agents."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from gymnasium import spaces
from torch import Tensor

from bilevel.core import Range, Schedule, Scheduled
from bilevel.methods._contract import Learner, Placement
from bilevel.methods._formal_contract import defines_cooperation
from bilevel.methods._inner_settings import PPO, ActorCritic, PolicyGradient, VTrace
from bilevel.methods._lio_learner import ModelingLearner, OpponentModels
from bilevel.methods._method import OuterMethod
from bilevel.methods._outer_learner import Cost, OuterLearner
from bilevel.methods._outer_settings import OuterLoop
from bilevel.methods._settings import OptimizerName, SettingsGroup, Whole
from bilevel.nn import ActivationName, Perceptron, sigmoid
from bilevel.optimizers import make_optimizer
from bilevel.sharing import (
    OBJECTIVES,
    ObservationEncoder,
    Report,
    Reporting,
    Trajectory,
    Transfer,
    first_parameters,
    gift_report,
    only_among_present,
    per_episode,
)
from games.core import Game, numbered_actions, require

ActionInputs = Literal["actions", "cooperation"]


@dataclass(frozen=True, eq=False)
class Incentives:
    """Incentive networks of givers: r_eta_i(o_i, a_-i)_j = max_gift * sigmoid(network), 0 for i itself.

    Source:
        Yang et al., Learning to Incentivize Other Learning Agents (LIO), arXiv 2006.06051.
    """

    neighbors: Tensor
    """Neighbor graph, boolean [giver, receiver], True on the diagonal (which is not used)."""
    space: spaces.Box | spaces.Discrete
    actions: int
    max_gift: float = 2.0
    """Maximum gift from one agent to another in a step, above 0, in reward units."""
    hidden: tuple[int, ...] = (32,)
    activation: ActivationName = "tanh"
    action_inputs: ActionInputs = "actions"
    """The other agents' actions, one-hot, or only whether they cooperate."""
    charged: bool = False
    """Subtract incentives from the givers' learning rewards, which conserves the total."""
    exact = False

    def __post_init__(self) -> None:
        self.network.num_parameters  # noqa: B018 - refuses bad layers

    @property
    def agents(self) -> int:
        return len(self.neighbors)

    @property
    def encoder(self) -> ObservationEncoder:
        """Encoder of the networks' inputs."""
        return ObservationEncoder(self.space, self.agents, self.actions)

    @property
    def network(self) -> Perceptron:
        """Network of each giver: its observation, the action inputs -> an output for each receiver."""
        encoder = self.encoder
        of_others = self.agents - 1 if self.action_inputs == "cooperation" else encoder.other_action_features
        inputs = encoder.features + of_others
        return Perceptron((inputs, *self.hidden, self.agents), self.activation)

    def initial(self, seed: int, seeds: int) -> Tensor:
        """Draw initial parameters, float64 [seed, giver, parameter]: gifts are about half of `max_gift`."""
        return first_parameters(self.network, seed, seeds, self.agents)

    def transfer(self, phi: Tensor) -> IncentiveTransfer:
        return IncentiveTransfer(self, phi)


@dataclass(frozen=True, eq=False)
class IncentiveTransfer(Transfer):
    """Incentives at given parameters: r~_j = r_j + sum_i gift_ij, less j's own gifts if charged."""

    variable: Incentives
    phi: Tensor
    """[seed, giver, parameter]."""
    reporting = Reporting("episodes")

    def gifts(self, trajectory: Trajectory) -> Tensor:
        encoder = self.variable.encoder
        by_cooperation = self.variable.action_inputs == "cooperation"
        encode = encoder.encode_other_cooperation if by_cooperation else encoder.encode_other_actions
        observations = encoder.encode_observations(trajectory, self.phi)
        inputs = torch.cat((observations, encode(trajectory, self.phi)), -1)
        out = self.variable.network(self.phi, inputs.flatten(2, 3)).unflatten(2, inputs.shape[2:4])
        graph = self.variable.neighbors.to(self.phi.device).clone().fill_diagonal_(False)
        incentives = self.variable.max_gift * sigmoid(out).movedim(-1, 2)
        return only_among_present(
            incentives * graph[..., None, None] * trajectory.mask.unsqueeze(1), trajectory
        )

    def rewards(self, trajectory: Trajectory) -> Tensor:
        gifts = self.gifts(trajectory)
        rewards = trajectory.rewards + gifts.sum(1)
        return rewards - gifts.sum(2) if self.variable.charged else rewards

    def report(self, trajectory: Trajectory | None) -> Report:
        """Report incentives per episode, in reward units: the agents' mean, and each pair's."""
        assert trajectory is not None
        return gift_report(per_episode(self.gifts(trajectory), trajectory))


def incentive_costs(transfer: IncentiveTransfer, trajectory: Trajectory, discount: float) -> Tensor:
    """L1 cost of giving: the discounted sum of each agent's gifts, [seed, giver]."""
    gifts = transfer.gifts(trajectory).sum(2)
    weights = discount ** torch.arange(gifts.shape[-2], dtype=gifts.dtype, device=gifts.device)
    return per_episode(gifts * weights[:, None], trajectory)


@dataclass(frozen=True, kw_only=True)
class SeparateCost(SettingsGroup, part="cost", variant="separate"):
    """A separate optimizer descends the cost, as in the released code.

    >>> import games
    >>> from bilevel.methods import LIO, Placement
    >>> learner = LIO(cost=SeparateCost(learning_rate=0.01)).build(games.make("escape-room"), Placement())
    >>> "cost_opt_state" in learner.init(seed=0)
    True
    """

    learning_rate: Annotated[Scheduled, Range(min=0)] = 0.001
    """Learning rate of Adam on the cost of incentives, 0 or more; or a schedule."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveCost(SettingsGroup, part="cost", variant="objective"):
    """The cost is subtracted from each giver's outer objective.

    >>> from bilevel.core import Schedule
    >>> from bilevel.methods import LIO
    >>> method = LIO(cost=ObjectiveCost(weight=Schedule.read("0:0, 200:0.5")))
    >>> method.schedule.value("cost.weight", 100)
    0.25
    """

    weight: Annotated[Scheduled, Range(min=0)] = 0.1
    """Weight of the cost in the giver's objective, 0 or more; or a schedule."""


@dataclass(frozen=True, kw_only=True)
class ChargedCost(SettingsGroup, part="cost", variant="charged"):
    """Incentives are subtracted from the givers' learning rewards.

    >>> import games
    >>> from bilevel.methods import LIO, Placement
    >>> learner = LIO(cost=ChargedCost()).build(games.make("escape-room"), Placement())
    >>> state = learner.init(seed=0)
    >>> transfer = learner.transfer(state["phi"])
    >>> episodes = learner.play.sample(state["theta"], transfer, torch.Generator().manual_seed(0))
    >>> torch.allclose(transfer.rewards(episodes).sum(1), episodes.rewards.sum(1))  # over agents
    True
    """


@dataclass(frozen=True, kw_only=True)
class KnownOpponents(SettingsGroup, part="opponents", variant="known"):
    """Givers know the other agents' policies.

    >>> import games
    >>> from bilevel.methods import LIO, Placement
    >>> learner = LIO(opponents=KnownOpponents()).build(games.make("escape-room"), Placement())
    >>> "models" in learner.init(seed=0)
    False
    """


@dataclass(frozen=True, kw_only=True)
class ModeledOpponents(SettingsGroup, part="opponents", variant="modeled"):
    """Givers model the other agents' policies (bilevel check still tests the gradient of true steps).

    >>> import games
    >>> from bilevel.methods import LIO, Placement
    >>> learner = LIO(opponents=ModeledOpponents(steps=5)).build(games.make("escape-room"), Placement())
    >>> "models" in learner.init(seed=0)
    True
    """

    optimizer: OptimizerName = "adam"
    """Optimizer of the models' cross-entropy."""
    learning_rate: Annotated[float, Range(above=0)] = 0.01
    """Learning rate of the models, above 0."""
    steps: Whole = 10
    """Gradient steps of the fit in each outer step, 1 or more."""


@dataclass(frozen=True, kw_only=True)
class LIO(OuterMethod):
    """Learned incentives: each agent's network pays the other agents, to maximize the agent's own return.

    Inner loop: every agent j descends its loss on r~_j = r_j + sum_i r_eta_i(o_i, a_-i)_j. Outer loop: each
    network eta_i ascends agent i's own, extrinsic return under the policies that these inner steps produce,
    on fresh episodes: one hypergradient for each giver. The cost of giving (its discounted L1 norm) enters by
    `cost`.

    Needs: the other agents' actions; for the outer step, the other agents' policies, or, with modeled
    opponents, their observations, actions and rewards: each giver then fits a model of every other agent's
    policy to its actions, on that agent's own observations, and differentiates through the modeled steps
    (`ModelingLearner`). Incentives are added to the rewards, so the total is not conserved, except with
    `cost` charged, where the givers pay for them.

    Raises:
        ValueError: a setting is out of range or a name is unknown; at build, the game has one agent.

    Source:
        Yang et al., Learning to Incentivize Other Learning Agents, arXiv 2006.06051. Its Escape Room settings
        are plain gradient steps of 1e-4 on one episode each; the defaults here suit many episodes per step.
        The decentralized form follows the released code (lio_decentralized.py, for two agents): the models
        are policies of the same form, take plain gradient steps on the other agents' true rewards and the
        incentives, and are fitted by Adam, there by one step with learning rate 1e-3 after each episode. Here
        they are fitted by ten steps with learning rate 1e-2 on the episodes of each policy step, and there
        may be more than two agents, each with access to the other agents' incentives.

    >>> import games
    >>> from bilevel.methods import Placement, PolicyGradient
    >>> method = LIO(inner=PolicyGradient(exact=False, entropy_coef=0.1))
    >>> learner = method.build(games.make("escape-room"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["incentive_0_1"].shape
    torch.Size([2])
    """

    inner: PolicyGradient | ActorCritic | PPO | VTrace = PolicyGradient(exact=False)
    """The policies' learner; incentives depend on observations and actions, so exact values are refused."""
    outer: OuterLoop = OuterLoop(learning_rate=0.03)
    """The incentive networks' optimizer and hypergradient."""
    max_incentive: Annotated[float, Range(above=0)] = 2.0
    """Maximum incentive from one agent to another in a step, above 0, in reward units."""
    incentive_hidden_size: tuple[int, ...] = (32,)
    """Units of each hidden layer of an incentive network."""
    incentive_activation: ActivationName = "tanh"
    """Activation between the layers of an incentive network."""
    action_inputs: ActionInputs = "actions"
    """Inputs of incentive networks besides the observation: the other agents' actions, or only whether they
    cooperate (`Game.cooperates`; on cleanup: clean, as in the released code)."""
    cost: SeparateCost | ObjectiveCost | ChargedCost = SeparateCost()
    """Accounting of the cost of giving."""
    opponents: KnownOpponents | ModeledOpponents = KnownOpponents()
    """The givers' knowledge of the other agents' policies."""

    def build(self, game: Game, placement: Placement) -> Learner:
        require(
            game.num_agents >= 2,
            f"{type(game).__name__} has one agent: there is nobody to give incentives to.",
        )
        require(
            self.action_inputs == "actions" or defines_cooperation(game),
            f"{type(game).__name__} does not define which actions cooperate: set action_inputs to actions.",
        )
        variable = Incentives(
            game.neighbors,
            game.observation_space,
            numbered_actions(game, "LIO, which pays for actions,"),
            self.max_incentive,
            self.incentive_hidden_size,
            self.incentive_activation,
            self.action_inputs,
            charged=isinstance(self.cost, ChargedCost),
        )
        costs = functools.partial(incentive_costs, discount=game.discount)
        cost = None
        if isinstance(self.cost, SeparateCost):
            cost = Cost(costs, "cost.learning_rate", separate=True)
        elif isinstance(self.cost, ObjectiveCost):
            cost = Cost(costs, "cost.weight")
        objective, opponents = OBJECTIVES["own-return"], self.opponents
        if isinstance(opponents, KnownOpponents):
            return OuterLearner(self, game, placement, variable, objective=objective, cost=cost)
        require(
            not isinstance(getattr(self.policy, "alpha", 0.0), Schedule),
            "Models of the other agents' policies do not follow a schedule of policy.alpha: make it "
            "constant, or leave opponents at known.",
        )
        optimizer = make_optimizer(opponents.optimizer, learning_rate=opponents.learning_rate)
        models = OpponentModels(self.play(game).policy, optimizer, opponents.steps)
        return ModelingLearner(self, game, placement, variable, objective=objective, cost=cost, models=models)
