"""A learner of two levels: policies, and what passes between agents, by a meta-gradient.

An estimator fitted to a learner: its seeds are members of a batch, and its data may be episodes.
"""

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
from bilevel.core import Purpose, Tree, gradient_at
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
from bilevel.methods._learner import PolicyLearner, require_finite
from bilevel.methods._method import PolicyMethod
from bilevel.methods._phases import Phase
from bilevel.optimizers import at_learning_rate, make_optimizer
from bilevel.sharing import OBJECTIVES, Objective, OuterVariable, PartedObjective, WithLossWeights
from games.core import Game, require

SEEDS = {"members": True, "batch_dims": 1}
"""The settings by which estimators are told that the first axis counts members: here, seeds."""


def fit_hypergradient(estimator: str | Estimator, play: Play) -> Estimator:
    """Tell an estimator that seeds are independent, and refuse what cannot be right on this kind of data.

    With `members` and `batch_dims`, where an estimator has them, no seed's estimate has the noise or the cost
    of the others. They are facts of the learner, not a choice: whatever the estimator says is replaced.

    Args:
        estimator: its text form, or an object.
        play: how the learner's game is played.

    Raises:
        ValueError: as `make_hypergradient`; or the estimator needs the values of an exact game, or draws of
            its own, or another surrogate, and has none of these (says what to write instead).

    >>> import games
    >>> from bilevel.methods import ToS
    >>> fit_hypergradient("forward", ToS().play(games.make("repeated-chicken")))
    Forward(batch_dims=1)
    """
    built: Any = make_hypergradient(estimator)
    _require_suits(built, play)
    settings = {field.name for field in dataclasses.fields(built)} if dataclasses.is_dataclass(built) else {}
    told = {name: value for name, value in SEEDS.items() if name in settings}
    fitted: Estimator = dataclasses.replace(built, **told) if told else built
    return fitted


def _require_suits(estimator: Estimator, play: Play) -> None:
    if not isinstance(play, SampledPlay):
        return
    require(
        not isinstance(estimator, Evolution) or estimator.fresh_data,
        "Evolution compares values, and on episodes that are shared the value does not change with the "
        "policies: let every sample play its own, evolution(members=True, fresh_data=True).",
    )
    require(
        not isinstance(estimator, PersistentEvolution),
        "PersistentEvolution compares values, and on episodes that are shared the value does not change with "
        "the policies: use exact values, or evolution(members=True, fresh_data=True).",
    )
    require(
        not isinstance(estimator, Implicit) or math.isinf(estimator.accept_distance),
        "Implicit needs learning that comes to rest, and on sampled episodes it never does: use exact values "
        "or another hypergradient (implicit(accept_distance=inf) goes on regardless).",
    )
    require(
        not isinstance(estimator, Implicit) or not isinstance(play.surrogate, Reinforce),
        "Implicit solves with how a step depends on the policies, which the surrogate reinforce gets wrong: "
        "use dice or loaded-dice, or exact values.",
    )


Costs = Callable[[Any, Any], Tensor]
"""(transfer, sampled play) -> what giving costs each agent, [seed, agent], in the game's units of value."""


class Apart(NamedTuple):
    """Costs that are not part of the objective: they are descended by themselves."""

    costs: Costs
    """What giving costs."""
    optimizer: str
    """What descends them, with a state of its own: a name in `OPTIMIZERS`."""
    learning_rate: str
    """The setting that is its learning rate."""


