"""`d3c`: learned mixing of losses, by a bound on the local price of anarchy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from bilevel.agents import ExactPlay, Measured
from bilevel.core import Purpose, Range, Tree
from bilevel.hypergradient import BilevelProblem, Evolution, require_sampling
from bilevel.methods._contract import Learner, Metrics, Placement, State
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
from bilevel.methods._method import UpdateRuleMethod
from bilevel.sharing import OBJECTIVES, Report, Transfer
from games.core import Game, require


@dataclass(frozen=True, kw_only=True)
class D3C(UpdateRuleMethod):
    """Learned mixing of losses: each agent's weights descend an upper bound on the local price of anarchy.

    Inner loop: agent i descends f_i^A = sum_j A_ij f_j, with losses f_j = bound - value_j above 0 and rows of
    A that sum to 1. Outer loop: its row descends

        rho_i + nu KL(e_i || A_i),  rho_i = 1 + relu(d/dt log f_i^A + |grad_i f_i^A|^2 / f_i^A),

    whose first term bounds the local price of anarchy; all rows are updated at once, each by its own bound.
    With exact values the derivative by A_i is analytic (`anarchy_bound`), at the policies after the inner
    steps, and log A_i takes a mirror descent step, with a floor. With episodes it is estimated by evolution
    strategies: the inner steps are taken with perturbed log-weights, and rho_i is the relu of the increase of
    log f_i^A over them; log-weights descend the estimate.

    Win-stay, lose-shift: an agent's weights change only while the other agents' learning increases its mixed
    loss, so the rule can stop short of the optimum, at an unequal outcome.

    Needs: the other agents' rewards; with exact values, the gradients of all losses by all policies. The
    total is not conserved: the metric `imbalance` is the mean distance of the column sums of A from 1, at
    which it would be. No reward is transferred.

    Raises:
        ValueError: a setting is out of range; at build, there is no bound of the values (see `loss_bound`).

    Source:
        Gemp et al., D3C: Reducing the Price of Anarchy in Multi-Agent Learning, arXiv 2010.00575. Checked
        against its abstract: agents mix their losses with those of the other agents by following the gradient
        of a differentiable upper bound on a price of anarchy, which resembles win-stay, lose-shift; evolution
        strategies where incentives are not differentiable; Braess's network and a prisoner's dilemma. From
        memory, not checked: the equations above and the floor. Chosen here: all defaults, the bounds of
        values, and the omission of |grad_i f_i^A|^2, the square of a gradient that is mostly noise, from the
        estimate on episodes.

    >>> import games
    >>> from bilevel.methods import Placement
    >>> learner = D3C().build(games.make("prisoners-dilemma"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["share_0_0"]  # the weights during the inner step
    tensor([0.9900, 0.9900], dtype=torch.float64)
    >>> bool((learner.transfer(state["phi"]).weights[:, 0, 1] > 0.01).all())  # defection harms: shift
    True
    """

    loss_bound: Annotated[float | None, Range()] = None
    """Upper bound of all agents' values, in the game's units of value: losses are the bound minus the value.
    None: the game's own, where it has a payoff table (0 where all payoffs are below 0)."""
    own_weight: float = 0.99
    """Initial weight of the own loss, above 0 and below 1; the neighbors' weights are equal."""
    mixing_learning_rate: Annotated[float | None, Range(above=0)] = None
    """Learning rate of the log-weights, above 0, per unit of rho; None: 30 with exact values, 1 with
    episodes."""
    identity_weight: Annotated[float, Range(min=0)] = 1e-6
    """nu, the weight of the divergence from the own loss alone, 0 or more, in rho per nat."""
    min_log_weight: float = -8.0
    """Floor of the log-weights, finite and below -1, in nats."""
    samples: int = 8
    """With episodes: perturbed runs of the inner steps in each outer step, an even number of 2 or more."""
    sigma: float = 0.5
    """With episodes: standard deviation of the perturbations of log-weights, above 0, in nats."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.own_weight < 1, f"own_weight must be above 0 and below 1, not {self.own_weight:g}.")
        low = self.min_log_weight
        require(
            math.isfinite(low) and low < -1,
            f"min_log_weight must be a finite number below -1, not {low:g}.",
        )
        require_sampling(self.samples, self.sigma, antithetic=True)

    def build(self, game: Game, placement: Placement) -> Learner:
        return D3CLearner(self, game, placement, Mixing(game.neighbors, self.own_weight))


EXACT_RATE, SAMPLED_RATE = 30.0, 1.0
"""Default learning rates of log-weights, by the slope in weights and by an estimate in log-weights."""


class D3CLearner(PolicyLearner):
    """Policies that descend mixed losses, and rows of weights that descend each agent's bound."""

    def __init__(self, method: D3C, game: Game, placement: Placement, mixing: Mixing) -> None:
        super().__init__(method, game, placement, mixing)
        self.settings, self.mixing = method, mixing
        self.bound = loss_bound(game, method.loss_bound)
        default = EXACT_RATE if isinstance(self.play, ExactPlay) else SAMPLED_RATE
        self.rate = default if method.mixing_learning_rate is None else method.mixing_learning_rate
        self.evolution = Evolution(samples=method.samples, sigma=method.sigma, members=True, fresh_data=True)

    def update(self, state: State) -> tuple[State, Metrics]:
        """Take an outer step: train the policies on mixed losses, then update the weights by the bound.

        The metrics show the weights during this training, and, where values are exact, the greatest rho_i,
        `anarchy`.
        """
        generator, inputs = self.streams(state, Purpose.TRAINING), self.inputs(state)
        step = self._exact if isinstance(self.play, ExactPlay) else self._sampled
        theta, opt_state, data, slope = step(state, generator, inputs)
        phi, floor = state["phi"], self.settings.min_log_weight
        with torch.no_grad():
            metrics = self._measured(theta, self.transfer(phi), data)
            new_phi = mirror_step(self.mixing.weights(phi).log(), slope, self.rate, floor)
        return self._next(state, theta=theta, opt_state=opt_state, phi=new_phi), metrics

    def bound_at(self, theta: Tensor, weights: Tensor) -> AnarchyBound:
        """Bound and analytic slope at these policies and weights, of exact values."""

        def values(theta: Tensor) -> tuple[Tensor, Tensor]:
            values = self.play.values(theta, ())
            return values.sum(0), values  # seeds are independent

        jacobian, exact_values = torch.func.jacrev(values, has_aux=True)(theta)
        losses, steps = positive_losses(exact_values, self.bound), self.game.effective_horizon
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
        """Train with exact values: policies, optimizer state, no episodes, and the slope by weights."""
        phi, steps = state["phi"], self.schedule.steps(int(state["outer_step"]))
        theta, opt_state = self._learn(steps, state["theta"], state["opt_state"], phi, generator, inputs)
        require_finite(theta, "A policy", state["outer_step"])
        weights = self.mixing.weights(phi)
        slope = self.bound_at(theta, weights).slope
        return theta, opt_state, (), slope + self.settings.identity_weight * identity_slope(weights)

    def _sampled(
        self, state: State, generator: torch.Generator, inputs: StepInputs
    ) -> tuple[Tensor, Tree, Any, Tensor]:
        """Train on episodes: as `_exact`, with an estimate of the slope by log-weights."""
        theta, phi = state["theta"], state["phi"]
        problem = self.problem(theta, phi, generator, inputs)
        steps = self.schedule.steps(int(state["outer_step"]))
        estimate = self.evolution(problem, theta, state["opt_state"], phi, steps=steps)
        require_finite(estimate.theta, "A policy", state["outer_step"])
        own = OBJECTIVES["own-return"].gradient(estimate.gradient, estimate.outer_loss)
        identity = torch.eye(self.game.num_agents, dtype=phi.dtype, device=phi.device)
        divergence = self.mixing.weights(phi) - identity  # the slope of KL(e_i || A_i) by log-weights
        slope = own + self.settings.identity_weight * divergence
        return estimate.theta, estimate.opt_state, estimate.outer_data, slope

    def problem(
        self, theta: Tensor, phi: Tensor, generator: torch.Generator, inputs: StepInputs
    ) -> BilevelProblem:
        """Bilevel problem of evolution strategies: each agent's rho_i - 1 over the inner steps."""

        def sample(theta: Tensor, phi: Tensor) -> Any:
            return self.play.sample(theta, self.transfer(phi), generator)

        def losses(theta: Tensor, data: Any) -> Tensor:
            return positive_losses(self.play.measure(theta, data).values, self.bound)

        with torch.no_grad():
            before = losses(theta, sample(theta, phi))

        def harm(theta: Tensor, phi: Tensor, data: Any) -> Tensor:
            weights = self.mixing.weights(phi)
            start = before.repeat(len(theta) // len(before), 1)
            first, last = (
                (weights @ each.unsqueeze(-1)).squeeze(-1) for each in (start, losses(theta, data))
            )
            return (last / first).log().clamp(min=0).mT

        return BilevelProblem(
            step=self.step,
            outer_loss=harm,
            inner_data=lambda theta, phi, _: inputs._replace(batch=sample(theta, phi)),
            outer_data=sample,
            per_agent_objective=True,
        )
