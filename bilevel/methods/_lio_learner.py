"""A learner of two levels in which nobody knows the others' parameters: each has models of them.

Models of the other agents' policies, fitted to what they were seen to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bilevel.agents import Policy, SampledPlay, Trajectory, allowed, chosen
from bilevel.core import Purpose, Tree, first_draws, gradient_at, tree_map
from bilevel.hypergradient import BilevelProblem, Estimate, Evolution, FixedData, RecordedData, roll_out
from bilevel.methods._contract import Metrics, Placement, State
from bilevel.methods._method import OuterMethod
from bilevel.methods._outer_learner import Costs, OuterLearner, SeparateCost
from bilevel.optimizers import GradientTransformation
from bilevel.sharing import OBJECTIVES, OuterVariable, per_step
from games.core import Game, require


@dataclass(frozen=True, eq=False)
class OpponentModels:
    """Each observer has a model of each other agent: a policy of the same form, by maximum likelihood.

    Models see what the modeled agent sees, and what it did: the observers observe everything.

    Raises:
        ValueError: a fit takes less than a step.

    Source:
        Yang et al., Learning to Incentivize Other Learning Agents (LIO), arXiv 2006.06051: its decentralized
        form; the form of the fit (cross-entropy, the others' own observations) is that of the released code.

    >>> from bilevel.agents import Tabular
    >>> from bilevel.optimizers import adam
    >>> models = OpponentModels(Tabular(num_observations=5, num_actions=2), adam(0.1), steps=10)
    >>> models.initial(seed=0, seeds=3, agents=2).shape  # seed, observer, modeled agent, parameter
    torch.Size([3, 2, 2, 5])
    """

    policy: Policy
    """Of the modeled agents."""
    optimizer: GradientTransformation
    """How models descend their cross-entropy; entry by entry, so that no model sees another's."""
    steps: int
    """Of descent in a fit, 1 or more."""

    def __post_init__(self) -> None:
        require(self.steps >= 1, f"A fit of models takes 1 step or more, not {self.steps}.")

    def initial(self, seed: int, seeds: int, agents: int) -> Tensor:
        """The first models, float64 [seed, observer, modeled agent, parameter], on the CPU.

        Those of repetition i depend on the random seed `seed` + i alone; the entry of an observer's model of
        itself is never used.
        """
        return first_draws(
            lambda generator: self.policy.initial(generator, agents, agents),
            range(seed, seed + seeds),
            Purpose.MODELS,
        )

    def cross_entropy(self, models: Tensor, episodes: Trajectory) -> Tensor:
        """How badly models foretell what agents did: nats per step, [seed, observer, modeled agent].

        Args:
            models: [seed, observer, modeled agent, parameter].
            episodes: what was seen.
        """

        def for_all(values: Tensor) -> Tensor:
            return values.unsqueeze(1).expand(-1, models.shape[1], *values.shape[1:])

        legal = None if episodes.legal is None else for_all(episodes.legal)
        logits = allowed(self.policy.unroll(models, for_all(episodes.observations)), legal)
        found = chosen(logits, for_all(episodes.actions))
        if episodes.present is None:
            return -per_step(found, episodes)
        weight = episodes.acting.unsqueeze(1)
        return -(found * weight).sum((-2, -1)) / weight.sum((-2, -1))

    @torch.no_grad()
    def fit(self, models: Tensor, opt_state: Tree, episodes: Trajectory) -> tuple[Tensor, Tree, Tensor]:
        """Descend the cross-entropy of the others' actions.

        Args:
            models: [seed, observer, modeled agent, parameter].
            opt_state: their optimizer's.
            episodes: what was seen.

        Returns:
            models; their optimizer's state; their mean cross-entropy on these episodes, after the fit, in
            nats per step, [seed].
        """
        others = ~torch.eye(models.shape[1], dtype=torch.bool, device=models.device)

        def loss(models: Tensor) -> Tensor:
            return self.cross_entropy(models, episodes)[:, others]

        for _ in range(self.steps):
            gradient = gradient_at(models, lambda models: loss(models).sum())
            updates, opt_state = self.optimizer.update(gradient, opt_state, params=models, inplace=False)
            models = models + updates
        return models, opt_state, loss(models).mean(-1)


def profiles(theta: Tensor, models: Tensor) -> Tensor:
    """What each observer takes everybody's policies to be: its own as it is, the others' as modeled.

    Args:
        theta: the policies, [seed, agent, parameter].
        models: [seed, observer, modeled agent, parameter].

    Returns:
        [seed, observer, agent, parameter].

    >>> profiles(torch.ones(1, 2, 1), torch.zeros(1, 2, 2, 1)).squeeze()
    tensor([[1., 0.],
            [0., 1.]])
    """
    own = torch.eye(theta.shape[1], dtype=torch.bool, device=theta.device).unsqueeze(-1)
    return torch.where(own, theta.unsqueeze(1), models)


class ModelingLearner(OuterLearner):
    """Givers whose meta-gradient goes through modeled steps of the others, on episodes really played.

    In each outer step the policies take their own inner steps. Giver i then fits its models to the actions of
    the first of these, takes the inner steps again in thought, itself as it is and the others as modeled, on
    the same episodes, and differentiates its own return, on the episodes played afterwards, through them.
    With models that equal the policies this is the gradient through the others' true steps.

    Args:
        method: the settings of both loops.
        game: what is played.
        placement: seeds, precision, device.
        variable: what is learned above: a row for each giver.
        steps: of a fit.
        optimizer: of the models.
        costs: as for `OuterLearner`.
        cost_weight: as for `OuterLearner`.
        separate: as for `OuterLearner`.

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
        optimizer: GradientTransformation,
        costs: Costs | None = None,
        cost_weight: str | None = None,
        separate: SeparateCost | None = None,
    ) -> None:
        super().__init__(
            method,
            game,
            placement,
            variable,
            objective=OBJECTIVES["own-return"],
            costs=costs,
            cost_weight=cost_weight,
            separate=separate,
        )
        _require_can_model(self)
        self.models = OpponentModels(self.play.policy, optimizer, steps)

    def init(self, seed: int) -> State:
        """As `OuterLearner.init`, with the first models, [seed, observer, modeled agent, parameter]."""
        state, place = super().init(seed), self.placement
        theta = self.models.initial(seed, place.seeds, self.game.num_agents).to(place.device, place.dtype)
        models = {"theta": theta, "opt_state": self.models.optimizer.init(theta)}
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
    ) -> tuple[Estimate, State]:
        phi, models = state["phi"], state["models"]
        run = roll_out(problem, theta, opt_state, phi, steps, keep=1)
        first = run.inner_data[0].batch
        fitted, model_state, loss = self.models.fit(models["theta"], models["opt_state"], first)
        gradient = self.gradient_by_models(theta, fitted, phi, run.inner_data, run.outer_data)
        with torch.no_grad():
            found = problem.outer_loss(run.end[0], phi, run.outer_data)
        models = {"theta": fitted, "opt_state": model_state, "loss": loss}
        return Estimate(*run.end, found, gradient, run.inner_data, run.outer_data), {"models": models}

    def gradient_by_models(
        self, theta: Tensor, models: Tensor, phi: Tensor, inner_data: tuple[Any, ...], outer_data: Any
    ) -> Tensor:
        """Every giver's meta-gradient, by its own models.

        Args:
            theta: the policies before the inner steps, [seed, agent, parameter].
            models: of these, [seed, observer, modeled agent, parameter].
            phi: the outer variables, [seed, giver, parameter].
            inner_data: episodes of each inner step, and what it is told beside them.
            outer_data: the episodes after them.

        Returns:
            [observer, seed, giver, parameter]: of each observer's own loss.
        """
        agents = self.game.num_agents
        thought = profiles(theta, models).flatten(0, 1)  # each seed's observers, one after the other
        index = torch.arange(len(thought), device=theta.device) % agents

        def own_loss(theta: Tensor, phi: Tensor, data: Any) -> Tensor:
            losses = self._outer_losses(theta, phi, data)  # [agent, seed * observer]
            return losses.gather(0, index[None]).squeeze(0)

        problem = BilevelProblem(
            step=self.step,
            outer_loss=own_loss,
            inner_data=RecordedData(
                tuple(data._replace(batch=_for_each(data.batch, agents)) for data in inner_data)
            ),
            outer_data=FixedData(outer_data._replace(batch=_for_each(outer_data.batch, agents))),
        )
        everybody = phi.repeat_interleave(agents, 0)
        state = self.optimizer.init(thought)
        estimate = self.hypergradient(problem, thought, state, everybody, steps=len(inner_data))
        by_observer: Tensor = estimate.gradient.unflatten(0, (-1, agents)).movedim(1, 0)
        return by_observer


def _for_each(episodes: Trajectory, agents: int) -> Trajectory:
    """The same episodes for each observer: [seed * observer, ...]."""
    repeated: Trajectory = tree_map(lambda part: part.repeat_interleave(agents, 0), episodes)
    return repeated


def _require_can_model(learner: ModelingLearner) -> None:
    method, estimator = learner.method, learner.hypergradient
    require(
        isinstance(learner.play, SampledPlay),
        "Models of others are fitted to what they do in episodes: switch exact off (--inner.no-exact).",
    )
    require(
        method.inner.optimizer == "sgd",
        "Nobody sees the state of another's optimizer, so modeled steps are plain gradient steps: leave "
        f"inner.optimizer at sgd, not {method.inner.optimizer}.",
    )
    require(
        not method.policy.shared,
        "Agents that share parameters know the others': leave share_parameters off, or opponents at known.",
    )
    require(
        method.learned_loss_weights is None,
        "Nobody sees the weights in another's loss, by which modeled steps would be taken: leave "
        "loss_weights at none, or opponents at known.",
    )
    require(
        learner.outer.reset == "never",
        "Models follow policies that go on learning: leave reset at never, or opponents at known.",
    )
    require(
        not estimator.stateful and not isinstance(estimator, Evolution),
        f"{type(estimator).__name__} would need a state, or fresh episodes, of steps that are only thought: "
        "choose an estimator that walks back, as unrolled, or opponents known.",
    )
