"""Policies in the whole loop: learned from is what was played, and memory helps where it is needed."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

import games
from bilevel.agents import (
    GRU,
    MLP,
    Convolutional,
    Numbered,
    Policy,
    SampledPlay,
    allowed,
    initial_parameters,
    learned_actor,
)
from bilevel.agents._distributions import draw_actions
from bilevel.agents._rollout import rollout
from bilevel.agents._surrogates import dice
from bilevel.core import inner_step_per_agent
from bilevel.methods import Placement, Selfish
from bilevel.optimizers import sgd
from bilevel.sharing import SharedBy
from games.core import Game
from games.matrix import EscapeRoom, RepeatedGame

SEEDS, EPISODES = 2, 5


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def parameters(policy: Policy, seeds: int, agents: int) -> Tensor:
    theta = initial_parameters(policy, seed=0, seeds=seeds, agents=agents)
    return theta + 0.3 * draw(1, *theta.shape)  # biases, too


PLAYED = [
    (EscapeRoom(agents=3, levers=2, random_start=True), GRU(11, 3, (4,), 3)),
    (RepeatedGame(horizon=6), GRU(5, 2, (4,), 3, one_hot=True)),
    (games.make("coin-game", horizon=4), GRU(36, 4, (4,), 3, observation_axes=3)),
    (games.make("coin-game", horizon=4), Convolutional((4, 3, 3), 4, (3,), hidden=(4,))),
]


TINY_CLEANUP = games.make("cleanup-lio-7x7", horizon=3, view=(1, 1, 1, 1))
SEES_BYTES = [
    MLP(63, 6, (4,), observation_axes=3),
    Convolutional((7, 3, 3), 6, (3,), hidden=(4,)),
    GRU(63, 6, (4,), 3, observation_axes=3),
    Numbered(MLP(65, 6, (4,)), 0, 3, planes=False),
    Numbered(Convolutional((9, 3, 3), 6, (3,), hidden=(4,)), 0, 3, planes=True),
]


@pytest.mark.parametrize("policy", SEES_BYTES, ids=lambda policy: repr(policy)[:20])
def test_planes_of_bytes_are_kept_as_bytes_and_seen_as_numbers(policy: Policy) -> None:
    theta = parameters(policy, SEEDS, 2)
    keep = SharedBy(torch.eye(2).double().expand(SEEDS, -1, -1))
    seen = rollout(TINY_CLEANUP, policy, theta, keep, EPISODES, generator()).observations
    assert seen.dtype == torch.uint8
    assert set(seen.unique().tolist()) == {0, 1}
    torch.testing.assert_close(
        policy.unroll(theta, seen), policy.unroll(theta, seen.double()), rtol=0, atol=0
    )


class Recorded:
    """A policy that writes down which logits it played with."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.said = policy, []

    def initial_hidden_state(self, theta: Tensor, samples: int) -> Tensor:
        return self.policy.initial_hidden_state(theta, samples)

    def step(self, theta: Tensor, observations: Tensor, hidden_state: Tensor) -> tuple[Tensor, Tensor]:
        logits, hidden_state = self.policy.step(theta, observations, hidden_state)
        self.said.append(logits)
        return logits, hidden_state


@pytest.mark.parametrize(("game", "policy"), PLAYED, ids=repr)
def test_losses_see_the_probabilities_that_were_played(game: Game, policy: Policy) -> None:
    agents = game.num_agents
    theta = parameters(policy, SEEDS, agents)
    keep = SharedBy(torch.eye(agents, dtype=torch.float64).expand(SEEDS, -1, -1))
    recorded = Recorded(policy)
    data = rollout(game, recorded, theta, keep, EPISODES, generator(4))
    play = SampledPlay(game, policy, dice, EPISODES)
    played = allowed(torch.stack(recorded.said, 2), data.legal)
    running = data.mask.bool().expand_as(data.actions)
    learned = play._logits(theta, data)
    torch.testing.assert_close(learned[running], played[running], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("game", "policy"), PLAYED, ids=repr)
