"""A learner of two levels in which nobody knows the others' parameters: each has models of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bilevel.agents.opponent_models import OpponentModels, profiles
from bilevel.agents.play import SampledPlay
from bilevel.agents.rollout import Episodes
from bilevel.errors import require
from bilevel.hypergradient import BilevelProblem, Estimate, Evolution
from bilevel.hypergradient.base import Always, Recorded
from bilevel.hypergradient.rollout import roll_out
from bilevel.methods.contract import Metrics, Placement, State
from bilevel.methods.outer_learner import Apart, Costs, OuterLearner
from bilevel.methods.outer_method import OuterMethod
from bilevel.optimisers.torchopt_adaptor import GradientTransformation
from bilevel.outer.objectives import OBJECTIVES
from bilevel.outer.variables import OuterVariable
from bilevel.tree import Tree, tree_map
from games.base import Game


class ModellingLearner(OuterLearner):
    """Givers whose meta-gradient goes through modelled steps of the others, on episodes really played.

    In each outer step the policies take their own inner steps. Giver i then fits its models to the actions of
    the first of these, takes the inner steps again in thought, itself as it is and the others as modelled, on
    the same episodes, and differentiates its own return, on the episodes played afterwards, through them.
    With models that equal the policies this is the gradient through the others' true steps.

    Args:
        method: the settings of both loops.
        game: what is played.
        placement: seeds, precision, device.
        variable: what is learned above: a row for each giver.
        steps: of a fit.
        optimiser: of the models.
        costs: as for `OuterLearner`.
        cost_weight: as for `OuterLearner`.
        apart: as for `OuterLearner`.

    Raises:
        ValueError: as `OuterLearner`; or with this method nobody could have models (says why).
    """

    def __init__(
        self,
        method: OuterMethod,
        game: Game,
        placement: Placement,
        variable: OuterVariable,
        *,
        steps: int,
        optimiser: GradientTransformation,
        costs: Costs | None = None,
        cost_weight: str | None = None,
        apart: Apart | None = None,
    ) -> None:
        super().__init__(
            method,
            game,
            placement,
            variable,
            objective=OBJECTIVES["own-return"],
            costs=costs,
            cost_weight=cost_weight,
            apart=apart,
        )
        _require_can_model(self)
        self.models = OpponentModels(self.play.policy, optimiser, steps)

    def init(self, seed: int) -> State:
        """As `OuterLearner.init`, with the first models, [seed, observer, modelled agent, parameter]."""
        state, place = super().init(seed), self.placement
        theta = self.models.initial(seed, place.seeds, self.game.num_agents).to(place.device, place.dtype)
        models = {"theta": theta, "opt_state": self.models.optimiser.init(theta)}
        return {**state, "models": {**models, "loss": theta.new_full((place.seeds,), torch.nan)}}

    def update(self, state: State) -> tuple[State, Metrics]:
        """As `OuterLearner.update`; `model_loss` is the models' mean cross-entropy, in nats per step."""
        after, metrics = super().update(state)
        return after, {**metrics, "model_loss": after["models"]["loss"]}

    def evaluate(self, state: State, *, episodes: int) -> Metrics:
        """As `OuterLearner.evaluate`; `model_loss` is that of the last fit."""
        metrics = super().evaluate(state, episodes=episodes)
        return {**metrics, "model_loss": state["models"]["loss"]}

    def _estimate(
        self, problem: BilevelProblem, theta: Tensor, opt_state: Tree, state: State, steps: int
    ) -> Estimate:
        phi, models = state["phi"], state["models"]
        run = roll_out(problem, theta, opt_state, phi, steps, keep=1)
        first, *_ = run.inner_data[0]
        fitted, model_state, loss = self.models.fit(models["theta"], models["opt_state"], first)
        gradient = self.gradient_by_models(theta, fitted, phi, run.inner_data, run.outer_data)
        with torch.no_grad():
            found = problem.outer_loss(run.end[0], phi, run.outer_data)
        past = {"theta": fitted, "opt_state": model_state, "loss": loss}
        return Estimate(*run.end, found, gradient, run.inner_data, run.outer_data, past=past)

    def gradient_by_models(
        self, theta: Tensor, models: Tensor, phi: Tensor, inner_data: tuple[Any, ...], outer_data: Any
    ) -> Tensor:
        """Every giver's meta-gradient, by its own models.

        Args:
            theta: the policies before the inner steps, [seed, agent, parameter].
            models: of these, [seed, observer, modelled agent, parameter].
            phi: the outer variables, [seed, giver, parameter].
            inner_data: episodes of each inner step, and what it is told beside them.
            outer_data: the episodes after them.

        Returns:
            [observer, seed, giver, parameter]: of each observer's own loss.
        """
        agents = self.game.num_agents
        thought = profiles(theta, models).flatten(0, 1)  # each seed's observers, one after the other
        index = torch.arange(len(thought), device=theta.device) % agents

        sample, weight = self._outer(outer_data)

        def own_loss(theta: Tensor, phi: Tensor, data: Any) -> Tensor:
            losses = self._outer_losses(theta, phi, data)  # [agent, seed * observer]
            return losses.gather(0, index[None]).squeeze(0)

        problem = BilevelProblem(
            step=self.step,
            outer_loss=own_loss,
            inner_data=Recorded(tuple((_for_each(data, agents), *told) for data, *told in inner_data)),
            outer_data=Always(
                (_for_each(sample, agents), weight) if self.weighed else _for_each(sample, agents)
            ),
        )
        everybody = phi.repeat_interleave(agents, 0)
        state = self.optimiser.init(thought)
        estimate = self.hypergradient(problem, thought, state, everybody, steps=len(inner_data))
        by_observer: Tensor = estimate.gradient.unflatten(0, (-1, agents)).movedim(1, 0)
        return by_observer

    def _carried(self, estimate: Estimate) -> State:
        return {"models": estimate.past}


def _for_each(episodes: Episodes, agents: int) -> Episodes:
    """The same episodes for each observer: [seed * observer, ...]."""
    repeated: Episodes = tree_map(lambda part: part.repeat_interleave(agents, 0), episodes)
    return repeated


def _require_can_model(learner: ModellingLearner) -> None:
    method, estimator = learner.method, learner.hypergradient
    require(
        isinstance(learner.play, SampledPlay),
        "Models of others are fitted to what they do in episodes: switch exact off (--method.no-exact).",
    )
    require(
        method.inner_optimiser == "sgd",
        "Nobody sees the state of another's optimiser, so modelled steps are plain gradient steps: leave "
        f"inner_optimiser at sgd, not {method.inner_optimiser}.",
    )
    require(
        not method.share_parameters,
        "Agents that share parameters know the others': leave share_parameters off, or opponents at known.",
    )
    require(
        not method.learn_loss_weights,
        "Nobody sees the weights in another's loss, by which modelled steps would be taken: leave "
        "learn_loss_weights off, or opponents at known.",
    )
    require(
        learner.outer.reset == "never",
        "Models follow policies that go on learning: leave reset at never, or opponents at known.",
    )
    require(
        learner.online is None and not isinstance(estimator, Evolution),
        f"{type(estimator).__name__} would need a past, or fresh episodes, of steps that are only thought: "
        "choose an estimator that walks back, as unrolled, or opponents known.",
    )
