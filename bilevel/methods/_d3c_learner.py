"""Policies, and whose losses each agent feels, learned together by a bound on the price of anarchy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bilevel.agents import ExactPlay, Measured
from bilevel.core import Purpose, Tree
from bilevel.hypergradient import BilevelProblem, Evolution
from bilevel.methods._contract import Metrics, Placement, State
from bilevel.methods._d3c_bound import (
    AnarchyBound,
    MixedBy,
    Mixing,
    anarchy_bound,
    identity_slope,
    loss_bound,
    mirror_step,
    positive_losses,
)
from bilevel.methods._learner import PolicyLearner, StepInputs, require_finite
from bilevel.sharing import OBJECTIVES, Report, Transfer
from games.core import Game

if TYPE_CHECKING:
    from bilevel.methods._d3c import D3C


EXACT_RATE, SAMPLED_RATE = 30.0, 1.0
"""Usual step sizes of log-weights: by the slope in weights, and by an estimate in log-weights."""


class D3CLearner(PolicyLearner):
    """Each agent's policy descends its mixed loss, and its row of weights the bound of its own harm.

    Args:
        method: the settings.
        game: what is played.
        placement: seeds, precision, device.
        mixing: the weights.

    Raises:
        ValueError: as `PolicyLearner`; or nobody knows what values stay below.
    """

    def __init__(self, method: D3C, game: Game, placement: Placement, mixing: Mixing) -> None:
        super().__init__(method, game, placement, mixing)
        self.settings, self.mixing = method, mixing
        self.bound = loss_bound(game, method.loss_bound)
        asked = method.mixing_learning_rate
        usual = EXACT_RATE if isinstance(self.play, ExactPlay) else SAMPLED_RATE
        self.rate = usual if asked is None else asked
        self.evolution = Evolution(samples=method.samples, sigma=method.sigma, members=True, fresh_data=True)

    def update(self, state: State) -> tuple[State, Metrics]:
        """One outer step: train the policies on mixed losses, then shift the weights by the bound.

        The metrics show the weights that these policies learned under, and, where values are exact, the
        greatest rho_i, `anarchy`.

        Raises:
            FloatingPointError: a reward or a policy stopped being a finite number, or a loss being above 0
                (says where); the state passed in is not changed.
        """
        generator, inputs = self.streams(state, Purpose.TRAINING), self.inputs(state)
        step = self._exact if isinstance(self.play, ExactPlay) else self._sampled
        theta, opt_state, data, slope = step(state, generator, inputs)
        phi, least = state["phi"], self.settings.least_log_weight
        with torch.no_grad():
            metrics = self._measured(theta, self.transfer(phi), data)
            moved = mirror_step(self.mixing.weights(phi).log(), slope, self.rate, least)
        return self._next(state, theta=theta, opt_state=opt_state, phi=moved), metrics

    def bound_at(self, theta: Tensor, weights: Tensor) -> AnarchyBound:
        """The bound and its analytic slope where values are exact, of losses as the policies descend them.

        Args:
            theta: the policies, [seed, agent, parameter].
            weights: A, [seed, receiver, giver].
        """

        def values(theta: Tensor) -> tuple[Tensor, Tensor]:
            values = self.play.values(theta, ())
            return values.sum(0), values  # seeds do not touch each other

        jacobian, found = torch.func.jacrev(values, has_aux=True)(theta)
        losses, steps = positive_losses(found, self.bound), self.game.effective_horizon
        return anarchy_bound(weights, steps * losses, -steps * jacobian.movedim(0, 1))

    def _metrics(self, theta: Tensor, transfer: Transfer, measured: Measured, report: Report) -> Metrics:
        metrics = super()._metrics(theta, transfer, measured, report)
        if isinstance(self.play, ExactPlay):
            assert isinstance(transfer, MixedBy)
            metrics["anarchy"] = self.bound_at(theta, transfer.weights).bound.amax(-1)
        return metrics

    def _exact(
        self, state: State, generator: torch.Generator, inputs: StepInputs
    ) -> tuple[Tensor, Tree, Any, Tensor]:
        """New policies, their optimizer's state, their episodes, and the slope by weights."""
        phi, steps = state["phi"], self.schedule.steps(int(state["outer_step"]))
        theta, opt_state = self._learn(steps, state["theta"], state["opt_state"], phi, generator, inputs)
        require_finite(theta, "A policy", state["outer_step"])
        weights = self.mixing.weights(phi)
        slope = self.bound_at(theta, weights).slope
        return theta, opt_state, (), slope + self.settings.identity_weight * identity_slope(weights)

    def _sampled(
        self, state: State, generator: torch.Generator, inputs: StepInputs
    ) -> tuple[Tensor, Tree, Any, Tensor]:
        """As `_exact`, but for an estimate of the slope by log-weights."""
        theta, phi = state["theta"], state["phi"]
        problem = self.problem(theta, phi, generator, inputs)
        steps = self.schedule.steps(int(state["outer_step"]))
        found = self.evolution(problem, theta, state["opt_state"], phi, steps=steps)
        require_finite(found.theta, "A policy", state["outer_step"])
        own = OBJECTIVES["own-return"].gradient(found.gradient, found.outer_loss)
        kept = torch.eye(self.game.num_agents, dtype=phi.dtype, device=phi.device)
        divergence = self.mixing.weights(phi) - kept  # its slope, of KL(e_i || A_i) by log-weights
        slope = own + self.settings.identity_weight * divergence
        return found.theta, found.opt_state, found.outer_data, slope

    def problem(
        self, theta: Tensor, phi: Tensor, generator: torch.Generator, inputs: StepInputs
    ) -> BilevelProblem:
        """What evolution strategies compare: for each agent, rho_i - 1 over the inner steps.

        Its members are seeds, or samples of them, sample by sample.
        """

        def sample(theta: Tensor, phi: Tensor) -> Any:
            return self.play.sample(theta, self.transfer(phi), generator)

        def losses(theta: Tensor, data: Any) -> Tensor:
            return positive_losses(self.play.measure(theta, data).values, self.bound)

        with torch.no_grad():
            before = losses(theta, sample(theta, phi))

        def harm(theta: Tensor, phi: Tensor, data: Any) -> Tensor:
            weights = self.mixing.weights(phi)
            start = before.repeat(len(theta) // len(before), 1)
            mixed = ((weights @ each.unsqueeze(-1)).squeeze(-1) for each in (start, losses(theta, data)))
            first, last = mixed
            return (last / first).log().clamp(min=0).mT

        return BilevelProblem(
            step=self.step,
            outer_loss=harm,
            inner_data=lambda theta, phi, _: inputs._replace(batch=sample(theta, phi)),
            outer_data=sample,
            several=True,
        )
