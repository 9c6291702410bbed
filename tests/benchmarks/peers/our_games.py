"""This toolkit's games, played in many copies through their public interface."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import games
from bilevel.agents import MLP, initial_parameters
from bilevel.agents._distributions import draw_actions
from games.core import Game
from tests.benchmarks.case import Case, Run
from tests.benchmarks.problems import coin_game


def coin(case: Case) -> Run:
    """Build the coin game with given actions and draws."""
    game, given = coin_game.GAME, coin_game.given(case)
    start, draws, actions = map(torch.from_numpy, given)
    weights = torch.from_numpy(coin_game.WEIGHTS)

    @torch.no_grad()
    def run() -> Tensor:
        state = game.begin(start)
        digest, total = torch.zeros(case.size, 2), torch.zeros(case.size, 2)
        for k in range(case.steps):
            state, rewards, _ = game.advance(state, actions[k], draws[k])
            total += rewards
            digest += game.observe(state).flatten(2) @ weights
        return torch.stack((total, digest), -1)

    return run


def coin_with_policy(case: Case, *, hidden: tuple[int, ...]) -> Run:
    """Build the coin game with its own draws, played by a multilayer perceptron for each agent."""
    game = games.make("coin-game")
    features = 4 * coin_game.CELLS
    policy = MLP(num_features=features, num_actions=int(game.action_space.n), hidden=hidden)
    theta = initial_parameters(policy, seed=0, seeds=1, agents=2)[0].float()

    @torch.no_grad()
    def act(seen: Tensor, generator: torch.Generator) -> Tensor:
        logits = policy.logits(theta, seen.flatten(2).movedim(0, 1))
        return draw_actions(logits, generator).T

    return _play(game, case, act)


def random_play(case: Case, *, game: str) -> Run:
    """Build a game of the catalogue with its own draws, played at random."""
    made = games.make(game)
    actions = int(made.action_space.n)

    def act(seen: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randint(actions, (case.size, made.num_agents), generator=generator)

    return _play(made, case, act)


def _play(game: Game, case: Case, act: Callable[[Tensor, torch.Generator], Tensor]) -> Run:
    @torch.no_grad()
    def run() -> Tensor:
        generator = torch.Generator().manual_seed(0)
        state = game.reset(case.size, generator)
        total = torch.zeros(case.size, game.num_agents)
        for _ in range(case.steps):
            actions = act(game.observe(state), generator)
            state, rewards, done = game.step(state, actions, generator)
            total += rewards
            if done.any():
                state = game.restart(state, done, generator)
        return total

    return run
