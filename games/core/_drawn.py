"""Games whose rules are one thing and whose draws another, so that copies can be told apart to the bit."""

from __future__ import annotations

import abc

import torch
from gymnasium import spaces
from torch import Tensor

from games.core._game import Game, State
from games.core._streams import uniform


class DrawnGame(Game):
    """A game that states how many numbers it draws in a step, and is a pure function of them.

    Row b of the draws is all the randomness of copy b. So a batch equals its members bit for bit: the copy
    that is played alone on row b goes through the same states, whatever the others do.
    """

    @property
    @abc.abstractmethod
    def action_names(self) -> tuple[str, ...]:
        """Names of the actions, in order."""

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(len(self.action_names))

    @property
    def draws_by_rows(self) -> bool:
        return True

    @property
    def pure(self) -> bool:
        return True

    @property
    @abc.abstractmethod
    def start_draws(self) -> int:
        """How many uniform numbers one copy's start takes."""

    @property
    @abc.abstractmethod
    def step_draws(self) -> int:
        """How many uniform numbers one step of one copy takes."""

    @abc.abstractmethod
    def begin(self, draws: Tensor) -> State:
        """Start copies.

        Args:
            draws: uniform in [0, 1), float32 [batch, start_draws].
        """

    @abc.abstractmethod
    def advance(self, state: State, actions: Tensor, draws: Tensor) -> tuple[State, Tensor, Tensor]:
        """Play one step of every copy, as `step` does.

        Args:
            state: as `begin` or `advance` gave it; it is not changed.
            actions: integer [batch, agent].
            draws: uniform in [0, 1), float32 [batch, step_draws].
        """

    def reset(self, batch: int, generator: torch.Generator) -> State:
        return self.begin(uniform((batch, self.start_draws), generator))

    def step(self, state: State, actions: Tensor, generator: torch.Generator) -> tuple[State, Tensor, Tensor]:
        return self.advance(state, actions, uniform((len(actions), self.step_draws), generator))