class OuterLearner(PolicyLearner):
    """Policies and what passes between them, learned together by a meta-gradient.

    Args:
        method: the settings of both loops.
        game: what is played.
        placement: seeds, precision, device.
        variable: what is learned above.
        objective: what the outer level wants of the variable; None: it stays, and loss weights alone learn.
        costs: what giving costs; None: nothing.
        cost_weight: the setting that costs are multiplied by; None: they are as they are.
        apart: costs that are not part of the objective; None: there are none.
        fixed: as of `PolicyLearner`, of a variable that stays.

    Raises:
        ValueError: as `PolicyLearner`; or the method's estimator does not suit how the game is played.
    """

    def __init__(
        self,
        method: PolicyMethod,
        game: Game,
        placement: Placement,
        variable: OuterVariable,
        *,
        objective: Objective | None,
        costs: Costs | None = None,
        cost_weight: str | None = None,
        apart: Apart | None = None,
        fixed: Callable[[int], Tensor] | None = None,
    ) -> None:
        weights = method.learned_loss_weights
        if weights is not None:
            variable = WithLossWeights(variable, weights.max_factor)
        super().__init__(method, game, placement, variable, fixed=fixed)
        self.outer, self.apart = method.outer_loop, apart
        self.ascent = make_optimizer(self.outer.optimizer, learning_rate=1.0)
        self.apart_descent = None if apart is None else make_optimizer(apart.optimizer, learning_rate=1.0)
        self.objective = self._wanted(objective)
        self.rate = "loss_weights.learning_rate" if objective is None else "outer.learning_rate"
        self.costs = costs if cost_weight is None or self.schedule.ever(cost_weight) else None
        self.cost_weight = cost_weight
        self.weighed = (
            self.costs is not None and cost_weight is not None and self.schedule.changes(cost_weight)
        )
        fitted = fit_hypergradient(self.outer.hypergradient, self.play)
        self.hypergradient = Compiled(fitted) if placement.compile else fitted
        compiled = placement.compile and not self.play.draws
        self.outer_update = (
            CompiledFunction(self._outer_update, "outer update") if compiled else self._outer_update
        )
        self.starts_anew = self.outer.reset == "each-outer-step"

    def init(self, seed: int) -> State:
        """As `PolicyLearner.init`, with the states of the outer optimizer and of the estimator."""
        state = super().init(seed)
        state["outer_opt_state"] = self.ascent.init(state["phi"])
        if self.apart_descent is not None:
            state["cost_opt_state"] = self.apart_descent.init(state["phi"])
        problem = self.problem_at(state, self.streams(state, Purpose.BEGINNING))
        start = state["theta"], state["opt_state"], state["phi"]
        state["estimator"] = self.hypergradient.init(problem, *start, steps=self.method.inner.steps)
        return state

    def problem_at(self, state: State, generator: torch.Generator) -> BilevelProblem:
        """The bilevel problem of the outer step that comes.

        Args:
            state: from `init` or `update`.
            generator: the source of every draw, on the learner's device.
        """
        return self._problem_at(state, generator, self.now(state))

    def _problem_at(
        self, state: State, generator: torch.Generator, now: tuple[Tensor | None, ...]
    ) -> BilevelProblem:
        weight = self._value(self.cost_weight, state) if self.weighed and self.cost_weight else None
        return self.problem(generator, *now, cost_weight=weight)

    def problem(
        self, generator: torch.Generator, *now: Tensor | None, cost_weight: Tensor | None = None
    ) -> BilevelProblem:
        """This learner's bilevel problem, with what changes on the way as it is told.

        Args:
            generator: the source of every draw, on the learner's device.
            now: what inner steps see beside their sample, as `now` gives it.
            cost_weight: what costs are multiplied by, scalar; None where this does not change.
        """
        weight = () if cost_weight is None else (cost_weight,)

        def sample(theta: Tensor, phi: Tensor) -> Any:
            return self.play.sample(theta, self.transfer(phi), generator)

        def outer_sample(theta: Tensor, phi: Tensor) -> Any:
            return (sample(theta, phi), *weight) if weight else sample(theta, phi)

        draws = self.play.draws
        return BilevelProblem(
            step=self.step,
            outer_loss=self._outer_losses,
            inner_data=(lambda theta, phi, _: (sample(theta, phi), *now)) if draws else FixedData(((), *now)),
            outer_data=outer_sample if draws else FixedData(((), *weight) if weight else ()),
            several=self.objective.several,
        )

    def update(self, state: State) -> tuple[State, Metrics]:
        """One outer step: train the policies, walk back, move the outer variables; measure the new policies.

        In phases of which only one level moves, the other one stays: then policies are only trained, or, as
        they would learn, looked through.

        The metrics show the transfer that these policies learned under; the state holds the next one.

        Raises:
            FloatingPointError: a reward, a policy or a meta-gradient stopped being a finite number (says
                where); the state passed in is not changed.
        """
        phase = self.schedule.phase(int(state["outer_step"]))
        state = self._begun(state, phase)
        if phase.moves == "policies":
            return super().update(state)
        generator, now = self.streams(state, Purpose.TRAINING), self.now(state)
        phi, steps = self._phi(state), self.schedule.steps(int(state["outer_step"]))
        state = {**state, "phi": phi}
        theta, opt_state = self._start(state)
        for _ in range(phase.rounds):
            theta, opt_state = self._learn(steps, theta, opt_state, phi, generator, *now)
        estimate, carried = self._estimate(
            self._problem_at(state, generator, now), theta, opt_state, state, steps
        )
        sample, _ = self._outer(estimate.outer_data)
        require_finite(estimate.theta, "A policy", state["outer_step"])
        gradient = self.objective.own_gradient(estimate.gradient)
        require_finite(gradient, "A meta-gradient", state["outer_step"])
        with torch.no_grad():
            cheaper, cost_state = self._cost_step(state, sample)
            theta, opt_state = estimate.theta, estimate.opt_state
            if phase.moves == "outer":
                theta, opt_state = state["theta"], state["opt_state"]
                sample = self.play.sample(theta, self.transfer(phi), generator)
            moved, outer_opt_state, metrics = self.outer_update(
                phi, gradient, state["outer_opt_state"], self._outer_rate(state), theta, sample
            )
            metrics |= self._weight_metrics(state)
        after = self._next(
            state,
            theta=theta,
            opt_state=opt_state,
            phi=moved + cheaper,
            outer_opt_state=outer_opt_state,
            **cost_state,
            **carried,
        )
        return after, metrics

    def _cost_step(self, state: State, data: Any) -> tuple[Tensor | float, State]:
        """How phi moves by the costs that stand apart, and what the state then says of their optimizer."""
        if self.apart is None or self.apart_descent is None:
            return 0.0, {}
        apart = self.apart
        descent = at_learning_rate(self.apart_descent, self._value(apart.learning_rate, state))

        def total(phi: Tensor) -> Tensor:
            return apart.costs(self.transfer(phi), data).sum()

        updates, opt_state = descent.update(
            gradient_at(state["phi"], total), state["cost_opt_state"], params=state["phi"], inplace=False
        )
        return updates, {"cost_opt_state": opt_state}

    def _start(self, state: State) -> tuple[Tensor, Tree]:
        """Where the inner steps begin: at the state's policies, or at new ones."""
        return self._new_policies(state) if self.starts_anew else (state["theta"], state["opt_state"])

    def _outer_update(
        self, phi: Tensor, gradient: Tensor, opt_state: Tree, rate: Tensor, theta: Tensor, sample: Any
    ) -> tuple[Tensor, Tree, Metrics]:
        """Move the outer variables along the hypergradient, and measure the policies under the old ones."""
        ascent = at_learning_rate(self.ascent, rate)
        updates, opt_state = ascent.update(gradient, opt_state, params=phi, inplace=False)
        metrics = self._measured(theta, self.transfer(phi), sample)
        return phi + updates, opt_state, OrderedDict(metrics)  # a tree sorts the keys of a plain dict

    def _outer_rate(self, state: State) -> Tensor:
        """The outer learning rate of the outer step that comes, scalar or by outer variable."""
        rate = self._value(self.rate, state)
        if self.loss_weights is None:
            return rate
        own, free = self.loss_weights.parts(torch.ones_like(state["phi"][0]))
        weights = self._value("loss_weights.learning_rate", state)
        return self.loss_weights.joined(rate * own, weights * free)

    def _wanted(self, objective: Objective | None) -> Objective:
        """The objective, or, with loss weights, theirs beside it; those that never move want nothing."""
        if self.loss_weights is None:
            assert objective is not None
            return objective
        weights = self.method.learned_loss_weights
        moves = objective is None or self.schedule.ever("loss_weights.learning_rate")
        wanted = OBJECTIVES[weights.objective] if weights and moves else None
        return PartedObjective.of(self.loss_weights, objective, wanted)

    def _begun(self, state: State, phase: Phase) -> State:
        """The same state, with new policies if a phase that asks for them begins."""
        if phase.policies == "kept" or int(state["outer_step"]) > phase.begin:
            return state
        theta, opt_state = self._new_policies(state)
        return {**state, "theta": theta, "opt_state": opt_state}

    def _new_policies(self, state: State) -> tuple[Tensor, Tree]:
        """Fresh draws, with a fresh optimizer."""
        theta = self._initial_policies(int(state["random_seeds"][0]), int(state["outer_step"]))
        return theta, self.optimizer.init(theta)

    def _estimate(
        self, problem: BilevelProblem, theta: Tensor, opt_state: Tree, state: State, steps: int
    ) -> tuple[Estimate, State]:
        """The estimate, and what of the learner's state it changes."""
        estimate, carried = self.hypergradient.estimate(
            problem, theta, opt_state, state["phi"], state["estimator"], steps=steps
        )
        return estimate, {"estimator": carried}

    def _outer_losses(self, theta: Tensor, phi: Tensor, data: Any) -> Tensor:
        sample, weight = self._outer(data)
        values = self.play.values(theta, sample)
        if self.costs is None:
            return self.objective.losses(values, torch.zeros_like(values))
        return self.objective.losses(values, weight * self.costs(self.transfer(phi), sample))

    def _outer(self, data: Any) -> tuple[Any, Tensor | float]:
        """The sample of the outer loss, and what costs are multiplied by."""
        if self.weighed:
            return data[0], data[1]
        return data, 1.0 if self.cost_weight is None else self.schedule.value(self.cost_weight, 0)
