"""Learner of policies and of the hyper-parameters of their actor-critic, by hypergradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from bilevel.agents import TermWeights, TraceSettings, VTracePlay, weighted
from bilevel.core import Tree, gradient_at
from bilevel.hypergradient import BilevelProblem, Estimate, bootstrapped
from bilevel.methods._contract import Metrics, Placement, State
from bilevel.methods._fixed_sharing import reward_transfer
from bilevel.methods._learner import StepInputs
from bilevel.methods._outer_learner import OuterInputs, OuterLearner
from bilevel.sharing import OBJECTIVES, OuterVariable, Transfer, agent_report
from games.core import Game

if TYPE_CHECKING:
    from bilevel.methods._self_tuning import BMG, SelfTuning


TRACE = ("discount", "trace_lambda", "leak")
"""Hyper-parameters between 0 and 1."""
HYPERPARAMETERS = (*TRACE, "policy_coef", "vf_coef", "entropy_coef")
"""Settings of `VTrace` that can be learned."""


class TuningInputs(NamedTuple):
    """Inputs of the outer loss of learned hyper-parameters."""

    batch: Any
    """Episodes of the policies after the inner steps."""
    before: Tensor
    """Policies before the inner steps."""
    entropy_coef: Tensor | None
    """Entropy coefficient of this outer step at its reference value; None: always 0."""


@dataclass(frozen=True, eq=False)
class LearnedHyperparameters:
    """Hyper-parameters of each agent, as an outer variable [seed, agent, head, hyper-parameter].

    Every agent keeps its reward. Values are sigmoids of free numbers, of coefficients twice that times the
    method's setting, from which they start.
    """

    kept: OuterVariable
    """The transfer of nothing."""
    initial_values: Mapping[str, float]
    """Initial value of every hyper-parameter but the entropy coefficient, which may have a schedule."""
    learned: tuple[str, ...]
    """Names of the learned ones, in the order of the last axis."""
    heads: int = 1
    exact = False

    @property
    def agents(self) -> int:
        return self.kept.agents

    def initial(self, seed: int, seeds: int) -> Tensor:
        starts = [self.initial_values[name] if name in TRACE else 0.5 for name in self.learned]
        free = torch.tensor(starts, dtype=torch.float64).logit()
        return free.expand(seeds, self.agents, self.heads, -1)

    def transfer(self, phi: Tensor) -> Transfer:
        return self.kept.transfer(self.kept.initial(seed=0, seeds=len(phi)).to(phi))

    def reference(self, entropy_coef: Tensor | None) -> dict[str, Tensor | float]:
        """Value of every hyper-parameter if none is learned."""
        return {**self.initial_values, "entropy_coef": 0.0 if entropy_coef is None else entropy_coef}

    def values(self, phi: Tensor, entropy_coef: Tensor | None, head: int = 0) -> dict[str, Tensor | float]:
        """Value of every hyper-parameter of a head, [seed, agent], or a number where it is not learned."""
        values = self.reference(entropy_coef)
        for name, free in zip(self.learned, phi[:, :, head].unbind(-1), strict=True):
            values[name] = free.sigmoid() if name in TRACE else 2 * free.sigmoid() * values[name]
        return values


class SelfTuningLearner(OuterLearner):
    """Learner of policies, and of the hyper-parameters of each agent's actor-critic.

    An outer step takes `inner.steps` inner steps at the present hyper-parameters, and updates these by the
    hypergradient of the loss at reference values, on fresh episodes of the policies after the steps.
    """

    play: VTracePlay

    def __init__(self, method: SelfTuning, game: Game, placement: Placement) -> None:
        inner = method.inner
        initial = {name: getattr(inner, name) for name in HYPERPARAMETERS if name != "entropy_coef"}
        initial["discount"] = game.discount if inner.discount is None else inner.discount
        self.tuned = LearnedHyperparameters(reward_transfer(game, 1.0), initial, method.learned, method.heads)
        self.reference = TraceSettings(
            game.discount if method.reference_discount is None else method.reference_discount,
            method.reference_lambda,
        )
        self.objective, self.kl_weight = OBJECTIVES.find(method.objective), method.kl_weight
        # Each agent's loss is of its own parameters alone: one gradient of their sum holds all agents'.
        super().__init__(method, game, placement, self.tuned, objective=OBJECTIVES["welfare"])

    def _inner_losses(self, own: Tensor, others: Tensor, phi: Tree, data: StepInputs) -> Tensor:
        """Losses at the learned hyper-parameters, summed over heads: [seed, agent]."""
        chosen = [self.tuned.values(phi, data.entropy_coef, head) for head in range(self.tuned.heads)]
        settings = [TraceSettings(*(values[name] for name in TRACE)) for values in chosen]
        terms = self.play.traced_terms(
            own, others, self.transfer(phi), data.batch, settings, regularized=self.regularized
        )
        losses = []
        for values, of_head in zip(chosen, terms, strict=True):
            losses.append(weighted(of_head, _weights(values)))
        return torch.stack(losses).sum(0)

    def reference_losses(self, theta: Tensor, phi: Tree, batch: Any, entropy_coef: Tensor | None) -> Tensor:
        """Losses of the main head at reference values, whose sum is to be minimized; with the objective
        own-return [seed, agent], else also [seed, 1], the objective's.
        """
        terms = self.play.traced_terms(
            theta, theta.detach(), self.transfer(phi), batch, [self.reference], regularized=self.regularized
        )[0]
        weights = _weights(self.tuned.reference(entropy_coef))
        if self.objective.welfare is None:
            return weighted(terms, weights)
        returns = self.play.values(theta, batch) * self.game.effective_horizon
        shared = self.objective.losses(returns, torch.zeros_like(returns)).unsqueeze(-1)
        own = weighted(terms._replace(policy=torch.zeros_like(terms.policy)), weights)
        return torch.cat((own, weights.policy * shared), -1)

    def _outer_losses(self, theta: Tensor, phi: Tree, data: Any) -> Tensor:
        losses = self.reference_losses(theta, phi, data.batch, data.entropy_coef)
        if self.kl_weight == 0:
            return losses
        divergence = self.play.divergence_between(theta, data.before, data.batch)
        return torch.cat((losses, self.kl_weight * divergence), -1)

    def problem_from(self, problem: BilevelProblem, theta: Tensor, state: State) -> BilevelProblem:
        """The problem of an outer step whose inner steps start at these policies."""
        sample, bonus = problem.outer_data, self.inputs(state).entropy_coef

        def outer_data(after: Tensor, phi: Tree) -> TuningInputs:
            return TuningInputs(sample(after, phi).batch, theta, bonus)

        return dataclasses.replace(problem, outer_data=outer_data)

    def _estimate(
        self, problem: BilevelProblem, theta: Tensor, opt_state: Tree, state: State, steps: int
    ) -> tuple[Estimate, State]:
        return super()._estimate(self.problem_from(problem, theta, state), theta, opt_state, state, steps)

    def _weight_metrics(self, state: State) -> Metrics:
        """Hyper-parameters of the next outer step: NAME_AGENT, of auxiliary heads NAME_head_HEAD_AGENT."""
        metrics: Metrics = {}
        for head in range(self.tuned.heads):
            values = self.tuned.values(state["phi"], self.inputs(state).entropy_coef, head)
            for name in self.tuned.learned:
                learned: Any = values[name]
                metrics |= agent_report(f"{name}_head_{head}" if head else name, learned.detach())
        return metrics


def _weights(values: Mapping[str, Tensor | float]) -> TermWeights:
    return TermWeights(values["policy_coef"], values["vf_coef"], values["entropy_coef"])


class BootstrappedLearner(SelfTuningLearner):
    """Learner of hyper-parameters for which policies are closer to a later policy of theirs."""

    def __init__(self, method: BMG, game: Game, placement: Placement) -> None:
        super().__init__(method, game, placement)
        self.target_steps = method.target_steps

    def problem_from(self, problem: BilevelProblem, theta: Tensor, state: State) -> BilevelProblem:
        return bootstrapped(
            problem,
            steps=self.target_steps,
            target_step=self._step_to_target,
            matching=self._divergence,
            data=problem.inner_data,
        )

    def _step_to_target(
        self, theta: Tensor, opt_state: Tree, phi: Tree, data: StepInputs
    ) -> tuple[Tensor, Tree]:
        """A step on the losses at reference values."""
        direction = gradient_at(
            theta, lambda own: self.reference_losses(own, phi, data.batch, data.entropy_coef).sum()
        )
        return self._descend(theta, opt_state, direction, data)

    def _divergence(self, target: Tensor, theta: Tensor, data: tuple[StepInputs, ...]) -> Tensor:
        """KL(target || policy) on the episodes of the policies after the differentiated steps."""
        return self.play.divergence(target, theta, data[0].batch)

    def _estimate(
        self, problem: BilevelProblem, theta: Tensor, opt_state: Tree, state: State, steps: int
    ) -> tuple[Estimate, State]:
        """The estimate, with the policies from which learning continues and episodes of theirs."""
        estimate, carried = super()._estimate(problem, theta, opt_state, state, steps)
        later = estimate.outer_data
        inputs = OuterInputs(later.data[-1].batch)
        return dataclasses.replace(
            estimate, theta=later.theta, opt_state=later.opt_state, outer_data=inputs
        ), carried
