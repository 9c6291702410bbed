"""Learner of meta-policies over meta-episodes, by PPO or evolution strategies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor

from bilevel.agents import Tabular
from bilevel.compile import CompiledFunction
from bilevel.core import Purpose, Tree, gradient_at
from bilevel.hypergradient import BilevelProblem, Evolution
from bilevel.methods._contract import Metrics, Placement, State
from bilevel.methods._learner import PolicyLearner, StepInputs, require_finite
from bilevel.methods._meta_game import MetaGame, Played, all_shape, initial_shapers, meta_returns, pairings
from bilevel.methods._meta_policy import (
    MetaBatch,
    MetaPolicy,
    log_probability,
    ppo_losses,
    standardized_returns,
)
from bilevel.optimizers import at_learning_rate, make_optimizer
from bilevel.sharing import FixedMatrix, identity_sharing
from games.core import Game, Streams, normal

if TYPE_CHECKING:
    from bilevel.methods._m_fos import MFOS


class Recorded(NamedTuple):
    """Meta-episodes, step by step."""

    features: Tensor
    """Observations of agents that shape, [seed, shaper, step, meta-episode, feature]."""
    actions: Tensor
    """Parameters of their next policies, [seed, shaper, step, meta-episode, parameter]."""
    log_probabilities: Tensor
    """Of these, [seed, shaper, step, meta-episode]."""
    returns: Tensor
    """Each agent's return in the meta-step, [seed, agent, step, meta-episode]."""
    policies: Tensor
    """Policies after the last meta-step, [seed, meta-episode, agent, parameter]."""


