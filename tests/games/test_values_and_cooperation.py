"""Exact values and cooperation of one solution: those of two, and of what a compiler is told."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import games
from games.core import ExactGame
from games.matrix import FiniteRepeatedGame, RepeatedGame

NAMES = [name for name in games.names() if isinstance(games.make(name), ExactGame)]


def random_policies(game: ExactGame, batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (batch, game.num_agents, game.num_observations, game.num_actions)
    return torch.rand(shape, generator=generator, dtype=torch.float64).softmax(-1)


@pytest.mark.parametrize("name", NAMES)
def test_are_what_values_and_cooperation_say_alone(name: str) -> None:
    game = games.make(name)
    assert isinstance(game, ExactGame)
    policies = random_policies(game, 3)
    values, cooperation = game.values_and_cooperation(policies)
    torch.testing.assert_close(values, game.values(policies), rtol=0, atol=1e-12)
    alone = game.cooperation(policies)
    assert (cooperation is None) == (alone is None)
    if cooperation is not None:
        torch.testing.assert_close(cooperation, alone, rtol=0, atol=1e-12)


def test_of_a_game_that_ends_are_those_of_the_steps_played() -> None:
    game = FiniteRepeatedGame(discount=0.5, horizon=2)
    values, cooperation = game.values_and_cooperation(torch.full((2, 5, 2), 0.5, dtype=torch.float64))
    assert values.tolist() == [-1.125, -1.125]
    assert cooperation is not None
    assert cooperation.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_what_a_compiler_is_told_gives_the_same_values_and_gradients(noise: float) -> None:
    game = RepeatedGame(noise=noise)
    policies = random_policies(game, 4)

    def slopes(policies: torch.Tensor) -> torch.Tensor:
        squares = torch.func.grad(lambda p: game.values(p).square().sum())
        found: torch.Tensor = torch.func.grad(lambda p: squares(p).square().sum())(policies)
        return found

    for function in (lambda p: game.values(p), slopes):
        told = make_fx(function)(policies)
        torch.testing.assert_close(told(policies), function(policies), rtol=1e-9, atol=1e-9)
