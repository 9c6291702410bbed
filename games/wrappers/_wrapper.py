"""Base classes of wrappers: every member delegates to the wrapped game unless overridden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from games.core import ExactGame, Game, State, Step, alias


def _by_game(name: str) -> Any:
    """Make a method that calls the wrapped game's method of this name with the inner state."""

    def method(self: WrappedGame, state: State, *args: Any, **settings: Any) -> Any:
        return getattr(self.game, name)(self.inner(state), *args, **settings)

    return method


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
        # Settings alone: the wrapped game's payoffs, for instance, are not the wrapper's.
        if name != "game" and not name.startswith("_"):  # pickle reads those before `game` is set
            settings = getattr(self.game, "__dataclass_fields__", ())
            if name in settings or isinstance(self.game, WrappedGame):
                return getattr(self.game, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def inner(self, state: State) -> State:
        return state  # from this game's state to the wrapped game's

    horizon = alias("game.horizon")
    action_space = alias("game.action_space")
    observation_space = alias("game.observation_space")
    discount = alias("game.discount")
    effective_horizon = alias("game.effective_horizon")
    episode_weight = alias("game.episode_weight")
    value_unit = alias("game.value_unit")
    symmetric = alias("game.symmetric")
    fully_symmetric = alias("game.fully_symmetric")
    neighbors = alias("game.neighbors")
    edges = alias("game.edges")
    influence = alias("game.influence")
    useful_influence = alias("game.useful_influence")
    truncates = alias("game.truncates")
    draws_by_rows = alias("game.draws_by_rows")
    pure = alias("game.pure")
    can_render = alias("game.can_render")
    takes_gifts = alias("game.takes_gifts")
    action_names = alias("game.action_names")
    best_welfare = alias("game.best_welfare")
    best_cooperation = alias("game.best_cooperation")
    defection_welfare = alias("game.defection_welfare")

    observe = _by_game("observe")
    neighbors_now = _by_game("neighbors_now")
    present = _by_game("present")
    action_mask = _by_game("action_mask")
    render = _by_game("render")
    ended = _by_game("ended")
    cooperates = _by_game("cooperates")
    scripted = _by_game("scripted")
    measures = _by_game("measures")

    @property
    def num_agents(self) -> int:
        return self.game.num_agents

    def reset(self, batch: int, generator: torch.Generator) -> State:
        return self.game.reset(batch, generator)

    def step(self, state: State, actions: Tensor, generator: torch.Generator) -> Step:
        return self.game.step(state, actions, generator)

    def give(self, state: State, gifts: Tensor) -> State:
        return self.game.give(state, gifts)

    def difference_rewards(self, actions: Tensor, default: int) -> Tensor:
        return self.game.difference_rewards(actions, default)

    def episode_value(self, rewards: Tensor) -> Tensor:
        return self.game.episode_value(rewards)

    def restart(self, state: State, done: Tensor, generator: torch.Generator) -> State:
        return self.game.restart(state, done, generator)


@dataclass(frozen=True, kw_only=True)
class WrappedExactGame(WrappedGame, ExactGame):
    """`WrappedGame` for games with exact values, which stay exact.

    >>> from games import make
    >>> class Doubled(WrappedExactGame):
    ...     def values(self, policies):
    ...         return 2 * self.game.values(policies)
    >>> policies = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])  # agent, observation, action
    >>> Doubled(game=make("prisoners-dilemma")).values(policies)
    tensor([-6.,  0.])
    """

    game: ExactGame
    """The wrapped game."""

    num_observations = alias("game.num_observations")

    def values(self, policies: Tensor) -> Tensor:
        return self.game.values(policies)

    def cooperation(self, policies: Tensor) -> Tensor | None:
        return self.game.cooperation(policies)


@dataclass(frozen=True, kw_only=True)
class PaidGame(WrappedGame):
    """The base of games that change the wrapped game's rewards and record gifts.

    A state is a NamedTuple with the wrapped game's state, `game`; its rewards of the last step, `extrinsic`
    [batch, agent]; and the gifts, `given` [batch, giver, receiver], whose diagonal counts in no measure.
    """

    difference_rewards = Game.difference_rewards  # welfare includes gifts that are not conserved

    def inner(self, state: State) -> State:
        return state.game

    def measures(self, state: State) -> dict[str, Tensor]:
        others = state.given - torch.diag_embed(state.given.diagonal(dim1=-2, dim2=-1))
        gifts = {"given": others.sum(-1), "received": others.sum(-2)}
        return {**super().measures(state), "extrinsic_reward": state.extrinsic, **gifts}

    def give(self, state: State, gifts: Tensor) -> State:
        return state._replace(game=self.game.give(state.game, gifts))

    def restart(self, state: State, done: Tensor, generator: torch.Generator) -> State:
        return state._replace(
            game=self.game.restart(state.game, done, generator),
            extrinsic=state.extrinsic.masked_fill(done[:, None], 0),
            given=state.given.masked_fill(done[:, None, None], 0),
        )


def nothing_paid(batch: int, agents: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Extrinsic rewards [batch, agent] and gifts [batch, giver, receiver] before the first step: zeros."""
    return torch.zeros(batch, agents, device=device), torch.zeros(batch, agents, agents, device=device)
