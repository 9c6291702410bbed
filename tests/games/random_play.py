"""Random episodes of games of draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from games.core import DrawnGame, Game


def random_actions(game: Game, batch: int, generator: torch.Generator) -> Tensor:
    """Uniformly random joint actions, legal or not."""
    if isinstance(game.action_space, spaces.Discrete):
        return torch.randint(game.num_actions, (batch, game.num_agents), generator=generator)
    drawn = torch.rand(batch, game.num_agents, *game.action_space.shape, generator=generator)
    return drawn * torch.from_numpy(game.action_space.high)


def episode(game: DrawnGame, seed: int, batch: int) -> Iterator[tuple[Any, Tensor, Any, Tensor, Tensor]]:
    """State, actions, next state, rewards and done of each step up to the horizon, at random.

    What a copy does after its end has no meaning: look at it only as long as it is not done.
    """
    generator = torch.Generator().manual_seed(seed)
    state = game.reset(batch, generator)
    for _ in range(game.horizon):
        actions = random_actions(game, batch, generator)
        after, rewards, done = game.step(state, actions, generator)
        yield state, actions, after, rewards, done
        state = after