class MetaLearner(PolicyLearner):
    """Learner of meta-policies; its policies are those at the end of a fresh meta-episode.

    A state has, besides `State`'s entries, meta: the meta-policies, [seed, shaper, parameter], and
    meta_opt_state.
    """

    continues_policies = False

    def __init__(self, method: MFOS, game: Game, placement: Placement) -> None:
        super().__init__(method, game, placement, FixedMatrix(identity_sharing(game.num_agents)))
        policy: Any = self.play.policy
        assert isinstance(policy, Tabular)
        self.m_fos, self.shapers = method, method.shapers.agents
        self.by_evolution = method.training.variant == "evolution"
        self.meta_policy = MetaPolicy(
            2 * policy.num_observations * (policy.num_actions - 1),
            policy.num_parameters,
            method.meta.hidden_size,
            stochastic=not self.by_evolution,
        )
        self.meta_optimizer = make_optimizer("adam", learning_rate=1.0)
        self.identity = identity_sharing(game.num_agents).to(placement.device, placement.dtype)
        self.inner_steps = method.inner.steps
        self.exact_steps = (
            CompiledFunction(self._exact_steps, "meta-step") if placement.compile else self._exact_steps
        )

    def init(self, seed: int) -> State:
        state, place = super().init(seed), self.placement
        meta = initial_shapers(self.meta_policy.initial, self.shapers, range(seed, seed + place.seeds))
        meta = meta.to(place.device, place.dtype)
        return {**state, "meta": meta, "meta_opt_state": self.meta_optimizer.init(meta)}

    @torch.no_grad()
    def update(self, state: State) -> tuple[State, Metrics]:
        """Update the meta-policies on a batch of meta-episodes, then play a fresh one for each seed.

        Raises:
            FloatingPointError: a policy or meta-policy stopped being finite (names the seed and agent).
        """
        generator = self.streams(state, Purpose.TRAINING)
        train = self._evolve if self.by_evolution else self._ppo
        meta, meta_opt_state = train(state, generator)
        require_finite(meta, "A meta-policy", state["outer_step"])
        fresh = self.meta_episodes(state, meta, self._all_shape(1), generator)
        theta = fresh.policies.squeeze(1)
        require_finite(theta, "A policy", state["outer_step"])
        transfer = self.transfer(state["phi"])
        metrics = self._measured(theta, transfer, self.play.sample(theta, transfer, generator))
        after = self._next(
            state, theta=theta, meta=meta, meta_opt_state=meta_opt_state, opt_state=self.optimizer.init(theta)
        )
        return after, metrics | meta_returns(fresh.returns)

    @torch.no_grad()
    def evaluate(self, state: State, *, episodes: int) -> Metrics:
        """Evaluate the state's policies on `episodes` episodes, and meta-policies on fresh meta-episodes."""
        metrics = super().evaluate(state, episodes=episodes)
        generator = self.streams(state, Purpose.META_EPISODES)
        shaping = self._all_shape(self.m_fos.meta.episodes)
        return metrics | meta_returns(self.meta_episodes(state, state["meta"], shaping, generator).returns)

    def meta_episodes(self, state: State, meta: Tensor, shaping: Tensor, generator: Streams) -> Recorded:
        """Play meta-episodes from fresh initial policies.

        Args:
            state: the state, whose outer step determines the naive agents' learning rate.
            meta: meta-policies, [seed, shaper, parameter].
            shaping: agents that shape, boolean [meta-episode, agent].
            generator: source of all random draws.
        """
        game = self._game(state)
        policies, opt_state = game.reset(len(meta), len(shaping), generator, self.placement.dtype)
        played = game.step(policies, opt_state, generator)
        steps = []
        for _ in range(self.m_fos.meta.steps):
            features = game.observe(policies)[:, list(self.shapers)]
            actions, log_probabilities = self._choose(meta, features, generator)
            policies = self._joint(played.learned, actions, shaping)
            played = game.step(policies, played.opt_state, generator)
            steps.append((features, actions, log_probabilities, played.returns.mT))
        features, actions, log_probabilities, returns = (
            torch.stack(values, 2) for values in zip(*steps, strict=True)
        )
        return Recorded(features, actions, log_probabilities, returns, policies)

    def _choose(self, meta: Tensor, features: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        """Next policies of agents that shape, [seed, shaper, meta-episode, parameter], and log-densities."""
        if self.by_evolution:
            means = self.meta_policy.means(meta, features)
            return means, means.new_zeros(means.shape[:-1])
        means, variances = self.meta_policy.distribution(meta, features)
        actions = means + variances.sqrt() * normal(means.shape, generator, means.dtype)
        return actions, log_probability(actions, means, variances)

    def _joint(self, learned: Tensor, actions: Tensor, shaping: Tensor) -> Tensor:
        """Next policies of all agents, [seed, meta-episode, agent, parameter]."""
        places = [self.shapers.index(agent) if agent in self.shapers else 0 for agent in (0, 1)]
        return torch.where(shaping.unsqueeze(-1), actions.transpose(1, 2)[:, :, places], learned)

    def _pairings(self, state: State) -> Tensor:
        """Agents that shape in the meta-episodes of an update, boolean [meta-episode, agent]."""
        episodes = self.m_fos.meta.episodes
        alone = round(self.m_fos.shapers.naive_share(int(state["outer_step"])) * episodes)
        return pairings(self.shapers, alone, episodes).to(self.placement.device)

    def _all_shape(self, episodes: int) -> Tensor:
        """The same for an evaluation, in which all agents of the setting `shapers` shape."""
        return all_shape(self.shapers, episodes).to(self.placement.device)

    def _ppo(self, state: State, generator: Streams) -> tuple[Tensor, Tree]:
        settings: Any = self.m_fos.training
        meta, opt_state = state["meta"], state["meta_opt_state"]
        recorded = self.meta_episodes(state, meta, self._pairings(state), generator)
        batch = self._batch(recorded, settings.discount)
        entropy = self._value("training.ent_coef", state)

        def loss(theta: Tensor) -> Tensor:
            return ppo_losses(
                self.meta_policy,
                theta,
                batch,
                clip_coef=settings.clip_coef,
                ent_coef=float(entropy),
                vf_coef=settings.vf_coef,
            ).sum()

        for _ in range(settings.update_epochs):
            meta, opt_state = self._ascend(state, meta, opt_state, gradient_at(meta, loss))
        return meta, opt_state

    def _batch(self, recorded: Recorded, discount: float) -> MetaBatch:
        """Meta-steps of each agent that shapes, of its own meta-episodes."""

        def own(values: Tensor, axis: int) -> Tensor:
            """[seed, shaper, step, meta-episode, ...], meta-episodes in `axis` -> those of the shaper."""
            parts = values.chunk(len(self.shapers), axis)
            return torch.stack([part[:, place] for place, part in enumerate(parts)], 1)

        returns = own(recorded.returns[:, list(self.shapers)], 3)
        return MetaBatch(
            own(recorded.features, 3).flatten(2, 3),
            own(recorded.actions, 3).flatten(2, 3),
            own(recorded.log_probabilities, 3).flatten(2, 3),
            standardized_returns(returns, discount).flatten(2, 3),
        )

    def _evolve(self, state: State, generator: Streams) -> tuple[Tensor, Tree]:
        meta, shaping = state["meta"], self._pairings(state)
        gradient = self.evolution_gradient(state, meta, shaping, generator)
        return self._ascend(state, meta, state["meta_opt_state"], gradient)

    def evolution_gradient(self, state: State, meta: Tensor, shaping: Tensor, generator: Streams) -> Tensor:
        """Gradient of minus each shaper's mean return by its own meta-policy, [seed, shaper, parameter].

        All perturbed meta-policies of a seed start from the same initial policies.
        """
        game, steps, settings = self._game(state), self.m_fos.meta.steps, cast(Any, self.m_fos.training)
        policies, opt_state = game.reset(len(meta), len(shaping), generator, self.placement.dtype)
        start = {"policies": policies, "opt_state": opt_state, "total": torch.zeros_like(policies[..., 0])}

        def learn(theta: Tree, phi: Tensor, step: int) -> Played:
            played = game.step(theta["policies"], theta["opt_state"], generator)
            return played if step else played._replace(returns=torch.zeros_like(played.returns))

        def choose(theta: Tree, opt_state: None, phi: Tensor, data: Played) -> tuple[Tree, None]:
            features = game.observe(theta["policies"])[:, list(self.shapers)]
            policies = self._joint(data.learned, self.meta_policy.means(phi, features), shaping)
            total = theta["total"] + data.returns
            return {"policies": policies, "opt_state": data.opt_state, "total": total}, None

        def loss(theta: Tree, phi: Tensor, data: Played) -> Tensor:
            means = (theta["total"] + data.returns) / steps
            parts = means.chunk(len(self.shapers), 1)  # the meta-episodes of each agent that shapes
            own = [part[..., agent].mean(1) for part, agent in zip(parts, self.shapers, strict=True)]
            return -torch.stack(own)

        problem = BilevelProblem(
            step=choose,
            outer_loss=loss,
            inner_data=learn,
            outer_data=lambda theta, phi: learn(theta, phi, steps),
            per_agent_objective=True,
        )
        estimator = Evolution(
            samples=settings.samples,
            sigma=settings.sigma,
            rank_shaping=settings.rank_shaping,
            members=True,
            fresh_data=True,
        )
        estimate = estimator(problem, start, None, meta, steps=steps)
        gradient: Tensor = estimate.gradient  # [objective, seed, shaper, parameter]
        return gradient.diagonal(dim1=0, dim2=2).movedim(-1, 1)

    def _ascend(self, state: State, meta: Tensor, opt_state: Tree, gradient: Tensor) -> tuple[Tensor, Tree]:
        """Take a step of the meta-policies' optimizer along minus the gradient of a loss."""
        name = "ascent_rate" if self.by_evolution else "learning_rate"
        rate = self.schedule.value(f"training.{name}", int(state["outer_step"]))
        optimizer = at_learning_rate(self.meta_optimizer, rate)
        updates, opt_state = optimizer.update(gradient, opt_state, params=meta, inplace=False)
        return meta + updates, opt_state

    def _game(self, state: State) -> MetaGame:
        """Meta-game of the next outer step."""
        inputs = self.inputs(state)

        def learn(theta: Tensor, opt_state: Tree, generator: torch.Generator) -> tuple[Tensor, Tensor, Tree]:
            identity = self.identity.repeat(len(theta), 1, 1)
            if not self.play.draws:
                return self.exact_steps(theta, opt_state, identity, inputs)
            sample = self.play.sample(theta, self.transfer(identity), generator)
            returns = self.play.measure(theta, sample).values
            theta, opt_state = self.step(theta, opt_state, identity, inputs._replace(batch=sample))
            return returns, *self._learn(self.inner_steps - 1, theta, opt_state, identity, generator, inputs)

        policy: Any = self.play.policy
        return MetaGame(self.game, policy, self.optimizer, learn)

    def _exact_steps(
        self, theta: Tensor, opt_state: Tree, identity: Tensor, inputs: StepInputs
    ) -> tuple[Tensor, Tensor, Tree]:
        """Exact returns of policies, and the naive agents' learning steps from them."""
        returns = self.play.values(theta, ())
        for _ in range(self.inner_steps):
            theta, opt_state = self.step(theta, opt_state, identity, inputs)
        return returns, theta, opt_state
