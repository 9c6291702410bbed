"""Learners: all seeds of one run, as a state and a pure update of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bilevel.agents.play import Measured
from bilevel.agents.policies import initial_parameters
from bilevel.hypergradient import BilevelProblem, Hypergradient, Unrolled
from bilevel.methods.base import Method, Placement
from bilevel.optimisers import GradientTransformation, make_optimiser
from bilevel.outer.objectives import COSTS, Objective, given_away
from bilevel.outer.sharing import Sharing
from bilevel.step import inner_step_per_agent
from bilevel.tree import detach
from games.base import Game

State = dict[str, Any]
"""Everything a learner knows, one pytree of tensors: save it, and nothing is lost."""

Metrics = dict[str, Tensor]
"""Name -> float [seed]."""


class Learner:
    """Policies that learn under sharing that does not change.

    Args:
        method: the inner loop's settings.
        game: what is played.
        placement: seeds, precision, device.
        sharing: who gets which part of whose reward, [giver, receiver]; rows sum to 1.
    """

    def __init__(self, method: Method, game: Game, placement: Placement, sharing: Tensor) -> None:
        self.method, self.game, self.placement = method, game, placement
        self.play = method.play(game)
        self.optimiser = make_optimiser(method.inner_optimiser, learning_rate=method.inner_learning_rate)
        self.step = inner_step_per_agent(self._inner_losses, self.optimiser)
        self._initial_phi = sharing

    def sharing(self, phi: Tensor) -> Tensor:
        """The sharing matrices, [seed, giver, receiver], that these outer variables stand for."""
        return phi

    def init(self, seed: int) -> State:
        """The first state; the first policies of repetition i depend on `seed` and i alone."""
        place = self.placement
        theta = initial_parameters(
            self.play.policy, seed=seed, seeds=place.seeds, agents=self.game.num_agents
        ).to(place.device, place.dtype)
        phi = self._initial_phi.to(place.device, place.dtype).expand(place.seeds, -1, -1).clone()
        generator = torch.Generator(place.device).manual_seed(seed)
        return {
            "outer_step": torch.zeros((), dtype=torch.int64),
            "theta": theta,
            "opt_state": self.optimiser.init(theta),
            "phi": phi,
            "generator": generator.get_state(),
        }

    def update(self, state: State) -> tuple[State, Metrics]:
        """One outer step: train the policies `inner_steps` times, then measure them on fresh episodes.

        Raises:
            FloatingPointError: a reward or a policy stopped being a finite number (says where); the state
                passed in is not changed.
        """
        generator, bonus = self._resume(state)
        theta, opt_state, phi = state["theta"], state["opt_state"], state["phi"]
        sharing = self.sharing(phi)
        with torch.no_grad():
            for _ in range(self.method.inner_steps):
                data = self.play.sample(theta, sharing, generator), bonus
                theta, opt_state = self.step(theta, opt_state, phi, data)
            require_finite(theta, "A policy", state["outer_step"])
            metrics = self._metrics(
                self.play.measure(theta, self.play.sample(theta, sharing, generator)), sharing
            )
        return self._next(state, generator, theta=theta, opt_state=opt_state), metrics

    @torch.no_grad()
    def evaluate(self, state: State, *, episodes: int, seed: int) -> Metrics:
        """Measure the policies of a state on fresh episodes; the state's own stream of draws is not touched.

        Args:
            state: from `init` or `update`.
            episodes: per seed; unused when values are exact.
            seed: of the episodes.
        """
        generator = torch.Generator(self.placement.device).manual_seed(seed)
        play, theta, sharing = self.play.with_episodes(episodes), state["theta"], self.sharing(state["phi"])
        return self._metrics(play.measure(theta, play.sample(theta, sharing, generator)), sharing)

    def _inner_losses(self, own: Tensor, others: Tensor, phi: Tensor, data: Any) -> Tensor:
        sample, bonus = data
        return self.play.losses(own, others, self.sharing(phi), sample, bonus)

    def _resume(self, state: State) -> tuple[torch.Generator, Tensor]:
        generator = torch.Generator(self.placement.device)
        generator.set_state(state["generator"])
        bonus = self.method.entropy_schedule(int(state["outer_step"]))
        return generator, torch.tensor(bonus, dtype=self.placement.dtype, device=self.placement.device)

    def _next(self, state: State, generator: torch.Generator, **changed: Any) -> State:
        return {
            **state,
            **{name: detach(tree) for name, tree in changed.items()},
            "outer_step": state["outer_step"] + 1,
            "generator": generator.get_state(),
        }

    def _metrics(self, measured: Measured, sharing: Tensor) -> Metrics:
        agents = range(self.game.num_agents)
        metrics = {"welfare": measured.values.sum(-1)}
        metrics |= {f"return_{agent}": measured.values[:, agent] for agent in agents}
        if measured.cooperation is not None:
            metrics["cooperation"] = measured.cooperation.mean(-1)
        metrics["given_away"] = given_away(sharing).mean(-1)
        metrics |= {
            f"share_{giver}_{taker}": sharing[:, giver, taker] for giver in agents for taker in agents
        }
        return {name: values.detach() for name, values in metrics.items()}


class SharingLearner(Learner):
    """Policies and the sharing between them, learned together by a meta-gradient.

    Args:
        method: the inner loop's settings.
        game: what is played.
        placement: seeds, precision, device.
        sharing: the outer variable.
        objective: what the outer level wants.
        cost: name in `COSTS` and its weight, in the objective's units.
        outer_optimiser: how the logits descend.
        hypergradient: how the meta-gradient is taken.
    """

    def __init__(
        self,
        method: Method,
        game: Game,
        placement: Placement,
        sharing: Sharing,
        *,
        objective: Objective,
        cost: tuple[str, float],
        outer_optimiser: GradientTransformation,
        hypergradient: Hypergradient | None = None,
    ) -> None:
        super().__init__(method, game, placement, sharing.initial())
        self.outer_variable, self.objective = sharing, objective
        self.cost, self.cost_weight = COSTS[cost[0]], cost[1]
        self.outer_optimiser = outer_optimiser
        self.hypergradient = Unrolled() if hypergradient is None else hypergradient

    def sharing(self, phi: Tensor) -> Tensor:
        """The masked softmax of the logits."""
        return self.outer_variable.matrix(phi)

    def init(self, seed: int) -> State:
        """As `Learner.init`, with the outer optimiser's state."""
        state = super().init(seed)
        return {**state, "outer_opt_state": self.outer_optimiser.init(state["phi"])}

    def problem(self, generator: torch.Generator, bonus: Tensor) -> BilevelProblem:
        """This learner's bilevel problem, drawing its data from `generator`."""
        return BilevelProblem(
            step=self.step,
            outer_loss=self._outer_losses,
            inner_data=lambda theta, phi, _: (self.play.sample(theta, self.sharing(phi), generator), bonus),
            outer_data=lambda theta, phi: self.play.sample(theta, self.sharing(phi), generator),
            several=self.objective.several,
        )

    def update(self, state: State) -> tuple[State, Metrics]:
        """One outer step: train the policies, walk back, move the sharing logits; measure the new policies.

        Raises:
            FloatingPointError: a reward, a policy or a meta-gradient stopped being a finite number (says
                where); the state passed in is not changed.
        """
        generator, bonus = self._resume(state)
        phi = state["phi"]
        estimate = self.hypergradient(
            self.problem(generator, bonus),
            state["theta"],
            state["opt_state"],
            phi,
            steps=self.method.inner_steps,
        )
        require_finite(estimate.theta, "A policy", state["outer_step"])
        gradient = self.objective.own_gradient(estimate.gradient)
        require_finite(gradient, "A meta-gradient", state["outer_step"])
        with torch.no_grad():
            updates, outer_opt_state = self.outer_optimiser.update(
                gradient, state["outer_opt_state"], params=phi, inplace=False
            )
            measured = self.play.measure(estimate.theta, estimate.outer_data)
            metrics = self._metrics(measured, self.sharing(phi))
        after = self._next(
            state,
            generator,
            theta=estimate.theta,
            opt_state=estimate.opt_state,
            phi=phi + updates,
            outer_opt_state=outer_opt_state,
        )
        return after, metrics

    def _outer_losses(self, theta: Tensor, phi: Tensor, data: Any) -> Tensor:
        costs = self.cost_weight * self.cost(self.sharing(phi))
        return self.objective.losses(self.play.values(theta, data), costs)


def require_finite(values: Tensor, what: str, outer_step: Tensor) -> None:
    """Raise FloatingPointError naming the first seed and agent of [seed, agent, ...] that is not finite."""
    finite = values.isfinite()
    if not finite.all():
        seed, agent = (~finite).nonzero()[0].tolist()[:2]
        raise FloatingPointError(
            f"{what} stopped being a finite number in outer step {int(outer_step)}, first for seed {seed}, "
            f"agent {agent}: try a smaller learning rate."
        )
