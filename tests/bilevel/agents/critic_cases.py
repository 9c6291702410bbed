"""Games, policies with critics, random parameters and samples that tests of critics share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import games
from bilevel.agents import (
    GRU,
    MLP,
    Convolutional,
    CriticPlay,
    Numbered,
    Policy,
    PolicyWithCritic,
    PPOPlay,
    Reinforce,
    Tabular,
    Trajectory,
    initial_parameters,
)
from bilevel.agents._surrogates import LoadedDice, dice
from bilevel.sharing import SharedBy
from games.core import Game
from games.matrix import EscapeRoom, RepeatedGame

SEEDS, EPISODES, TRACE = 2, 6, 0.8
BONUS = torch.tensor(0.1, dtype=torch.float64)
ROOM = EscapeRoom(agents=3, levers=2, horizon=4, random_start=True)
COINS = games.make("coin-game", horizon=3)
REPEATED = RepeatedGame(horizon=5, discount=0.9)
PLAYED: dict[str, tuple[Game, Policy]] = {
    "table": (REPEATED, Tabular(5, 2)),
    "mlp": (ROOM, MLP(11, 3, (4,))),
    "one-hot mlp": (REPEATED, MLP(5, 2, (4,), one_hot=True)),
    "conv": (COINS, Convolutional((4, 3, 3), 4, (3,), hidden=(4,))),
    "gru": (ROOM, GRU(11, 3, (4,), 3)),
    "numbered gru": (ROOM, Numbered(GRU(11 + 3, 3, (4,), 3))),
}
SURROGATES = {
    "reinforce": Reinforce(gae_lambda=TRACE),
    "dice": dice,
    "loaded-dice": LoadedDice(gae_lambda=TRACE),
}


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Case:
    """A play with critics, parameters that are not their first ones, a sharing, and a sample under them."""

    def __init__(self, name: str, kind: type[CriticPlay] = CriticPlay, **settings: Any) -> None:
        game, policy = PLAYED[name]
        settings = {
            "surrogate": SURROGATES["reinforce"],
            "episodes": EPISODES,
            "gae_lambda": TRACE,
        } | settings
        self.play = kind(game, PolicyWithCritic.of(policy), **settings)
        self.agents = game.num_agents
        first = initial_parameters(self.play.policy, seed=0, seeds=SEEDS, agents=self.agents)
        self.theta = first + 0.3 * draw(1, *first.shape)
        self.phi = draw(2, SEEDS, self.agents, self.agents)
        self.data: Trajectory = self.sample(3)

    def transfer(self, phi: Tensor) -> SharedBy:
        return SharedBy(phi.softmax(-1))

    def sample(self, seed: int) -> Trajectory:
        generator = torch.Generator().manual_seed(seed)
        return self.play.sample(self.theta, self.transfer(self.phi), generator)

    def losses(self, own: Tensor, others: Tensor, phi: Tensor, data: Any) -> Tensor:
        return self.play.losses(own, others, self.transfer(phi), data, BONUS)

    def batches(self, theta: Tensor, phi: Tensor, data: Any) -> Any:
        return self.play.batches(theta, self.transfer(phi), data)


def ppo(name: str, **settings: Any) -> Case:
    return Case(name, PPOPlay, **settings)
