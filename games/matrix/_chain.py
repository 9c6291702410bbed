"""The chain: a small task of one agent, whose best reward is several steps away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.core import Game, Step, computed, require, uniform
from games.render import draw_table

FORWARD, BACK = range(2)


class ChainState(NamedTuple):
    """The place of the agent.

    >>> from games import make
    >>> make("chain").reset(3, torch.Generator()).place
    tensor([0, 0, 0])
    """

    time: Tensor
    """Steps played, int64 [batch]."""
    place: Tensor
    """Place of the agent, int64 [batch], from 0, the start."""


@dataclass(frozen=True, kw_only=True)
class Chain(Game):
    """A chain of places for one agent: go forward to a large reward, or back to the start for a small one.

    Forward moves the agent to the next place and pays nothing, but at the last place, where it stays,
    `far_reward`. Back moves it to the start and pays `near_reward`. With probability `slip` an action has the
    effect of the other one. With the default numbers going forward pays 3.68 a step in the long run, and
    going back 1.60, which an agent prefers that discounts too much. An observation is the place.

    Raises:
        ValueError: there are too few places or steps, or a number is out of range.
    Source:
        Strens, A Bayesian framework for reinforcement learning, ICML 2000, with episodes of 1000 steps.

    >>> game, generator = Chain(slip=0.0), torch.Generator()
    >>> state = game.reset(1, generator)
    >>> for _ in range(5):
    ...     state, rewards, done = game.step(state, torch.tensor([[0]]), generator)
    >>> state.place, rewards
    (tensor([4]), tensor([[10.]]))
    """

    length: int = 5
    """Number of places, 2 or more."""
    slip: float = 0.2
    """Probability that an action has the effect of the other one, from 0 to less than 0.5."""
    near_reward: float = 2.0
    """Reward for going back."""
    far_reward: float = 10.0
    """Reward for going forward at the last place."""
    horizon: int = 50
    """Steps of an episode; at least 1."""

    num_agents = 1
    action_names = ("forward", "back")
    symmetric = True
    fully_symmetric = True
    draws_by_rows = True
    pure = True
    action_space = computed(lambda self: spaces.Discrete(2))
    observation_space = computed(lambda self: spaces.Discrete(self.length))

    def __post_init__(self) -> None:
        require(self.length >= 2, f"A chain needs 2 places or more; length is {self.length}.")
        require(0 <= self.slip < 0.5, f"slip must be from 0 to less than 0.5, not {self.slip}.")
        require(self.horizon >= 1, f"An episode needs at least 1 step; horizon is {self.horizon}.")

    @property
    def best_welfare(self) -> float:
        """Expected return of the best plan, which may depend on the time, by dynamic programming."""
        values = [0.0] * self.length
        for _ in range(self.horizon):
            effects = [
                (
                    self.far_reward * (place == self.length - 1) + values[min(place + 1, self.length - 1)],
                    self.near_reward + values[0],
                )
                for place in range(self.length)
            ]
            values = [
                max((1 - self.slip) * one + self.slip * other for one, other in (pair, pair[::-1]))
                for pair in effects
            ]
        return values[0]

    def reset(self, batch: int, generator: torch.Generator) -> ChainState:
        start = torch.zeros(batch, dtype=torch.int64, device=generator.device)
        return ChainState(start, start.clone())

    def observe(self, state: ChainState) -> Tensor:
        return state.place.unsqueeze(-1)

    def render(self, state: ChainState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        place = int(state.place[index])
        rows = [
            ["place", *(str(each + 1) for each in range(self.length))],
            ["forward pays", *["0"] * (self.length - 1), f"{self.far_reward:g}"],
            ["back pays", *[f"{self.near_reward:g}"] * self.length],
        ]
        title = f"after {int(state.time[index])} steps"
        return draw_table(title, rows, marked={(0, place + 1)}, key="the agent's place", scale=scale)

    def step(self, state: ChainState, actions: Tensor, generator: torch.Generator) -> Step:
        slips = uniform((len(state.place),), generator) < self.slip
        forward = (actions[:, 0] == FORWARD) != slips
        last = state.place == self.length - 1
        rewards = torch.where(forward, self.far_reward * last, self.near_reward)
        place = torch.where(forward, (state.place + 1).clamp(max=self.length - 1), 0)
        after = ChainState(state.time + 1, place)
        return after, rewards.unsqueeze(-1).to(torch.get_default_dtype()), after.time >= self.horizon
