"""A game around another game: everything is passed on, and a subclass changes what it is about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.core import ExactGame, Game, State


@dataclass(frozen=True, kw_only=True)
class WrappedGame(Game):
    """The same game as `game`, member for member: the base of what changes a game's rewards or actions.

    A subclass overrides what differs. Its states are the game's own; one that keeps more in them overrides
    `inner`, which takes the game's state out, and the members that make states: `reset`, `step`, `give` and
    `restart`.

    >>> from games.matrix._two_agent import SymmetricTwoAgentGame
    >>> WrappedGame(game=SymmetricTwoAgentGame()).action_names
    ('cooperate', 'defect')
    """

    game: Game
    """The game that is played."""

    @property
    def num_agents(self) -> int:
        """As in the game."""
        return self.game.num_agents

    @property
    def horizon(self) -> int:
        """As in the game."""
        return self.game.horizon

    @property
    def action_space(self) -> spaces.Discrete | spaces.Box:
        """As in the game."""
        return self.game.action_space

    @property
    def observation_space(self) -> spaces.Box | spaces.Discrete:
        """As in the game."""
        return self.game.observation_space

    @property
    def discount(self) -> float:
        """As in the game."""
        return self.game.discount

    @property
    def effective_horizon(self) -> float:
        """As in the game."""
        return self.game.effective_horizon

    @property
    def value_unit(self) -> str:
        """As in the game."""
        return self.game.value_unit

    @property
    def symmetric(self) -> bool:
        """As in the game."""
        return self.game.symmetric

    @property
    def neighbours(self) -> Tensor:
        """As in the game."""
        return self.game.neighbours

    def neighbours_now(self, state: State) -> Tensor | None:
        """Who may share with whom in this state of the game."""
        return self.game.neighbours_now(self.inner(state))

    def present(self, state: State) -> Tensor | None:
        """Which agents still take part in the game."""
        return self.game.present(self.inner(state))

    @property
    def truncates(self) -> bool:
        """As in the game."""
        return self.game.truncates

    @property
    def draws_by_rows(self) -> bool:
        """As in the game."""
        return self.game.draws_by_rows

    @property
    def pure(self) -> bool:
        """As in the game."""
        return self.game.pure

    @property
    def action_names(self) -> tuple[str, ...]:
        """As in the game."""
        return self.game.action_names

    @property
    def best_welfare(self) -> float | None:
        """As in the game."""
        return self.game.best_welfare

    @property
    def defection_welfare(self) -> float | None:
        """As in the game."""
        return self.game.defection_welfare

    def inner(self, state: State) -> State:
        """Take the game's own state out of one of this game's: here they are the same."""
        return state

    def reset(self, batch: int, generator: torch.Generator) -> State:
        """Start `batch` copies of the game."""
        return self.game.reset(batch, generator)

    def observe(self, state: State) -> Tensor:
        """What each agent sees of the game."""
        return self.game.observe(self.inner(state))

    def action_mask(self, state: State) -> Tensor | None:
        """Which actions are legal in the game."""
        return self.game.action_mask(self.inner(state))

    def step(self, state: State, actions: Tensor, generator: torch.Generator) -> tuple[State, Tensor, Tensor]:
        """Play one step of the game; see `Game.step`."""
        return self.game.step(state, actions, generator)

    def render(self, state: State, index: int = 0, scale: float = 1.0) -> np.ndarray:
        """Draw copy `index` of the game."""
        return self.game.render(self.inner(state), index, scale)

    def ended(self, state: State) -> Tensor:
        """Which copies ended by the game's rules."""
        return self.game.ended(self.inner(state))

    def cooperates(self, state: State, actions: Tensor) -> Tensor | None:
        """Which actions cooperate in the game."""
        return self.game.cooperates(self.inner(state), actions)

    def scripted(self, state: State, cooperative: Tensor) -> Tensor | None:
        """What agents do in the game by the book."""
        return self.game.scripted(self.inner(state), cooperative)

    def measures(self, state: State) -> dict[str, Tensor]:
        """What the game measures of each agent's last step."""
        return self.game.measures(self.inner(state))

    def give(self, state: State, gifts: Tensor) -> State:
        """Tell the game what was given."""
        return self.game.give(state, gifts)

    def episode_value(self, rewards: Tensor) -> Tensor:
        """The number papers report for an episode of the game."""
        return self.game.episode_value(rewards)

    def restart(self, state: State, done: Tensor, generator: torch.Generator) -> State:
        """Replace the copies that are done by fresh ones, as the game does."""
        return self.game.restart(state, done, generator)


@dataclass(frozen=True, kw_only=True)
class WrappedExactGame(WrappedGame, ExactGame):
    """The same exact game as `game`, member for member: exact values stay exact.

    >>> from games.matrix._repeated import RepeatedGame
    >>> WrappedExactGame(game=RepeatedGame()).values(torch.full((2, 5, 2), 0.5))
    tensor([-1.5000, -1.5000])
    """

    game: ExactGame
    """The exact game that is played."""

    @property
    def num_observations(self) -> int:
        """As in the game."""
        return self.game.num_observations

    def values(self, policies: Tensor) -> Tensor:
        """Each agent's expected `episode_value` in the game."""
        return self.game.values(policies)

    def cooperation(self, policies: Tensor) -> Tensor | None:
        """Each agent's expected share of cooperating actions in the game."""
        return self.game.cooperation(policies)


def measures_of_gifts(extrinsic: Tensor, given: Tensor) -> dict[str, Tensor]:
    """What the game paid each agent, what it gave others, and what others gave it: [batch, agent] each.

    Args:
        extrinsic: what the game paid, [batch, agent].
        given: what went from whom to whom, [batch, giver, receiver]; what is kept does not count.
    """
    others = given - torch.diag_embed(given.diagonal(dim1=-2, dim2=-1))
    return {"extrinsic_reward": extrinsic, "given": others.sum(-1), "received": others.sum(-2)}
