"""Learner of `ltos`: action values of incoming shares, and sharing networks, in rounds."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional

from bilevel.agents import (
    Actor,
    QNetwork,
    ReplayBuffer,
    Softmax,
    StepObservation,
    Tabular,
    add,
    allowed,
    best_value,
    block_length,
    draw,
    empty_replay_buffer,
    measure_blocks,
    measure_episodes,
    play_blocks,
    seed_groups,
    soft_update,
    split,
    squared_errors,
    targets,
)
from bilevel.core import Purpose, Tree, detach, first_draws, gradient_at, random_seeds_of, streams_of
from bilevel.methods._contract import Metrics, Placement, State
from bilevel.methods._learner import measure_groups, metrics_of, require_finite
from bilevel.methods._ltos_sharers import GREEDY, Exploration, Sharers, SharingActor
from bilevel.methods._ltos_transitions import (
    OrnsteinUhlenbeck,
    Transitions,
    incoming,
    sharing_gradient,
    transitions_of,
)
from bilevel.optimizers import GradientTransformation, at_learning_rate, make_optimizer
from bilevel.sharing import MatrixSequence, Reporting, SharingNetwork, Trajectory, Transfer
from games.core import Game, Streams, normal, require
from games.matrix import RepeatedGame, observed_states

if TYPE_CHECKING:
    from bilevel.methods._ltos import LToS


Update = Callable[[Tensor, Tree, Tensor], tuple[Tensor, Tree]]
"""(gradient, optimizer state, parameters) -> parameters and state after a step."""
MOST_WRITTEN = 2**53
"""An upper bound of the items ever written to a replay buffer."""


class _FixedPolicies(NamedTuple):
    """Tables by which all agents but one act."""

    agent: int
    """The agent that acts by its values."""
    policy: Tabular
    theta: Tensor
    """[seed, agent, parameter]; the agent's own are not used."""

    def replace(self, actions: Tensor, step: StepObservation, generator: torch.Generator) -> Tensor:
        """Replace the other agents' actions, [seed, agent, episode]."""
        logits = allowed(self.policy.logits(self.theta, step.observed), step.legal)
        drawn = Softmax(self.policy.num_actions).draw(logits, generator)
        return drawn.index_copy(1, torch.tensor([self.agent], device=drawn.device), actions[:, [self.agent]])


def _joint_observations(game: Game, interval: int) -> Tensor:
    """Observations that occur together, [agent, joint observation]; each agent's own are all distinct."""
    space = game.observation_space
    if isinstance(game, RepeatedGame):
        require(
            interval == 1,
            f"Its sharing networks decide every {interval} steps, so its actions depend on earlier "
            "observations, too: set interval to 1.",
        )
        return torch.tensor([[0, *own] for own in observed_states(game.num_agents, game.num_actions)])
    require(
        isinstance(space, spaces.Discrete) and space.n == 1,
        f"Its actions depend on all agents' observations by their shares, and in {type(game).__name__} an "
        "agent does not know the others': choose a matrix game or a repeated one.",
    )
    return torch.zeros(game.num_agents, 1, dtype=torch.int64)


