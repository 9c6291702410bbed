"""Learner of sequence policies over meta-episodes, by policy gradients with batched credit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from bilevel.agents import (
    GRU,
    SampledPlay,
    StepObservation,
    Tabular,
    Trajectory,
    allowed,
    concatenated,
    play_blocks,
)
from bilevel.core import Purpose, Tree, gradient_at
from bilevel.methods._batched_credit import batched_advantages
from bilevel.methods._contract import Metrics, Placement, State
from bilevel.methods._learner import PolicyLearner, require_finite
from bilevel.methods._meta_game import all_shape, initial_shapers, meta_returns, own_meta_episodes, pairings
from bilevel.optimizers import at_learning_rate, make_optimizer
from bilevel.sharing import FixedMatrix, identity_sharing
from games.core import Game, Streams, for_members, normal

if TYPE_CHECKING:
    from bilevel.methods._coala import COALAPG


class Sequences(NamedTuple):
    """Meta-episodes; `step` stands for the axes seed, agent, meta-episode, meta-step, time, episode."""

    features: Tensor
    """Inputs of sequence policies, [*step, feature]."""
    actions: Tensor
    """Integer, [*step]."""
    rewards: Tensor
    """Rewards, 0 after an episode's end, [*step]."""
    acting: Tensor
    """1 where an agent's action counts, [*step]."""
    legal: Tensor | None
    """Legal actions, boolean [*step, action]; None where all are."""
    returns: Tensor
    """Each agent's mean return, in the game's units, [seed, agent, meta-step, meta-episode]."""
    policies: Tensor
    """Tables by which agents acted in the last meta-step, [meta-episode * seed, agent, parameter]; of an
    agent that shapes, its mean probabilities."""
    last: Trajectory
    """Episodes of the last meta-step, whose first axis is meta-episode * seed."""


class _Memory:
    """Recurrent states, and last actions and rewards, of all copies in a meta-episode."""

    def __init__(self, hidden_state: Tensor, members: int, agents: int, episodes: int, actions: int) -> None:
        self.hidden_state = hidden_state
        self.action = hidden_state.new_zeros(members, agents, episodes, actions)
        self.reward = hidden_state.new_zeros(members, agents, episodes, 1)

    def features(self, observed: Tensor, observations: int, *, first: bool) -> Tensor:
        """Input of a step: [member, agent, episode] -> [member, agent, episode, feature]."""
        mark = torch.full_like(self.reward, float(first))
        seen = functional.one_hot(observed.long(), observations).to(mark)
        return torch.cat((seen, mark, self.action, self.reward), -1)

    def remember(self, block: Trajectory) -> None:
        """Keep what was done in one time step, unless the episode had ended."""
        counts = (block.acting.squeeze(2) > 0).unsqueeze(-1)
        done = functional.one_hot(block.actions.squeeze(2), self.action.shape[-1]).to(self.action)
        self.action = torch.where(counts, done, self.action)
        self.reward = torch.where(counts, block.rewards.movedim(2, -1), self.reward)


