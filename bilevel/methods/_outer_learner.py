"""Learner of policies and outer variables, by hypergradients through the policies' steps."""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bilevel.agents import Play, Reinforce, SampledPlay
from bilevel.compile import Compiled, CompiledFunction
from bilevel.core import OuterOptimizer, Purpose, Tree, gradient_at, init_outer, outer_step
from bilevel.hypergradient import (
    BilevelProblem,
    Estimate,
    Estimator,
    Evolution,
    FixedData,
    Implicit,
    PersistentEvolution,
    make_hypergradient,
)
from bilevel.methods._contract import Metrics, Placement, State
from bilevel.methods._learner import PolicyLearner, StepInputs, require_finite, transfer_group
from bilevel.methods._method import PolicyMethod
from bilevel.optimizers import at_learning_rate, make_optimizer
from bilevel.sharing import OBJECTIVES, TERMS, GroupObjectives, Objective, OuterVariable
from games.core import Game, require

INDEPENDENT_SEEDS = {"members": True, "batch_dims": 1}
"""Settings by which estimators treat the first axis, seeds, as independent."""


def fit_hypergradient(estimator: str | Estimator, play: Play) -> Estimator:
    """Configure an estimator for independent seeds, or refuse it if it is invalid for this kind of data.

    Sets `members` and `batch_dims`, if the estimator has them, to the learner's batch of seeds, so that no
    seed's estimate depends on the other seeds; the estimator's own values are replaced.

    Args:
        estimator: an estimator, or its text form.
        play: exact or sampled, with its surrogate.

    Raises:
        ValueError: as for `make_hypergradient`; or the estimator needs exact values, episodes of its own, or
            another surrogate (names the remedy).

    >>> import games
    >>> from bilevel.methods import ToS
    >>> fit_hypergradient("forward", ToS().play(games.make("repeated-chicken")))
    Forward(batch_dims=1)
    """
    built: Any = make_hypergradient(estimator)
    if isinstance(play, SampledPlay):
        _require_suits_episodes(built, play)
    settings = {field.name for field in dataclasses.fields(built)} if dataclasses.is_dataclass(built) else {}
    replaced = {name: value for name, value in INDEPENDENT_SEEDS.items() if name in settings}
    fitted: Estimator = dataclasses.replace(built, **replaced) if replaced else built
    return fitted


def _require_suits_episodes(estimator: Estimator, play: SampledPlay) -> None:
    require(
        not isinstance(estimator, Evolution) or estimator.fresh_data,
        "Evolution compares values, and on episodes that are shared the value does not change with the "
        "policies: let every sample draw its own, evolution(members=True, fresh_data=True).",
    )
    require(
        not isinstance(estimator, PersistentEvolution),
        "PersistentEvolution compares values, and on episodes that are shared the value does not change with "
        "the policies: use exact values, or evolution(members=True, fresh_data=True).",
    )
    require(
        not isinstance(estimator, Implicit) or math.isinf(estimator.max_distance),
        "Implicit needs learning that converges, and on sampled episodes it never does: use exact values "
        "or another hypergradient (implicit(max_distance=inf) goes on regardless).",
    )
    require(
        not isinstance(estimator, Implicit) or not isinstance(play.surrogate, Reinforce),
        "Implicit solves with the derivative of a step by the policies, which the surrogate reinforce "
        "biases: use dice or loaded-dice, or exact values.",
    )


class Cost(NamedTuple):
    """A cost of giving.

    >>> import games
    >>> from bilevel.methods import OuterLearner, Placement, ToS
    >>> from bilevel.sharing import OBJECTIVES, LearnedMatrix, Sharing
    >>> given = Cost(lambda transfer, data: 1 - transfer.matrix.diagonal(dim1=1, dim2=2), "cost_weight")
    >>> game, method = games.make("prisoners-dilemma"), ToS(cost_weight=0.5)
    >>> variable, welfare = LearnedMatrix(Sharing(game.neighbors, 0.8)), OBJECTIVES["welfare"]
    >>> learner = OuterLearner(method, game, Placement(), variable, objective=welfare, cost=given)
    >>> given.of(learner.transfer(learner.init(seed=0)["phi"]), ())
    tensor([[0.2000, 0.2000]], dtype=torch.float64)
    """

    of: Callable[[Any, Any], Tensor]
    """(transfer, sampled episodes) -> each agent's cost, [seed, agent], in the game's units of value."""
    setting: str
    """Name of the setting of its weight in the objective; if separate, of its learning rate."""
    separate: bool = False
    """Descend it by a separate Adam, instead of including it in the objective."""