class LToSLearner:
    """Learner of action values of incoming shares, and of sharing networks, in turn.

    A state has, besides `State`'s entries (theta: the values, phi: the sharing networks), target_theta,
    target_phi, and replay, the buffer.
    """

    def __init__(
        self, method: LToS, game: Game, placement: Placement, variable: SharingNetwork, network: QNetwork
    ) -> None:
        self.method, self.game, self.placement = method, game, placement
        self.variable, self.network = variable, network
        self.discount = game.discount if method.inner.discount is None else method.inner.discount
        self.schedule = method.schedule
        self.descent = make_optimizer(method.inner.optimizer, learning_rate=1.0)
        self.ascent = make_optimizer(method.outer.optimizer, learning_rate=1.0)

    def transfer(self, phi: Tensor) -> Transfer:
        return self.variable.transfer(phi)

    def init(self, seed: int) -> State:
        place, agents = self.placement, self.game.num_agents
        random_seeds = random_seeds_of(seed, place.seeds)
        theta = first_draws(
            lambda generator: self.network.network.initial(generator, agents),
            range(seed, seed + place.seeds),
            Purpose.POLICIES,
        ).to(place.device, place.dtype)
        phi = self.variable.initial(seed, place.seeds).to(place.device, place.dtype)
        generator = streams_of(random_seeds, Purpose.BEGINNING, device=place.device)
        example, _ = transitions_of(*self._play(theta, phi, GREEDY, 1, generator), self.variable.encoder)
        return {
            "outer_step": torch.zeros((), dtype=torch.int64),
            "random_seeds": random_seeds,
            "theta": theta,
            "opt_state": self.descent.init(theta),
            "target_theta": theta.clone(),
            "phi": phi,
            "outer_opt_state": self.ascent.init(phi),
            "target_phi": phi.clone(),
            "replay": empty_replay_buffer(example, self.method.inner.buffer_size),
        }

    def update(self, state: State) -> tuple[State, Metrics]:
        """Take a round: play, train values and, in turn, sharing networks, update targets, evaluate."""
        return self._round(state, None)

    def update_against(
        self, state: State, agent: int, policy: Tabular, theta: Tensor
    ) -> tuple[State, Metrics]:
        return self._round(state, _FixedPolicies(agent, policy, theta.to(state["theta"])))

    def action_table(self, state: State, *, exploring: bool) -> Tensor:
        observed = _joint_observations(self.game, self.method.interval).to(self.placement.device)
        theta = state["theta"]
        features = self.variable.encoder.encode(observed.expand(len(theta), -1, -1), theta)
        shares = self.variable.matrices(self.variable.logits(state["phi"], features))
        values = self.network(theta, features, incoming(shares))
        epsilon = self.method.exploration_at(int(state["outer_step"])) if exploring else 0.0
        greedy = functional.one_hot(values.argmax(-1), self.game.num_actions).to(theta)
        by_state = (1 - epsilon) * greedy + epsilon / self.game.num_actions
        order = observed.argsort(-1)[:, :, None].expand_as(by_state)
        return by_state.gather(-2, order).detach()

    def _round(self, state: State, others: _FixedPolicies | None) -> tuple[State, Metrics]:
        self._require_sound(state["replay"])
        method, count = self.method, int(state["outer_step"])
        generator = self._streams(state, Purpose.TRAINING)
        turn = self.is_turn(count)
        sigma = self.schedule.value("noise", count) if turn or method.noise_always else 0.0
        noise = OrnsteinUhlenbeck(sigma=sigma) if sigma else None
        exploration = Exploration(method.exploration_at(count), noise)
        played = self._play(
            state["theta"], state["phi"], exploration, method.inner.episodes, generator, others
        )
        buffer = add(state["replay"], *transitions_of(*played, self.variable.encoder))
        theta, opt_state = self._learn_values(state, buffer, generator)
        require_finite(theta, "A value network", state["outer_step"])
        phi, outer_opt_state = state["phi"], state["outer_opt_state"]
        if turn:
            phi, outer_opt_state = self._learn_to_share(state, theta, buffer, generator)
            require_finite(phi, "A sharing network", state["outer_step"])
        trajectory, transfer = self._play(theta, phi, GREEDY, method.inner.episodes, generator, others)
        metrics = metrics_of(measure_episodes(self.game, trajectory), transfer.report(trajectory))
        after = {
            "outer_step": state["outer_step"] + 1,
            "theta": theta,
            "opt_state": opt_state,
            "target_theta": soft_update(state["target_theta"], theta, method.inner.tau),
            "phi": phi,
            "outer_opt_state": outer_opt_state,
            "target_phi": soft_update(state["target_phi"], phi, method.inner.tau),
            "replay": buffer,
        }
        return {**state, **{name: detach(tree) for name, tree in after.items()}}, metrics

    def _require_sound(self, buffer: ReplayBuffer) -> None:
        limits = (buffer.items.actions, self.game.num_actions), (buffer.written, MOST_WRITTEN)
        sound = all(int(values.min()) >= 0 and int(values.max()) < limit for values, limit in limits)
        require(sound, "The replay buffer has actions or counts that are impossible in this run's game.")

    @torch.no_grad()
    def evaluate(self, state: State, *, episodes: int) -> Metrics:
        training, horizon = self.method.inner.episodes, self.game.horizon
        steps = block_length(horizon, training, episodes, None)

        def measure(state: State) -> Metrics:
            generator, theta = self._streams(state, Purpose.EVALUATION), state["theta"]
            sharers = Sharers(self.variable, self.network, theta, state["phi"], GREEDY, generator)
            mask = torch.ones(len(theta), 1, episodes, dtype=theta.dtype, device=theta.device)
            blocks = play_blocks(self.game, sharers.act, sharers.give, mask, generator, steps)
            measured, report = measure_blocks(
                self.game, blocks, lambda block: sharers.transfer().report(block), Reporting("steps")
            )
            return metrics_of(measured, report)

        groups = seed_groups(len(state["theta"]), training, episodes, horizon)
        return measure_groups(measure, state, groups)

    def actor(self, game: Game, state: State, repetition: int) -> tuple[Actor, Transfer]:
        theta, phi = (state[name][repetition].cpu() for name in ("theta", "phi"))
        actor = SharingActor(game, self.variable, self.network, theta, phi)
        return actor, actor

    def is_turn(self, count: int) -> bool:
        """True if this round, counted from 0, updates the sharing networks."""
        return (count + 1) % self.method.outer.every == 0

    def _streams(self, state: State, purpose: Purpose) -> Streams:
        return streams_of(state["random_seeds"], purpose, state["outer_step"], self.placement.device)

    @torch.no_grad()
    def _play(
        self,
        theta: Tensor,
        phi: Tensor,
        exploration: Exploration,
        episodes: int,
        generator: torch.Generator,
        others: _FixedPolicies | None = None,
    ) -> tuple[Trajectory, MatrixSequence]:
        sharers = Sharers(self.variable, self.network, theta, phi, exploration, generator)

        def act(step: StepObservation) -> Tensor:
            actions = sharers.act(step)
            return actions if others is None else others.replace(actions, step, generator)

        mask = torch.ones(len(theta), 1, episodes, dtype=theta.dtype, device=theta.device)
        horizon = self.game.horizon
        (trajectory,) = play_blocks(self.game, act, sharers.give, mask, generator, horizon)
        return trajectory, sharers.transfer()

    def _learn_values(
        self, state: State, buffer: ReplayBuffer, generator: torch.Generator
    ) -> tuple[Tensor, Tree]:
        """Train the values on a round of batches, towards fixed targets."""
        theta, opt_state, size = state["theta"], state["opt_state"], self.method.inner.batch_size
        update = self._update_rule(self.descent, "inner.learning_rate", state)
        drawn: Transitions = draw(buffer, self.method.inner.steps * size, generator)
        with torch.no_grad():
            goals = self._targets(state["target_theta"], state["target_phi"], drawn, generator)
        for batch, goal in zip(split(drawn, size), goals.split(size, -1), strict=True):
            gradient = gradient_at(theta, functools.partial(self._errors, batch=batch, goals=goal))
            theta, opt_state = update(gradient, opt_state, theta)
        return theta, opt_state

    def _learn_to_share(
        self, state: State, theta: Tensor, buffer: ReplayBuffer, generator: torch.Generator
    ) -> tuple[Tensor, Tree]:
        """Train the sharing networks on a round of batches, through the values."""
        phi, opt_state, size = state["phi"], state["outer_opt_state"], self.method.inner.batch_size
        update = self._update_rule(self.ascent, "outer.learning_rate", state)
        drawn: Transitions = draw(buffer, self.method.outer.updates * size, generator)
        for batch in split(drawn, size):
            features = batch.features.movedim(1, 2)
            legal = None if batch.legal is None else batch.legal.movedim(1, 2)

            def critic(w_in: Tensor, features: Tensor = features, legal: Tensor | None = legal) -> Tensor:
                return best_value(self.network(theta, features, w_in), legal)

            gradient = -sharing_gradient(self.variable, phi, features, batch.graph, critic, batch.present)
            phi, opt_state = update(gradient, opt_state, phi)
        return phi, opt_state

    def _targets(self, theta: Tensor, phi: Tensor, batch: Transitions, generator: torch.Generator) -> Tensor:
        """Targets of a batch's values, [seed, agent, sample], by these target networks."""
        features = batch.following.movedim(1, 2)
        logits = self.variable.logits(phi, features)
        noise = normal(logits.shape, generator, logits.dtype)
        shares = self.variable.matrices(
            logits + self.method.smoothing * noise, batch.following_graph, batch.following_present
        )
        legal = None if batch.following_legal is None else batch.following_legal.movedim(1, 2)
        following = best_value(self.network(theta, features, incoming(shares)), legal)
        return targets(batch.rewards.mT, following, batch.continues.mT, self.discount)

    def _errors(self, theta: Tensor, batch: Transitions, goals: Tensor) -> Tensor:
        """Sum of all agents' errors, which share no parameters."""
        values = self.network(theta, batch.features.movedim(1, 2), batch.incoming_shares.movedim(1, 2))
        return squared_errors(values, batch.actions.mT, goals).sum()

    def _update_rule(self, optimizer: GradientTransformation, setting: str, state: State) -> Update:
        """Step function of an optimizer at a setting's learning rate, times the decay of this round."""
        count = int(state["outer_step"])
        optimizer = at_learning_rate(optimizer, self.schedule.value(setting, count))
        decay: float = self.method.learning_rate_decay**count

        def update(gradient: Tensor, opt_state: Tree, params: Tensor) -> tuple[Tensor, Tree]:
            updates, opt_state = optimizer.update(gradient, opt_state, params=params, inplace=False)
            return params + decay * updates, opt_state

        return update
