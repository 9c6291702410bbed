"""One-shot games laid out: with a matrix they are exact play; a transfer may look at what everybody does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import games
from bilevel.agents import ExactPlay, Tabular
from bilevel.methods._lase_sharing import OneShotPlay, profile_probabilities
from bilevel.sharing import SharedBy

SEEDS = 3
GAMES: dict[str, Any] = {
    "two agents": games.make("prisoners-dilemma"),
    "three actions": games.make("rock-paper-scissors"),
    "four agents": games.make("public-goods", agents=4),
}
every_game = pytest.mark.parametrize("game", GAMES.values(), ids=GAMES.keys())


def plays(game: Any) -> tuple[OneShotPlay, ExactPlay, Tensor]:
    policy = Tabular(1, int(game.action_space.n))
    draws = torch.Generator().manual_seed(0)
    theta = torch.randn(SEEDS, game.num_agents, policy.num_parameters, generator=draws, dtype=torch.float64)
    return OneShotPlay(game, policy), ExactPlay(game, policy), theta


@every_game
def test_with_a_matrix_it_is_exact_play(game: Any) -> None:
    laid_out, exact, theta = plays(game)
    draws = torch.Generator().manual_seed(1)
    matrix = torch.rand(SEEDS, game.num_agents, game.num_agents, generator=draws, dtype=torch.float64)
    transfer, bonus = SharedBy(matrix.softmax(-1)), torch.tensor(0.3, dtype=torch.float64)
    data = laid_out.sample(theta, transfer, draws)

    def gradient(play: ExactPlay, data: Any) -> Tensor:
        found: Tensor = torch.func.grad(lambda own: play.losses(own, theta, transfer, data, bonus).sum())(
            theta
        )
        return found

    torch.testing.assert_close(
        laid_out.losses(theta, theta, transfer, data, bonus),
        exact.losses(theta, theta, transfer, (), bonus),
        rtol=0,
        atol=1e-12,
    )
    torch.testing.assert_close(gradient(laid_out, data), gradient(exact, ()), rtol=0, atol=1e-12)
    torch.testing.assert_close(laid_out.values(theta, data), exact.values(theta, ()), rtol=0, atol=0)


@every_game
def test_what_is_laid_out_averages_to_the_values(game: Any) -> None:
    play, _, theta = plays(game)
    data = play.sample(theta, SharedBy(torch.eye(game.num_agents)[None]), torch.Generator())
    torch.testing.assert_close(data.mask.sum((1, 2, 3)), torch.ones(SEEDS).double(), rtol=0, atol=1e-12)
    mean = (data.rewards * data.mask).sum((2, 3))
    torch.testing.assert_close(mean, play.values(theta, data), rtol=0, atol=1e-12)


def test_probabilities_of_profiles() -> None:
    draws = torch.Generator().manual_seed(0)
    policies = torch.rand(2, 3, 2, generator=draws, dtype=torch.float64).softmax(-1)
    found = profile_probabilities(policies)
    assert found.shape == (2, 8)
    expected = policies[1, 0, 1] * policies[1, 1, 0] * policies[1, 2, 1]  # the profile 1, 0, 1
    assert float(found[1, 0b101]) == pytest.approx(float(expected), abs=1e-15)


def test_what_cannot_be_laid_out_is_refused() -> None:
    game: Any = games.make("repeated-prisoners-dilemma")
    with pytest.raises(ValueError, match="Only one-shot games have a payoff table; RepeatedGame has 150"):
        OneShotPlay(game, Tabular(5, 2))


def test_an_evaluation_lays_out_all_joint_actions_too() -> None:
    play, _, theta = plays(GAMES["two agents"])
    transfer = SharedBy(torch.eye(2).double().expand(SEEDS, 2, 2))
    measured, report = play.evaluate(theta, transfer, torch.Generator(), 7)
    data = play.sample(theta, transfer, torch.Generator())
    assert torch.equal(measured.values, play.measure(theta, data).values)
    assert all(torch.equal(report[name], values) for name, values in transfer.report(data).items())
