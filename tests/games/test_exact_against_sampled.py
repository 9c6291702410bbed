"""The exact and the sampled form of a game agree, within 3 standard errors at 100 000 episodes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import games
from games.core import ExactGame
from games.matrix import FiniteRepeatedGame, MatrixGame, RepeatedGame

EPISODES = 100_000
ONE_SHOT = [name for name in games.names() if isinstance(games.make(name), MatrixGame)]
REPEATED = ["repeated-prisoners-dilemma", "repeated-chicken", "repeated-rock-paper-scissors"]


def some_policies(game: ExactGame, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (game.num_agents, game.num_observations, int(game.action_space.n))
    return torch.randn(shape, generator=generator, dtype=torch.float64).softmax(-1)


def played(game: ExactGame, policies: Tensor, seed: int) -> Tensor:
    """Each agent's value in every episode: [episode, agent]."""
    generator = torch.Generator().manual_seed(seed)
    state = game.reset(EPISODES, generator)
    agents = torch.arange(game.num_agents)
    rewards = []
    for _ in range(game.horizon):
        rows = policies[agents, game.observe(state)]
        actions = torch.multinomial(rows.flatten(0, 1), 1, generator=generator).reshape(EPISODES, -1)
        state, reward, _ = game.step(state, actions, generator)
        rewards.append(reward.double())
    return game.episode_value(torch.stack(rewards))


def check(game: ExactGame, policies: Tensor) -> None:
    values = played(game, policies, seed=1)
    error = values.std(0) / EPISODES**0.5
    distance = (values.mean(0) - game.values(policies)).abs()
    assert (distance <= 3 * error + 1e-6).all(), (distance / error).tolist()


@pytest.mark.parametrize("name", ONE_SHOT)
def test_one_shot_games(name: str) -> None:
    game = games.make(name)
    assert isinstance(game, ExactGame)
    check(game, some_policies(game, seed=0))


@pytest.mark.parametrize("name", REPEATED)
def test_repeated_games(name: str) -> None:
    """Played for 20 steps, and compared with the exact values of just these."""
    endless = games.make(name)
    assert isinstance(endless, RepeatedGame)
    game = FiniteRepeatedGame(stage=endless.stage, discount=endless.discount, horizon=20)
    check(game, some_policies(game, seed=0))
