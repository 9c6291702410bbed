"""A game around another game: everything is passed on, and a subclass changes what it is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.core import ExactGame, Game, State


@dataclass(frozen=True, kw_only=True)
class WrappedGame(Game):
    """The same game as `game`: the base of wrappers that change a game's rewards or actions.

    A subclass overrides what differs; settings of the wrapped game are attributes of the wrapper, too. States
    are the game's own; a subclass that keeps more in them overrides `inner` and the methods that make states:
    `reset`, `step`, `give` and `restart`.

    >>> from games import make
    >>> WrappedGame(game=make("chicken")).action_names, WrappedGame(game=make("chicken")).temptation
    (('swerve', 'straight'), 1)
    """

    game: Game
    """The wrapped game."""

    def __getattr__(self, name: str) -> Any:
        # Settings alone: payoffs, say, of the wrapped game are not the wrapper's.
        if name != "game" and not name.startswith("_"):  # as pickle asks for before there is a game
            settings = getattr(self.game, "__dataclass_fields__", ())
            if name in settings or isinstance(self.game, WrappedGame):
                return getattr(self.game, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def inner(self, state: State) -> State:
        return state  # the game's own state in one of this game's

    @property
    def num_agents(self) -> int:
        return self.game.num_agents

    @property
    def horizon(self) -> int:
        return self.game.horizon

    @property
    def action_space(self) -> spaces.Discrete | spaces.Box:
        return self.game.action_space

    @property
    def observation_space(self) -> spaces.Box | spaces.Discrete:
        return self.game.observation_space

    @property
    def discount(self) -> float:
        return self.game.discount

    @property
    def effective_horizon(self) -> float:
        return self.game.effective_horizon

    @property
    def value_unit(self) -> str:
        return self.game.value_unit

    @property
    def symmetric(self) -> bool:
        return self.game.symmetric

    @property
    def neighbours(self) -> Tensor:
        return self.game.neighbours

    @property
    def truncates(self) -> bool:
        return self.game.truncates

    @property
    def draws_by_rows(self) -> bool:
        return self.game.draws_by_rows

    @property
    def pure(self) -> bool:
        return self.game.pure

    @property
    def can_render(self) -> bool:
        return self.game.can_render

    @property
    def takes_gifts(self) -> bool:
        return self.game.takes_gifts

    @property
    def action_names(self) -> tuple[str, ...]:
        return self.game.action_names

    @property
    def best_welfare(self) -> float | None:
        return self.game.best_welfare

    @property
    def defection_welfare(self) -> float | None:
        return self.game.defection_welfare

    def reset(self, batch: int, generator: torch.Generator) -> State:
        return self.game.reset(batch, generator)

    def observe(self, state: State) -> Tensor:
        return self.game.observe(self.inner(state))

    def neighbours_now(self, state: State) -> Tensor | None:
        return self.game.neighbours_now(self.inner(state))

    def present(self, state: State) -> Tensor | None:
        return self.game.present(self.inner(state))

    def action_mask(self, state: State) -> Tensor | None:
        return self.game.action_mask(self.inner(state))

    def step(self, state: State, actions: Tensor, generator: torch.Generator) -> tuple[State, Tensor, Tensor]:
        return self.game.step(state, actions, generator)

    def render(self, state: State, index: int = 0, scale: float = 1.0) -> np.ndarray:
        return self.game.render(self.inner(state), index, scale)

    def ended(self, state: State) -> Tensor:
        return self.game.ended(self.inner(state))

    def cooperates(self, state: State, actions: Tensor) -> Tensor | None:
        return self.game.cooperates(self.inner(state), actions)

    def scripted(self, state: State, cooperative: Tensor) -> Tensor | None:
        return self.game.scripted(self.inner(state), cooperative)

    def measures(self, state: State) -> dict[str, Tensor]:
        return self.game.measures(self.inner(state))

    def give(self, state: State, gifts: Tensor) -> State:
        return self.game.give(state, gifts)

    def episode_value(self, rewards: Tensor) -> Tensor:
        return self.game.episode_value(rewards)

    def restart(self, state: State, done: Tensor, generator: torch.Generator) -> State:
        return self.game.restart(state, done, generator)


@dataclass(frozen=True, kw_only=True)
class WrappedExactGame(WrappedGame, ExactGame):
    """The same exact game as `game`: exact values stay exact."""

    game: ExactGame
    """The wrapped game."""

    @property
    def num_observations(self) -> int:
        return self.game.num_observations

    def values(self, policies: Tensor) -> Tensor:
        return self.game.values(policies)

    def cooperation(self, policies: Tensor) -> Tensor | None:
        return self.game.cooperation(policies)


def gift_measures(extrinsic: Tensor, given: Tensor) -> dict[str, Tensor]:
    """Measures of what the game paid, what was given and what was received, [batch, agent] each.

    Of the gifts `given`, [batch, giver, receiver], those to oneself do not count.
    """
    others = given - torch.diag_embed(given.diagonal(dim1=-2, dim2=-1))
    return {"extrinsic_reward": extrinsic, "given": others.sum(-1), "received": others.sum(-2)}
