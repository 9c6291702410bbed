"""Gymnasium's environments, single and in vectors, as games of one agent."""

from __future__ import annotations

import functools
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleEnv, CartPoleVectorEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from games.adapters import ForeignGame, from_gymnasium
from tests.games.adapters.foreign_environments import seeds

POLE = functools.partial(gymnasium.make_vec, "CartPole-v1", vectorization_mode="sync")
SAME_STEP = functools.partial(POLE, vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP})


def played(game: ForeignGame, copies: int = 3, steps: int = 14) -> list[torch.Tensor]:
    """Always to the right, until the pole has fallen and beyond: observations, rewards, ends."""
    generator = torch.Generator().manual_seed(0)
    state, parts = game.reset(copies, generator), []
    for _ in range(steps):
        state, rewards, done = game.step(state, torch.ones(copies, 1, dtype=torch.int64), generator)
        parts += [game.observe(state), rewards, done, game.ended(state)]
    return parts


def test_it_does_what_the_environment_does() -> None:
    parts = played(from_gymnasium("CartPole-v1"))
    for copy, seed in enumerate(seeds(3, torch.Generator().manual_seed(0))):
        env, over = gymnasium.make("CartPole-v1"), False
        env.reset(seed=seed)
        for step in range(14):
            shown, rewards, done, ended = parts[4 * step : 4 * step + 4]
            if over:
                assert rewards[copy].item() == 0
                continue
            observation, reward, terminated, _, _ = env.step(1)
            assert shown[copy, 0].tolist() == observation.tolist()
            assert rewards[copy].item() == reward
            over = terminated
            assert done[copy] == ended[copy] == over
        assert over


@pytest.mark.parametrize(
    "make",
    [CartPoleEnv, POLE, SAME_STEP, functools.partial(SyncVectorEnv, [CartPoleEnv])],
    ids=["class", "vector", "vector restarting in the same step", "vector of a class"],
)
def test_classes_and_vectors_are_the_same_game(make: Any) -> None:
    if isinstance(make, functools.partial) and make.func is SyncVectorEnv:
        make = lambda num_envs: SyncVectorEnv([CartPoleEnv] * num_envs)  # noqa: E731
    expected = played(from_gymnasium("CartPole-v1"))
    game = from_gymnasium(make, horizon=500)
    assert all(map(torch.equal, played(game), expected))
    assert all(map(torch.equal, played(game), expected))  # a second time


@pytest.mark.parametrize("reuse", [False, True])
def test_part_of_a_vector_starts_anew(reuse: bool) -> None:
    game, generator = from_gymnasium(POLE, reuse=reuse), torch.Generator().manual_seed(1)
    state = game.reset(3, generator)
    state, _, _ = game.step(state, torch.ones(3, 1, dtype=torch.int64), generator)
    after = game.restart(state, torch.tensor([False, True, False]), generator)
    assert after.time.tolist() == [1, 0, 1]
    assert torch.equal(after.observations[::2], state.observations[::2])
    assert not torch.equal(after.observations[1], state.observations[1])
    still = game.restart(after, torch.tensor([False] * 3), generator)
    assert torch.equal(still.observations, after.observations)


def test_limits_of_time_are_no_ends_by_the_rules() -> None:
    game = from_gymnasium("Pendulum-v1", max_episode_steps=2)
    assert (game.horizon, game.truncates) == (2, True)
    generator = torch.Generator().manual_seed(0)
    state = game.reset(1, generator)
    assert game.action_space == spaces.Box(-2.0, 2.0, (1,), dtype=np.float32)
    assert game.action_mask(state) is None
    for _ in range(2):
        state, _, done = game.step(state, torch.full((1, 1, 1), 0.5), generator)
    assert done.item()
    assert not game.ended(state).item()


@pytest.mark.parametrize(
    ("actions", "says"),
    [
        (torch.full((1, 1, 1), 2.5), "number 0 of agent_0's action is 2.5; it must be from -2 to 2"),
        (torch.full((1, 1, 1), torch.nan), "number 0 of agent_0's action is nan"),
        (torch.zeros(1, 1), r"floats \[batch, agent, number\] = \(1, 1, 1\), not torch.float32 \(1, 1\)"),
        (torch.zeros(1, 1, 1, dtype=torch.int64), "floats"),
    ],
)
def test_actions_outside_of_the_box_are_refused(actions: torch.Tensor, says: str) -> None:
    game, generator = from_gymnasium("Pendulum-v1"), torch.Generator()
    with pytest.raises(ValueError, match=says):
        game.step(game.reset(1, generator), actions, generator)


class Unseeded(CartPoleEnv):
    """It draws from the operating system."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=None, options=options)


class Worn(CartPoleEnv):
    """Its reset forgets to put something back."""

    heavier = 0.0

    def reset(self, *, seed=None, options=None):
        self.gravity = 9.8 + self.heavier
        self.heavier += 1.0
        return super().reset(seed=seed, options=options)


def test_environments_that_cannot_be_repeated_are_refused() -> None:
    with pytest.raises(ValueError, match="Unseeded cannot be played here: two episodes with the same seed"):
        from_gymnasium(Unseeded, horizon=9)
    with pytest.raises(ValueError, match="Worn cannot be played here: two episodes with the same seed"):
        from_gymnasium(Worn, horizon=9, reuse=True)
    game = from_gymnasium(Worn, horizon=9)  # an environment for each episode
    assert all(map(torch.equal, played(game, steps=9), played(game, steps=9)))


@pytest.mark.parametrize(
    ("make", "how", "says"),
    [
        (CartPoleVectorEnv, {}, "draws for all copies from one seed.*register the single environment"),
        (POLE, {"workers": 1}, "A vector steps its environments by itself"),
        ("CartPle-v1", {}, "CartPle-v1 cannot be opened as it is: .*Did you mean: `CartPole`"),
        ("CartPole-v1", {"gravity": 1}, "CartPole-v1 cannot be opened with gravity=1: TypeError"),
        (CartPoleEnv, {"sutton": True}, "no setting of the environment 'sutton'"),
    ],
)
def test_what_cannot_be_is_refused(make: Any, how: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        from_gymnasium(make, **how)
