"""Learner of `loqa`: policies, action values with target networks, and a replay of earlier policies."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from bilevel.agents import (
    Exploring,
    OpponentQPlay,
    ReplayBuffer,
    Trajectory,
    add,
    draw,
    empty_replay_buffer,
    profiles_of_learners,
    soft_update,
)
from bilevel.core import Purpose, first_draws, gradient_at
from bilevel.methods._contract import Metrics, Placement, State
from bilevel.methods._learner import PolicyLearner, StepInputs, descend, require_finite
from bilevel.optimizers import make_optimizer
from bilevel.sharing import FixedMatrix, Transfer, identity_sharing
from games.core import Game, Streams, require

if TYPE_CHECKING:
    from bilevel.methods._loqa import LOQA


class Kept(NamedTuple):
    """Policies and action values of a replay, [seed, sample, agent, parameter] each."""

    theta: Tensor
    q: Tensor


class LOQALearner(PolicyLearner):
    """Learner of policies through the other agents' policies, estimated by their action values.

    A state has, besides `State`'s entries, q, q_opt_state and target_q of the action values, and, with
    replay, replay, the buffer of earlier policies.
    """

    play: OpponentQPlay

    def __init__(self, method: LOQA, game: Game, placement: Placement) -> None:
        super().__init__(method, game, placement, FixedMatrix(identity_sharing(game.num_agents)))
        self.settings = method
        self.q_optimizer = self._tie_if_shared(
            make_optimizer(method.q.optimizer, learning_rate=method.q.learning_rate)
        )
        replay, explored = method.replay, method.inner.exploration
        play = self.play
        self.training_play = dataclasses.replace(
            play,
            policy=Exploring(play.policy, explored) if explored else play.policy,
            episodes=play.episodes if replay is None else play.episodes // replay.opponents,
        )

    def init(self, seed: int) -> State:
        state, place, play = super().init(seed), self.placement, self.play
        agents = 1 if self.method.policy.shared else self.game.num_agents
        q = first_draws(
            lambda generator: play.q_function.initial(generator, agents),
            range(seed, seed + place.seeds),
            Purpose.MODELS,
        ).expand(-1, self.game.num_agents, -1)
        q = q.to(place.device, place.dtype).contiguous()
        values = {"q": q, "q_opt_state": self.q_optimizer.init(q), "target_q": q.clone()}
        if self.settings.replay is not None:
            example = Kept(state["theta"].unsqueeze(1), q.unsqueeze(1))
            values["replay"] = empty_replay_buffer(example, self.settings.replay.capacity)
        return {**state, **values}

    def update(self, state: State) -> tuple[State, Metrics]:
        generator = self.streams(state, Purpose.TRAINING)
        changed = {name: state[name] for name in ("theta", "opt_state", "q", "q_opt_state", "target_q")}
        transfer, inputs, step = self.transfer(state["phi"]), self.inputs(state), int(state["outer_step"])
        buffer = self._kept(state)
        for _ in range(self.schedule.steps(step)):
            changed = self.policy_update(changed, buffer, transfer, generator, inputs)
        require_finite(changed["theta"], "A policy", state["outer_step"])
        require_finite(changed["q"], "An action value", state["outer_step"])
        if buffer is not None:
            changed["replay"] = buffer
        theta = changed["theta"]
        with torch.no_grad():
            metrics = self._measured(theta, transfer, self.play.sample(theta, transfer, generator))
        return self._next(state, **changed), metrics

    @torch.no_grad()
    def policy_update(
        self,
        state: State,
        buffer: ReplayBuffer | None,
        transfer: Transfer,
        generator: Streams,
        inputs: StepInputs,
    ) -> State:
        """Take an update of the policies, and then of the action values, on the same episodes."""
        play, theta, q, settings = self.training_play, state["theta"], state["q"], self.settings.q
        drawn = None if buffer is None else self._drawn(theta, q, buffer, generator)
        of_theta, of_q = self._profiles(drawn, 0), self._profiles(drawn, 1)
        data: Trajectory = play.sample(of_theta(theta), transfer, generator)
        gradient = gradient_at(
            theta,
            lambda own: self._own(
                play.shaping_losses(of_theta(own), of_q(q), data, inputs.entropy_coef), drawn
            ),
        )
        goals = play.q_goals(of_q(state["target_q"]), of_theta(theta), data)
        q, q_opt_state = descend(
            self.q_optimizer,
            q,
            state["q_opt_state"],
            lambda own: self._own(play.q_losses(of_q(own), goals, data), drawn),
            settings.updates,
        )
        theta, opt_state = self._descend(theta, state["opt_state"], gradient, inputs)
        return {
            "theta": theta,
            "opt_state": opt_state,
            "q": q,
            "q_opt_state": q_opt_state,
            "target_q": soft_update(state["target_q"], q, settings.tau),
        }

    def _profiles(self, drawn: Kept | None, part: int) -> Callable[[Tensor], Tensor]:
        """Function from the learners' parameters to those of the games they play.

        Without replay they are the same, [seed, agent, parameter]. With replay each learner meets each drawn
        profile: [opponents * learner * seed, agent, parameter].
        """
        if drawn is None:
            return lambda own: own
        others = drawn[part].movedim(1, 0)  # opponents, seed, agent, parameter

        def profiles(own: Tensor) -> Tensor:
            of_learners = profiles_of_learners(own, others)
            return of_learners.movedim(-3, 1).flatten(0, 2)

        return profiles

    def _own(self, losses: Tensor, drawn: Kept | None) -> Tensor:
        """Sum of the learners' own losses; with replay, their means over the profiles drawn."""
        if drawn is None:
            return losses.sum()
        agents, opponents = self.game.num_agents, drawn.theta.shape[1]
        by_learner = losses.unflatten(0, (opponents, agents, -1)).diagonal(dim1=1, dim2=3)
        total: Tensor = by_learner.sum() / opponents
        return total

    def _kept(self, state: State) -> ReplayBuffer | None:
        """The buffer, with the present policies added where their turn has come."""
        replay = self.settings.replay
        if replay is None:
            return None
        buffer: ReplayBuffer = state["replay"]
        written = buffer.written
        step = int(state["outer_step"])
        require(
            bool((written == -(-step // replay.every)).all()),
            "The replay of earlier policies has a count that is impossible in this outer step.",
        )
        if step % replay.every:
            return buffer
        items: Any = Kept(state["theta"].unsqueeze(1), state["q"].unsqueeze(1))
        return add(buffer, items, torch.ones(len(written), 1, dtype=torch.bool, device=written.device))

    def _drawn(self, theta: Tensor, q: Tensor, buffer: ReplayBuffer, generator: Streams) -> Kept:
        """Draw profiles of earlier policies, some of them replaced by the present ones."""
        replay = self.settings.replay
        assert replay is not None
        drawn: Any = draw(buffer, replay.opponents, generator)
        current = round(replay.current_fraction * replay.opponents)
        for earlier, present in zip(drawn, (theta, q), strict=True):
            earlier[:, :current] = present.unsqueeze(1)
        return Kept(*drawn)
