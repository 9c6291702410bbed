"""Opponent modeling: hypergradients of incentives through modeled steps of the other agents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bilevel.agents import Policy, SampledPlay, allowed, chosen
from bilevel.core import Purpose, Tree, first_draws, tree_map
from bilevel.hypergradient import BilevelProblem, Estimate, Evolution, FixedData, RecordedData, roll_out
from bilevel.methods._contract import Metrics, State
from bilevel.methods._learner import descend
from bilevel.methods._outer_learner import OuterLearner
from bilevel.optimizers import GradientTransformation
from bilevel.sharing import Trajectory, per_step
from games.core import require


@dataclass(frozen=True, eq=False)
class OpponentModels:
    """Each observer's model of each other agent: a policy of the same form, fitted by maximum likelihood.

    Models are fitted to the modeled agent's observations and actions: observers have access to all of them.

    Source:
        Yang et al., Learning to Incentivize Other Learning Agents (LIO), arXiv 2006.06051: its decentralized
        form; the form of the fit (cross-entropy, the modeled agents' own observations) is that of the
        released code.
    """

    policy: Policy
    optimizer: GradientTransformation
    """Elementwise optimizer of the models' cross-entropy, so that models are independent."""
    steps: int

    def initial(self, seed: int, seeds: int, agents: int) -> Tensor:
        """Draw initial models, float64 [seed, observer, modeled agent, parameter], on the CPU.

        An observer's model of itself is never used.
        """
        return first_draws(
            lambda generator: self.policy.initial(generator, agents, agents),
            range(seed, seed + seeds),
            Purpose.MODELS,
        )

    def cross_entropy(self, models: Tensor, episodes: Trajectory) -> Tensor:
        """Cross-entropy of agents' actions in nats per step, [seed, observer, modeled agent]."""

        def for_observers(values: Tensor) -> Tensor:
            return values.unsqueeze(1).expand(-1, models.shape[1], *values.shape[1:])

        legal = None if episodes.legal is None else for_observers(episodes.legal)
        logits = allowed(self.policy.unroll(models, for_observers(episodes.observations)), legal)
        log_probabilities = chosen(logits, for_observers(episodes.actions))
        if episodes.present is None:
            return -per_step(log_probabilities, episodes)
        weight = episodes.acting.unsqueeze(1)
        return -(log_probabilities * weight).sum((-2, -1)) / weight.sum((-2, -1))

    @torch.no_grad()
    def fit(self, models: Tensor, opt_state: Tree, episodes: Trajectory) -> tuple[Tensor, Tree, Tensor]:
        """Fit models to episodes: the models, their optimizer's state, their cross-entropy [seed]."""
        others = ~torch.eye(models.shape[1], dtype=torch.bool, device=models.device)

        def loss(models: Tensor) -> Tensor:
            return self.cross_entropy(models, episodes)[:, others]

        models, opt_state = descend(
            self.optimizer, models, opt_state, lambda models: loss(models).sum(), self.steps
        )
        return models, opt_state, loss(models).mean(-1)


def profiles(theta: Tensor, models: Tensor) -> Tensor:
    """Policy profile of each observer, with modeled other agents: [seed, observer, agent, parameter]."""
    own = torch.eye(theta.shape[1], dtype=torch.bool, device=theta.device).unsqueeze(-1)
    return torch.where(own, theta.unsqueeze(1), models)


class ModelingLearner(OuterLearner):
    """Learner of incentives by hypergradients through modeled steps of the other agents.

    In each outer step the policies take their true inner steps. Giver i then fits its models to the actions
    of the first of these, recomputes the inner steps with its own true policy and its models, on the same
    episodes, and differentiates its own return, on the episodes sampled afterwards, through them. If the
    models equal the policies, this is the gradient through the other agents' true steps.
    """

    def __init__(self, *args: Any, models: OpponentModels, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _require_can_model(self)
        self.models = models

    def init(self, seed: int) -> State:
        state, place = super().init(seed), self.placement
        theta = self.models.initial(seed, place.seeds, self.game.num_agents).to(place.device, place.dtype)
        models = {"theta": theta, "opt_state": self.models.optimizer.init(theta)}
        return {**state, "models": {**models, "loss": theta.new_full((place.seeds,), torch.nan)}}

    def update(self, state: State) -> tuple[State, Metrics]:
        after, metrics = super().update(state)
        return after, {**metrics, "model_loss": after["models"]["loss"]}

    def evaluate(self, state: State, *, episodes: int) -> Metrics:
        return {**super().evaluate(state, episodes=episodes), "model_loss": state["models"]["loss"]}

    def _estimate(
        self, problem: BilevelProblem, theta: Tensor, opt_state: Tree, state: State, steps: int
    ) -> tuple[Estimate, State]:
        phi, models = state["phi"], state["models"]
        run = roll_out(problem, theta, opt_state, phi, steps, keep=1)
        first = run.inner_data[0].batch
        fitted, model_state, loss = self.models.fit(models["theta"], models["opt_state"], first)
        gradient = self.gradient_by_models(theta, fitted, phi, run.inner_data, run.outer_data)
        with torch.no_grad():
            outer_loss = problem.outer_loss(run.end[0], phi, run.outer_data)
        models = {"theta": fitted, "opt_state": model_state, "loss": loss}
        return Estimate(*run.end, outer_loss, gradient, run.inner_data, run.outer_data), {"models": models}

    def gradient_by_models(
        self, theta: Tensor, models: Tensor, phi: Tensor, inner_data: tuple[Any, ...], outer_data: Any
    ) -> Tensor:
        """Hypergradient of every giver by its own models: [observer, seed, giver, parameter]."""
        agents = self.game.num_agents
        modeled = profiles(theta, models).flatten(0, 1)  # observers are the inner index of seed * observer
        index = torch.arange(len(modeled), device=theta.device) % agents

        def own_loss(theta: Tensor, phi: Tensor, data: Any) -> Tensor:
            losses = self._outer_losses(theta, phi, data)  # [agent, seed * observer]
            return losses.gather(0, index[None]).squeeze(0)

        def repeat_for_observers(data: Any) -> Any:
            batch = tree_map(lambda part: part.repeat_interleave(agents, 0), data.batch)
            return data._replace(batch=batch)

        problem = BilevelProblem(
            step=self.step,
            outer_loss=own_loss,
            inner_data=RecordedData(tuple(map(repeat_for_observers, inner_data))),
            outer_data=FixedData(repeat_for_observers(outer_data)),
        )
        repeated_phi = phi.repeat_interleave(agents, 0)
        state = self.optimizer.init(modeled)
        estimate = self.hypergradient(problem, modeled, state, repeated_phi, steps=len(inner_data))
        by_observer: Tensor = estimate.gradient.unflatten(0, (-1, agents)).movedim(1, 0)
        return by_observer


def _require_can_model(learner: ModelingLearner) -> None:
    method, estimator = learner.method, learner.hypergradient
    sentences = {
        "Models of others are fitted to their actions in episodes: switch exact off (--inner.no-exact).": (
            isinstance(learner.play, SampledPlay)
        ),
        "The state of another agent's optimizer is not observed, so modeled steps are plain gradient steps: "
        f"leave inner.optimizer at sgd, not {method.inner.optimizer}.": method.inner.optimizer == "sgd",
        "Agents with shared parameters know all policies: leave share_parameters off, or opponents "
        "at known.": (not method.policy.shared),
        "The learned weights of another agent's loss are not observed, and modeled steps need them: leave "
        "loss_weights at none, or opponents at known.": method.learned_loss_weights is None,
        "Models follow policies that go on learning: leave reset at never, or opponents at known.": (
            learner.outer.reset == "never"
        ),
        f"{type(estimator).__name__} would need a state, or fresh episodes, of steps that are only modeled: "
        "choose an estimator that differentiates recorded steps, such as unrolled, or opponents known.": (
            not estimator.stateful and not isinstance(estimator, Evolution)
        ),
    }
    for sentence, met in sentences.items():
        require(met, sentence)
