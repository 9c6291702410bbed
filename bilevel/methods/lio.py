"""`lio`: learn to incentivise the others."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from bilevel.errors import require, require_name
from bilevel.methods.base import OptimiserName, require_number
from bilevel.methods.contract import Learner, Placement
from bilevel.methods.modelling_learner import ModellingLearner
from bilevel.methods.outer_learner import Apart, Costs, OuterLearner
from bilevel.methods.outer_method import OuterMethod
from bilevel.networks import ActivationName
from bilevel.optimisers import OPTIMISERS, make_optimiser
from bilevel.outer.incentives import Incentives, incentive_costs
from bilevel.outer.objectives import OBJECTIVES
from bilevel.ranges import Range
from bilevel.schedule import Scheduled
from games.base import Game, numbered_actions

COST_FORMS = ("separate", "objective", "charged")
OPPONENTS = ("known", "modelled")


@dataclass(frozen=True, kw_only=True)
class LIO(OuterMethod):
    """Learned incentives: each agent rewards the others by a network, for the sake of its own reward.

    Inside, every agent j descends its loss on r~_j = r_j + sum_i r_eta_i(o_i, a_-i)_j. Outside, each network
    eta_i ascends agent i's own, extrinsic return under the policies that these inner steps produce, on fresh
    episodes: one meta-gradient for each giver. What giving costs (its discounted L1 norm) enters by `cost`.

    Needs: the others' actions; for the outer step, the others' policies, or, with `opponents` modelled, what
    they see, do and get: each giver then fits a model of every other agent's policy to its actions, on that
    agent's own observations, and differentiates through the steps that the models would take
    (`ModellingLearner`). Conserves nothing: incentives come on top of the rewards; with cost "charged" the
    givers pay for them, and the total is conserved.

    Raises:
        ValueError: a setting is out of range or a name is unknown; at build, the game has one agent.

    Source:
        Yang et al., Learning to Incentivize Other Learning Agents, arXiv 2006.06051. Its Escape Room settings
        are plain gradient steps of 1e-4 on one episode each; the defaults here suit many episodes per step.
        Its decentralised form as in the released code (lio_decentralized.py, for two agents): the models are
        policies of the same form, take plain gradient steps on the others' true rewards and the incentives,
        and are fitted by Adam, there with a step of 1e-3 after each episode. Ours: ten steps of 1e-2 on the
        episodes of a policy step, and more agents than two, each knowing what the others give.

    >>> import games
    >>> learner = LIO(entropy_end=0.1).build(games.make("escape-room"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["incentive_0_1"].shape
    torch.Size([2])
    """

    ranges: ClassVar[Mapping[str, Range]] = {
        **OuterMethod.ranges,
        "cost_weight": Range(least=0),
        "cost_learning_rate": Range(least=0),
    }

    exact: bool = False
    """Incentives depend on what is seen and done, so episodes are played: exact values are refused."""
    outer_learning_rate: Scheduled = 0.03
    """Step size of the incentive networks, above 0."""
    most: float = 2.0
    """The most that an agent can give another in a step, above 0, in reward units."""
    incentive_hidden: tuple[int, ...] = (32,)
    """Units of each hidden layer of an incentive network."""
    incentive_activation: ActivationName = "tanh"
    """Between the layers of an incentive network."""
    cost: Literal["separate", "objective", "charged"] = "separate"
    """How givers feel what they give: separate, descended by an optimiser of its own, as released; objective,
    taken from each giver's return above; charged, paid out of the reward that the giver learns from."""
    cost_weight: Scheduled = 0.1
    """With cost objective: what a unit given takes from the giver's objective, 0 or more; or a schedule of
    it."""
    cost_learning_rate: Scheduled = 0.001
    """With cost separate: step size of Adam on what is given, 0 or more; or a schedule of it."""

    opponents: Literal["known", "modelled"] = "known"
    """Whether givers know the others' policies, or have models of them (bilevel check looks at the gradient
    through the true steps either way)."""
    model_optimiser: OptimiserName = "adam"
    """With modelled opponents: how models descend the cross-entropy of what they saw."""
    model_learning_rate: float = 0.01
    """With modelled opponents: step size of the models, above 0."""
    model_steps: int = 10
    """With modelled opponents: steps of a fit in each outer step, 1 or more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_name(self.cost, COST_FORMS, "cost")
        require_name(self.opponents, OPPONENTS, "opponents")
        require_name(self.model_optimiser, OPTIMISERS, "model_optimiser")
        require_number("model_learning_rate", self.model_learning_rate, above=0)
        whole = isinstance(self.model_steps, int) and self.model_steps >= 1
        require(whole, f"model_steps must be a whole number, 1 or more, not {self.model_steps}.")
        require_number("most", self.most, above=0)

    def build(self, game: Game, placement: Placement) -> Learner:
        """See `Method.build`."""
        require(game.num_agents >= 2, f"{type(game).__name__} has one agent: there is nobody to incentivise.")
        costs: Costs = functools.partial(incentive_costs, discount=game.discount)
        variable = Incentives(
            game.neighbours,
            game.observation_space,
            numbered_actions(game, "LIO, which pays for actions,"),
            self.most,
            self.incentive_hidden,
            self.incentive_activation,
            charged=self.cost == "charged",
        )
        separate = self.cost == "separate" and self.course.ever("cost_learning_rate")
        within = costs if self.cost == "objective" else None
        apart = Apart(costs, "adam", "cost_learning_rate") if separate else None
        if self.opponents == "modelled":
            return ModellingLearner(
                self,
                game,
                placement,
                variable,
                steps=self.model_steps,
                optimiser=make_optimiser(self.model_optimiser, learning_rate=self.model_learning_rate),
                costs=within,
                cost_weight="cost_weight",
                apart=apart,
            )
        return OuterLearner(
            self,
            game,
            placement,
            variable,
            objective=OBJECTIVES["own-return"],
            costs=within,
            cost_weight="cost_weight",
            apart=apart,
        )