class OuterInputs(NamedTuple):
    """Inputs of the outer loss: sampled data and values of schedules.

    >>> import games
    >>> from bilevel.core import Purpose, Schedule
    >>> from bilevel.methods import Placement, ToS
    >>> method = ToS(cost_weight=Schedule.read("0:0.5, 200:0"))
    >>> learner = method.build(games.make("prisoners-dilemma"), Placement())
    >>> state = learner.init(seed=0)
    >>> problem = learner.problem_at(state, learner.streams(state, Purpose.TRAINING))
    >>> problem.outer_data(state["theta"], state["phi"])
    OuterInputs(batch=(), cost_weight=tensor(0.5000, dtype=torch.float64))
    """

    batch: Any
    """Sampled trajectories; an empty tuple where values are exact."""
    cost_weight: Tensor | None = None
    """Weight of the cost in this outer step, scalar; None where it is constant."""


class OuterLearner(PolicyLearner):
    """Learner of policies, and of outer variables by a hypergradient.

    Args:
        method: the settings of both loops.
        game: the game.
        placement: seeds, precision, device.
        variable: the outer variable between the agents.
        objective: objective of that variable; None: it is fixed, and only loss weights are learned.
        cost: cost of giving; None: giving is free.
        fixed: as for `PolicyLearner`, of a fixed variable.

    Raises:
        ValueError: as for `PolicyLearner`; or the method's estimator does not suit the game's exact or
            sampled values.

    >>> import games
    >>> from bilevel.methods import Placement, ToS
    >>> learner = ToS(own_share=0.9).build(games.make("prisoners-dilemma"), Placement())
    >>> isinstance(learner, OuterLearner)
    True
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> bool(learner.transfer(state["phi"]).matrix[0, 0, 0] < 0.9)  # giving raises welfare
    True
    """

    learns_loss_weights = True

    def __init__(
        self,
        method: PolicyMethod,
        game: Game,
        placement: Placement,
        variable: OuterVariable,
        *,
        objective: Objective | None,
        cost: Cost | None = None,
        fixed: Callable[[int], Tensor] | None = None,
    ) -> None:
        super().__init__(method, game, placement, variable, fixed=fixed)
        self.outer = method.outer_loop
        self.outer_optimizer = make_optimizer(self.outer.optimizer, learning_rate=1.0)
        self.objectives = GroupObjectives({"transfer": objective, **self._loss_weight_objective(objective)})
        self.rates = {"transfer": "outer.learning_rate", "loss_weights": "loss_weights.learning_rate"}
        if objective is None:
            self.rates["transfer"] = self.rates["loss_weights"]
        self.cost = cost if cost is not None and self.schedule.is_used(cost.setting) else None
        separate = self.cost is not None and self.cost.separate
        self.cost_optimizer = make_optimizer("adam", learning_rate=1.0) if separate else None
        fitted = fit_hypergradient(self.outer.hypergradient, self.play)
        self.hypergradient = Compiled(fitted) if placement.compile else fitted
        compiled = placement.compile and not self.play.draws
        self.outer_update = (
            CompiledFunction(self._outer_update, "outer update") if compiled else self._outer_update
        )

    def init(self, seed: int) -> State:
        """Build the initial state, with the states of the outer optimizer and of the estimator."""
        state = super().init(seed)
        if self.loss_weights is not None:
            phi = state["phi"]
            free = phi.new_zeros(len(phi), self.game.num_agents, len(TERMS))
            state["phi"] = {"transfer": phi, "loss_weights": free}
        state["outer_opt_state"] = init_outer(state["phi"], self._optimizer_at(self._outer_rates(state)))
        if self.cost_optimizer is not None:
            state["cost_opt_state"] = init_outer(transfer_group(state["phi"]), self.cost_optimizer)
        problem = self.problem_at(state, self.streams(state, Purpose.BEGINNING))
        start = state["theta"], state["opt_state"], state["phi"]
        state["estimator"] = self.hypergradient.init(problem, *start, steps=self.method.inner.steps)
        return state

    def problem_at(self, state: State, generator: torch.Generator) -> BilevelProblem:
        """Bilevel problem of the next outer step, with all draws from the generator."""
        return self.problem(generator, self.inputs(state), self._cost_weight(state))

    def problem(
        self, generator: torch.Generator, inputs: StepInputs, cost_weight: Tensor | None = None
    ) -> BilevelProblem:
        """Bilevel problem of given inputs, whose batch is replaced where episodes are sampled."""

        def sample(theta: Tensor, phi: Tree) -> Any:
            return self.play.sample(theta, self.transfer(phi), generator)

        data: dict[str, Any] = {
            "inner_data": lambda theta, phi, _: inputs._replace(batch=sample(theta, phi)),
            "outer_data": lambda theta, phi: OuterInputs(sample(theta, phi), cost_weight),
        }
        if not self.play.draws:
            data = {
                "inner_data": FixedData(inputs),
                "outer_data": FixedData(OuterInputs((), cost_weight)),
            }
        return BilevelProblem(
            step=self.step,
            outer_loss=self._outer_losses,
            per_agent_objective=self.objectives.per_agent,
            **data,
        )

    def update(self, state: State) -> tuple[State, Metrics]:
        """Take an outer step: train the policies, update the outer variables, evaluate the new policies.

        In phases that update one level alone, the other one is fixed: only policies are trained, or only
        outer variables are updated, by the hypergradient through tentative inner steps.

        The metrics show the transfer during this training; the state has the updated one.

        Raises:
            FloatingPointError: a reward, a policy or a hypergradient stopped being finite (names the seed
                and agent); the state passed in is not changed.
        """
        phase = self.schedule.phase(int(state["outer_step"]))
        if phase.policies == "new" and int(state["outer_step"]) == phase.begin:
            theta, opt_state = self._new_policies(state)
            state = {**state, "theta": theta, "opt_state": opt_state}
        if phase.moves == "policies":
            return super().update(state)
        generator, inputs = self.streams(state, Purpose.TRAINING), self.inputs(state)
        phi, steps = self._phi(state), self.schedule.steps(int(state["outer_step"]))
        state = {**state, "phi": phi}
        theta, opt_state = state["theta"], state["opt_state"]
        if self.outer.reset == "each-outer-step":
            theta, opt_state = self._new_policies(state)
        for _ in range(phase.rounds):
            theta, opt_state = self._learn(steps, theta, opt_state, phi, generator, inputs)
        problem = self.problem(generator, inputs, self._cost_weight(state))
        estimate, carried = self._estimate(problem, theta, opt_state, state, steps)
        theta, opt_state, batch = estimate.theta, estimate.opt_state, estimate.outer_data.batch
        require_finite(theta, "A policy", state["outer_step"])
        gradient = self.own_gradient(estimate.gradient, estimate.outer_loss)
        require_finite(gradient, "A hypergradient", state["outer_step"])
        with torch.no_grad():
            cost_gradient = self._cost_gradient(phi, batch)
            if phase.moves == "outer":
                theta, opt_state = state["theta"], state["opt_state"]
                batch = self.play.sample(theta, self.transfer(phi), generator)
            phi, outer_opt_state, metrics = self.outer_update(
                phi, gradient, state["outer_opt_state"], self._outer_rates(state), theta, batch
            )
            metrics |= self._weight_metrics(state)
            if cost_gradient is not None:
                phi, carried["cost_opt_state"] = self._descend_cost(state, phi, cost_gradient)
        after = self._next(
            state, theta=theta, opt_state=opt_state, phi=phi, outer_opt_state=outer_opt_state, **carried
        )
        return after, metrics

    def own_gradient(self, gradient: Tree, losses: Tensor) -> Tree:
        """Gradient of each group's own objective, from gradients of the outer losses; shaped like phi."""
        if isinstance(gradient, dict):
            return self.objectives.gradients(gradient, losses)
        return self.objectives.gradients({"transfer": gradient}, losses)["transfer"]

    def _cost_gradient(self, phi: Tree, batch: Any) -> Tensor | None:
        """Gradient of a separate cost by the transfer's variable; None: there is no such cost."""
        if self.cost is None or self.cost_optimizer is None:
            return None
        cost = self.cost.of
        return gradient_at(
            transfer_group(phi), lambda group: cost(self.variable.transfer(group), batch).sum()
        )

    def _descend_cost(self, state: State, phi: Tree, gradient: Tensor) -> tuple[Tree, Tree]:
        """Descend the separate cost by the transfer's variable."""
        assert self.cost is not None
        assert self.cost_optimizer is not None
        descent = at_learning_rate(self.cost_optimizer, self._value(self.cost.setting, state))
        moved, opt_state = outer_step(transfer_group(phi), gradient, state["cost_opt_state"], descent)
        return ({**phi, "transfer": moved} if isinstance(phi, dict) else moved), opt_state

    def _outer_update(
        self, phi: Tree, gradient: Tree, opt_state: Tree, rates: Tree, theta: Tensor, batch: Any
    ) -> tuple[Tree, Tree, Metrics]:
        """Update the outer variables by the hypergradient, and evaluate the policies under the old ones."""
        moved, opt_state = outer_step(phi, gradient, opt_state, self._optimizer_at(rates))
        metrics = self._measured(theta, self.transfer(phi), batch)
        return moved, opt_state, OrderedDict(metrics)  # a tree sorts the keys of a plain dict

    def _outer_rates(self, state: State) -> Tree:
        """Outer learning rate of the next outer step, by groups where phi has them."""
        if self.loss_weights is None:
            return self._value(self.rates["transfer"], state)
        return {group: self._value(name, state) for group, name in self.rates.items()}

    def _optimizer_at(self, rates: Tree) -> OuterOptimizer:
        if isinstance(rates, dict):
            return {group: at_learning_rate(self.outer_optimizer, rate) for group, rate in rates.items()}
        return at_learning_rate(self.outer_optimizer, rates)

    def _loss_weight_objective(self, objective: Objective | None) -> dict[str, Objective | None]:
        """Objective of learned loss weights; None if their learning rate is always 0."""
        weights = self.loss_weights
        if weights is None:
            return {}
        updated = objective is None or self.schedule.is_used("loss_weights.learning_rate")
        return {"loss_weights": OBJECTIVES.find(weights.objective) if updated else None}

    def _new_policies(self, state: State) -> tuple[Tensor, Tree]:
        """Draw new policies, and initialize their optimizer's state."""
        theta = self._initial_policies(int(state["random_seeds"][0]), int(state["outer_step"]))
        return theta, self.optimizer.init(theta)

    def _estimate(
        self, problem: BilevelProblem, theta: Tensor, opt_state: Tree, state: State, steps: int
    ) -> tuple[Estimate, State]:
        """Hypergradient estimate, and the entries of the learner's state that it changes."""
        estimate, carried = self.hypergradient.estimate(
            problem, theta, opt_state, state["phi"], state["estimator"], steps=steps
        )
        return estimate, {"estimator": carried}

    def _outer_losses(self, theta: Tensor, phi: Tree, data: OuterInputs) -> Tensor:
        values = self.play.values(theta, data.batch)
        if self.cost is None or self.cost.separate:
            return self.objectives.losses(values, torch.zeros_like(values))
        weight = self.schedule.value(self.cost.setting, 0) if data.cost_weight is None else data.cost_weight
        return self.objectives.losses(values, weight * self.cost.of(self.transfer(phi), data.batch))

    def _cost_weight(self, state: State) -> Tensor | None:
        """Weight of the cost in the next outer step, scalar; None where it is constant."""
        if self.cost is None or self.cost.separate or not self.schedule.changes(self.cost.setting):
            return None
        return self._value(self.cost.setting, state)
