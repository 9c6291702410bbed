"""Learner of `ltos`: action values of incoming shares, and sharing networks, in rounds."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bilevel.agents import (
    Actor,
    QNetwork,
    ReplayBuffer,
    add,
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

if TYPE_CHECKING:
    from bilevel.methods._ltos import LToS


Update = Callable[[Tensor, Tree, Tensor], tuple[Tensor, Tree]]
"""(gradient, optimizer state, parameters) -> parameters and state after a step."""
MOST_WRITTEN = 2**53
"""An upper bound of the items ever written to a replay buffer."""


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
        self._require_sound(state["replay"])
        method, count = self.method, int(state["outer_step"])
        generator = self._streams(state, Purpose.TRAINING)
        turn = self.is_turn(count)
        sigma = self.schedule.value("noise", count) if turn or method.noise_always else 0.0
        noise = OrnsteinUhlenbeck(sigma=sigma) if sigma else None
        exploration = Exploration(method.exploration_at(count), noise)
        played = self._play(state["theta"], state["phi"], exploration, method.inner.episodes, generator)
        buffer = add(state["replay"], *transitions_of(*played, self.variable.encoder))
        theta, opt_state = self._learn_values(state, buffer, generator)
        require_finite(theta, "A value network", state["outer_step"])
        phi, outer_opt_state = state["phi"], state["outer_opt_state"]
        if turn:
            phi, outer_opt_state = self._learn_to_share(state, theta, buffer, generator)
            require_finite(phi, "A sharing network", state["outer_step"])
        trajectory, transfer = self._play(theta, phi, GREEDY, method.inner.episodes, generator)
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
        self, theta: Tensor, phi: Tensor, exploration: Exploration, episodes: int, generator: torch.Generator
    ) -> tuple[Trajectory, MatrixSequence]:
        sharers = Sharers(self.variable, self.network, theta, phi, exploration, generator)
        mask = torch.ones(len(theta), 1, episodes, dtype=theta.dtype, device=theta.device)
        horizon = self.game.horizon
        (trajectory,) = play_blocks(self.game, sharers.act, sharers.give, mask, generator, horizon)
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
