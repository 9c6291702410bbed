"""A small game with continuous actions whose equilibrium and optimum are closed forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.core import Game


class Day(NamedTuple):
    time: Tensor
    """Steps played, [batch]."""


@dataclass(frozen=True, kw_only=True)
class Cournot(Game):
    """Firms choose how much to sell, q_i in [0, 1]; each earns q_i (1 - sum q) a day.

    One day: at the Nash equilibrium of n firms q_i = 1 / (n + 1), and together they earn n / (n + 1)^2; the
    most that they can earn is 1 / 4, with sum q = 1 / 2.
    """

    firms: int = 2
    days: int = 1

    num_agents = property(lambda self: self.firms)
    horizon = property(lambda self: self.days)
    action_space = property(lambda self: spaces.Box(0.0, 1.0, (1,), dtype=np.float32))
    observation_space = property(lambda self: spaces.Discrete(1))

    def reset(self, batch, generator):
        return Day(torch.zeros(batch, dtype=torch.int64, device=generator.device))

    def observe(self, state):
        return torch.zeros(len(state.time), self.firms, dtype=torch.int64)

    def step(self, state, actions, generator):
        assert actions.shape == (len(state.time), self.firms, 1)
        assert ((actions >= 0) & (actions <= 1)).all()
        sold = actions.squeeze(-1)
        rewards = sold * (1 - sold.sum(-1, keepdim=True))
        after = Day(state.time + 1)
        return after, rewards, after.time >= self.days

    def render(self, state, index=0, scale=1.0):
        return np.zeros((2, 2, 3), dtype=np.uint8)