class SequenceLearner(PolicyLearner):
    """Learner of sequence policies; its policies are tables, of a fresh meta-episode's last meta-step.

    A state has, besides `State`'s entries, meta: the sequence policies, [seed, shaper, parameter], and
    meta_opt_state.
    """

    continues_policies = False

    def __init__(self, method: COALAPG, game: Game, placement: Placement) -> None:
        super().__init__(method, game, placement, FixedMatrix(identity_sharing(game.num_agents)))
        assert isinstance(self.play, SampledPlay)
        assert isinstance(self.play.policy, Tabular)
        self.coala, self.shapers, self.table = method, method.shapers.agents, self.play.policy
        self.episodes, self.distribution = self.play.episodes, self.play.distribution
        self.sequence_policy = GRU(
            num_features=self.table.num_observations + 1 + self.table.num_actions + 1,
            num_actions=self.table.num_actions,
            hidden=method.meta.hidden_size,
            units=method.meta.recurrent_size,
        )
        self.meta_optimizer = make_optimizer("adam", learning_rate=1.0)
        self.identity = identity_sharing(game.num_agents).to(placement.device, placement.dtype)

    def init(self, seed: int) -> State:
        state, place = super().init(seed), self.placement
        meta = initial_shapers(self.sequence_policy.initial, self.shapers, range(seed, seed + place.seeds))
        meta = meta.to(place.device, place.dtype)
        return {**state, "meta": meta, "meta_opt_state": self.meta_optimizer.init(meta)}

    @torch.no_grad()
    def update(self, state: State) -> tuple[State, Metrics]:
        """Update the sequence policies on a batch of meta-episodes, then play a fresh one for each seed.

        Raises:
            FloatingPointError: a policy stopped being finite (names the seed and agent).
        """
        generator = self.streams(state, Purpose.TRAINING)
        meta, meta_opt_state = self._ascend(state, generator)
        require_finite(meta, "A sequence policy", state["outer_step"])
        fresh = self.meta_episodes(state, meta, self._all_shape(1), generator)
        require_finite(fresh.policies, "A policy", state["outer_step"])
        after = self._next(
            state,
            theta=fresh.policies,
            meta=meta,
            meta_opt_state=meta_opt_state,
            opt_state=self.optimizer.init(fresh.policies),
        )
        return after, self._report(state, fresh)

    @torch.no_grad()
    def evaluate(self, state: State, *, episodes: int) -> Metrics:
        """Evaluate on fresh meta-episodes, whose last meta-steps have `episodes` episodes per seed, or more.

        At most `meta.episodes` meta-episodes are played at a time.
        """
        generator, most = self.streams(state, Purpose.EVALUATION), self.coala.meta.episodes
        missing = whole = math.ceil(episodes / self.episodes)
        total: Metrics = {}
        while missing:
            now = min(missing, most)
            played = self.meta_episodes(state, state["meta"], self._all_shape(now), generator)
            for name, values in self._report(state, played).items():
                total[name] = total.get(name, 0.0) + values * (now / whole)
            missing -= now
        return total

    def meta_episodes(self, state: State, meta: Tensor, shaping: Tensor, generator: Streams) -> Sequences:
        """Play meta-episodes from fresh tables.

        Args:
            state: the state, whose outer step determines the naive agents' learning rate.
            meta: sequence policies, [seed, shaper, parameter].
            shaping: agents that shape, boolean [meta-episode, agent].
            generator: source of all random draws.
        """
        seeds, members, agents = len(meta), len(meta) * len(shaping), self.game.num_agents
        draws, steps, inputs = for_members(generator, members), self.coala.meta.steps, self.inputs(state)
        shape = members, agents, self.table.num_parameters
        theta = self.table.initial_scale * normal(shape, draws, self.placement.dtype)
        opt_state = self.optimizer.init(theta)
        phi = self.identity.repeat(members, 1, 1)
        places = [self.shapers.index(agent) if agent in self.shapers else 0 for agent in range(agents)]
        sequence, shapes = meta[:, places].repeat(len(shaping), 1, 1), shaping.repeat_interleave(seeds, 0)
        memory = _Memory(
            self.sequence_policy.initial_hidden_state(sequence, self.episodes),
            members,
            agents,
            self.episodes,
            self.table.num_actions,
        )
        mask = theta.new_ones(members, 1, self.episodes)
        recorded: list[tuple[Tensor, Trajectory]] = []
        returns: list[Tensor] = []
        features: list[Tensor] = []
        chances: list[Tensor] = []

        def act(step: StepObservation) -> Tensor:
            first = not features
            seen = memory.features(step.observed, self.table.num_observations, first=first)
            outputs, memory.hidden_state = self.sequence_policy.step(sequence, seen, memory.hidden_state)
            outputs = torch.where(
                shapes[..., None, None], outputs, self.table.logits(theta, step.observed.long())
            )
            features.append(seen)
            chances.append(outputs.softmax(-1))
            return self.distribution.draw(allowed(outputs, step.legal), draws)

        def give(observation: StepObservation, *_: object) -> Tensor:
            return theta.new_zeros(members * self.episodes, agents, agents)

        for number in range(steps):
            features.clear()
            chances.clear()
            blocks = []
            for block in play_blocks(self.game, act, give, mask, draws, 1):
                memory.remember(block)
                blocks.append(block)
            played = concatenated(blocks)
            returns.append(self.play.measure(theta, played).values)
            recorded.append((torch.stack(features, 2), played))
            if number < steps - 1:
                for _ in range(self.coala.inner.steps):
                    theta, opt_state = self.step(theta, opt_state, phi, inputs._replace(batch=played))

        def arranged(parts: list[Tensor]) -> Tensor:
            """Of meta-steps, [meta-episode * seed, agent, ...] -> [seed, agent, meta-episode, step, ...]."""
            whole: Tensor = torch.stack(parts).unflatten(1, (len(shaping), seeds))
            return whole.movedim((2, 3, 1, 0), (0, 1, 2, 3))

        episodes = [played for _, played in recorded]
        legal = [played.legal for played in episodes if played.legal is not None]
        mean = mean_table(self.table, torch.stack(chances, 2), played)
        return Sequences(
            arranged([inputs for inputs, _ in recorded]),
            arranged([played.actions for played in episodes]),
            arranged([played.rewards for played in episodes]),
            arranged([played.acting.expand_as(played.rewards) for played in episodes]),
            arranged(legal) if legal else None,
            arranged(returns).mT,
            torch.where(shapes[..., None], mean, theta),
            played,
        )

    def gradient(self, state: State, meta: Tensor, sequences: Sequences, alone: int) -> Tensor:
        """Estimate the gradient of minus each shaper's mean return over its own meta-steps.

        Args:
            state: the state, whose outer step determines the entropy coefficient.
            meta: sequence policies that played, [seed, shaper, parameter].
            sequences: meta-episodes, in the order of `_pairings`.
            alone: number of each shaper's meta-episodes against naive agents.

        Returns:
            [seed, shaper, parameter].
        """
        parts = sequences.features, sequences.actions, sequences.rewards, sequences.acting, sequences.legal
        features, actions, rewards, acting, legal = (
            None if part is None else own_meta_episodes(part, self.shapers) for part in parts
        )
        assert features is not None
        assert actions is not None
        assert rewards is not None
        assert acting is not None
        episodes, steps = rewards.shape[2:4]
        advantages = batched_advantages(
            rewards / self.game.effective_horizon,
            acting,
            self.game.discount,
            batch_aware=self.coala.meta.credit == "batch",
            groups=tuple(count for count in (alone, episodes - alone) if count),
        )
        entropy = self._value("training.ent_coef", state)

        def loss(theta: Tensor) -> Tensor:
            logits = self.sequence_policy.unroll(theta, in_sequence(features))
            logits = allowed(logits, None if legal is None else in_sequence(legal))
            log = self.distribution.log_probability(logits, in_sequence(actions))
            gains = (log * in_sequence(advantages * acting)).sum((-2, -1)) / (episodes * steps)
            nats = (self.distribution.entropy(logits) * in_sequence(acting)).sum((-2, -1))
            return -(gains + entropy * nats / acting.sum((-4, -3, -2, -1))).sum()

        return gradient_at(meta, loss)

    def _ascend(self, state: State, generator: Streams) -> tuple[Tensor, Tree]:
        """Take a step of the sequence policies' optimizer on a batch of meta-episodes."""
        meta, episodes = state["meta"], self.coala.meta.episodes
        alone = round(self.coala.shapers.naive_share(int(state["outer_step"])) * episodes)
        shaping = pairings(self.shapers, alone, episodes).to(self.placement.device)
        sequences = self.meta_episodes(state, meta, shaping, generator)
        rate = self.schedule.value("training.learning_rate", int(state["outer_step"]))
        optimizer = at_learning_rate(self.meta_optimizer, rate)
        updates, opt_state = optimizer.update(
            self.gradient(state, meta, sequences, alone), state["meta_opt_state"], params=meta, inplace=False
        )
        return meta + updates, opt_state

    def _all_shape(self, episodes: int) -> Tensor:
        return all_shape(self.shapers, episodes).to(self.placement.device)

    def _report(self, state: State, played: Sequences) -> Metrics:
        """Metrics of meta-episodes, means over those of a seed."""
        whole = played.returns.shape[-1]
        transfer = self.transfer(state["phi"].repeat(whole, 1, 1))
        metrics = self._measured(played.policies, transfer, played.last)
        means = {name: values.unflatten(0, (whole, -1)).mean(0) for name, values in metrics.items()}
        return means | meta_returns(played.returns)


def in_sequence(values: Tensor) -> Tensor:
    """[seed, shaper, meta-episode, meta-step, time, episode, ...] -> [seed, shaper, step, copy, ...]."""
    whole: Tensor = values.movedim(2, 4).flatten(4, 5).flatten(2, 3)
    return whole


def mean_table(policy: Tabular, chances: Tensor, played: Trajectory) -> Tensor:
    """Table of mean action probabilities by observation, uniform at observations that did not occur.

    Args:
        policy: the tables.
        chances: probabilities by which actions were drawn, [member, agent, time, episode, action].
        played: the episodes.

    Returns:
        Parameters, [member, agent, parameter].
    """
    seen = functional.one_hot(played.observations.long(), policy.num_observations).to(chances)
    seen = seen * played.acting.unsqueeze(-1)
    totals = torch.einsum("nateo,natex->naox", seen, chances)
    small = torch.finfo(chances.dtype).tiny
    logs = (totals + small).log()
    free: Tensor = logs if policy.every_logit else (logs - logs[..., -1:])[..., :-1]
    return free.flatten(-2)