def test_a_step_and_its_derivatives_are_those_of_one_agent_at_a_time(game: Game, policy: Policy) -> None:
    """The batched step of all agents, differentiated by what is shared, against loops over agents."""
    agents = game.num_agents
    theta = parameters(policy, 1, agents)
    shared = (draw(5, 1, agents, agents)).softmax(-1)
    play, bonus = SampledPlay(game, policy, dice, EPISODES), torch.tensor(0.1, dtype=torch.float64)
    data = play.sample(theta, SharedBy(shared), generator(4))
    step = inner_step_per_agent(
        lambda own, others, phi, data: play.losses(own, others, SharedBy(phi), data, bonus), sgd(0.5)
    )

    def outer(phi: Tensor) -> Tensor:
        return play.values(step(theta, sgd(0.5).init(theta), phi, data)[0], data).sum()

    def by_hand(phi: Tensor) -> Tensor:
        rows = []
        for agent in range(agents):
            own = theta[:, agent].clone().requires_grad_()
            together = torch.stack([own if other == agent else theta[:, other] for other in range(agents)], 1)
            loss = play.losses(together, together, SharedBy(phi), data, bonus)[0, agent]
            rows.append(own - 0.5 * torch.autograd.grad(loss, own, create_graph=True)[0])
        return play.values(torch.stack(rows, 1), data).sum()

    found = torch.func.grad(outer)(shared)
    variable = shared.clone().requires_grad_()
    (expected,) = torch.autograd.grad(by_hand(variable), variable)
    assert expected.any()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_an_actor_remembers_within_an_episode_and_forgets_between() -> None:
    game, policy = RepeatedGame(horizon=6), GRU(5, 2, (4,), 3, one_hot=True)
    theta = parameters(policy, 1, 2)[0]
    state = game.reset(EPISODES, generator())
    act, seen = learned_actor(game, policy, theta), []
    hidden_state, draws = None, generator(7)
    for time in range(3):
        seen.append(game.observe(state).T)
        before = draws.get_state()
        actions, hidden_state = act(state, draws, hidden_state)
        logits = policy.unroll(theta, torch.stack(seen, 1))[:, time]
        same = torch.Generator()
        same.set_state(before)
        assert torch.equal(actions, draw_actions(logits.movedim(0, 1), same))
        state, _, _ = game.step(state, actions, generator())
    assert hidden_state is not None
    assert hidden_state.shape == (2, 3, EPISODES)
    _, first = act(game.reset(EPISODES, generator()), generator(7))
    _, later = act(game.reset(EPISODES, generator()), generator(7), hidden_state)
    assert not torch.allclose(first, later)


class Cue(NamedTuple):
    time: Tensor
    cue: Tensor


@dataclasses.dataclass(frozen=True)
class Recall(Game):
    """Each agent sees 1 or 2 in the first step and 0 from then on; in the third it gets 1 for naming it."""

    num_agents: int = 2
    horizon: int = 3
    action_space = spaces.Discrete(2)
    observation_space = spaces.Discrete(3)

    def reset(self, batch: int, generator: torch.Generator) -> Cue:
        return Cue(torch.zeros(batch), torch.randint(2, (batch, self.num_agents), generator=generator))

    def observe(self, state: Cue) -> Tensor:
        return torch.where(state.time[:, None] == 0, 1 + state.cue, 0)

    def step(self, state: Cue, actions: Tensor, generator: torch.Generator) -> tuple[Cue, Tensor, Tensor]:
        rewards = ((actions == state.cue) & (state.time[:, None] == self.horizon - 1)).float()
        state = state._replace(time=state.time + 1)
        return state, rewards, state.time >= self.horizon

    def render(self, state: Cue, index: int = 0, scale: float = 1.0) -> np.ndarray:
        return np.zeros((1, 1, 3), dtype=np.uint8)


@pytest.mark.parametrize(("policy", "least", "most"), [("gru", 1.9, 2.0), ("mlp", 0.8, 1.2)])
def test_what_needs_memory_is_learned_by_who_has_it(policy: str, least: float, most: float) -> None:
    """Of 2, what both get together: without memory nobody can do better than a guess, which pays 1."""
    method = Selfish().with_settings(
        {
            "policy": policy,
            "policy.hidden_size": (8,),
            **({"policy.recurrent_size": 8} if policy == "gru" else {}),
            "inner.optimizer": "adam",
            "inner.learning_rate": 0.03,
            "inner.episodes": 64,
        }
    )
    learner = method.build(Recall(), Placement(seeds=3))
    state = learner.init(seed=0)
    for _ in range(150):
        state, _ = learner.update(state)
    welfare = learner.evaluate(state, episodes=500)["welfare"]
    assert least <= float(welfare.min())
    assert float(welfare.max()) <= most
