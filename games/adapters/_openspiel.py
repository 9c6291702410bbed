"""OpenSpiel's games, straight from `pyspiel`: simultaneous ones as they are, turn-based ones with a mask."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from games.adapters._constructors import Parameters
from games.adapters._copies import Copy, CopyResult, Description, require_suitable
from games.adapters._foreign_game import ForeignGame, foreign_game
from games.adapters._source import EnvironmentSource
from games.core import require, require_name

Observe = Literal["auto", "information_state", "observation"]


class SpielCopy(Copy):
    """One state of an OpenSpiel game, moved on past its chance nodes."""

    def __init__(self, game: Any, *, observe: Observe, flat: bool) -> None:
        kind = game.get_type()
        name = str(kind.short_name)
        require_suitable(
            kind.dynamics.name in ("SEQUENTIAL", "SIMULTANEOUS"),
            f"{name} cannot be played here: it is a mean-field game, whose state needs the distribution of a "
            "population.",
        )
        require_suitable(
            kind.chance_mode.name != "SAMPLED_STOCHASTIC",
            f"{name} cannot be played here: it draws its chance events itself, where our seeds do not reach.",
        )
        self._game = game
        self._sees = _tensor_kind(kind, observe)
        self._shape = tuple(getattr(game, f"{self._sees}_tensor_shape")())
        if flat:
            self._shape = (int(np.prod(self._shape)),)
        self._agents = range(game.num_players())
        self._waits = kind.dynamics.name == "SEQUENTIAL"
        self._width = game.num_distinct_actions() + self._waits
        self.description = Description(
            name=name,
            agents=tuple(f"agent_{agent}" for agent in self._agents),
            observation_space=spaces.Box(-np.inf, np.inf, self._shape, dtype=np.float32),
            action_space=spaces.Discrete(self._width),
            horizon=int(game.max_game_length()),
            render_modes=("ansi",),
        )

    def reset(self, seed: int) -> CopyResult:
        self._chance = np.random.default_rng(seed)
        self._state = self._game.new_initial_state()
        self._paid = np.zeros(len(self._agents))
        self._pass_chance()
        return self._result()

    def step(self, actions: Sequence[Any]) -> CopyResult:
        state = self._state
        if state.is_simultaneous_node():
            # OpenSpiel wants 0 from whoever has nothing to choose.
            legal = [state.legal_actions(agent) for agent in self._agents]
            state.apply_actions([actions[agent] if legal[agent] else 0 for agent in self._agents])
        else:
            state.apply_action(actions[state.current_player()])
        self._pass_chance()
        return self._result()

    def render(self) -> str:
        return str(self._state)

    def close(self) -> None:
        """Nothing is held open."""

    def _pass_chance(self) -> None:
        state = self._state
        while state.is_chance_node():
            outcomes, probabilities = zip(*state.chance_outcomes(), strict=True)
            state.apply_action(outcomes[self._chance.choice(len(outcomes), p=probabilities)])

    def _result(self) -> CopyResult:
        """The present result; rewards are the growth of `returns()`, so they add up to it exactly."""
        state, over = self._state, bool(self._state.is_terminal())
        returns = np.array(state.returns(), dtype=np.float64)
        rewards, self._paid = returns - self._paid, returns
        look = getattr(state, f"{self._sees}_tensor")
        seen = [np.asarray(look(agent), dtype=np.float32).reshape(self._shape) for agent in self._agents]
        return CopyResult(
            observations=np.stack(seen),
            legal=self._legal(),
            rewards=rewards,
            present=np.full(len(self._agents), not over),
            ended=np.array(over),
        )

    def _legal(self) -> NDArray[np.bool_]:
        """Legal actions, [agent, action]; who has nothing to choose waits, or is free where nobody waits."""
        legal = np.zeros((len(self._agents), self._width), dtype=np.bool_)
        for agent in self._agents:
            legal[agent, self._state.legal_actions(agent)] = True
        idle = ~legal.any(-1)
        legal[idle, -1 if self._waits else slice(None)] = True
        return legal


@dataclass(frozen=True)
class SpielLoader:
    """OpenSpiel's own constructor of a game, by the name that was given, parameters in it included."""

    name: str

    def __call__(self, **parameters: Any) -> Any:
        """Load the game, with these parameters changed."""
        pyspiel = _pyspiel()
        game = pyspiel.load_game(self.name)
        own = game.get_parameters()
        if all(own.get(name) == value for name, value in parameters.items()):
            return game
        return pyspiel.load_game(game.get_type().short_name, {**own, **parameters})


def from_openspiel(
    game: str | Any,
    *,
    observe: Observe = "auto",
    flat: bool = False,
    discount: float = 1.0,
    workers: int = 0,
    **parameters: Any,
) -> ForeignGame:
    """Turn an OpenSpiel game into a game of this toolkit, whose settings are OpenSpiel's parameters.

    At a simultaneous node all agents' action counts. In a turn-based game there is one more action, the
    last: to wait. `action_mask` allows the agent to move its legal actions, and the others only to wait.
    Chance nodes are drawn in passing, from the copy's seed. Rewards are the growth of `state.returns()`.

    Args:
        game: a name, with parameters in OpenSpiel's way if there are any ("goofspiel(num_cards=4)"), or a
            `pyspiel.Game`, which is used as it is and has no settings.
        observe: which of OpenSpiel's tensors agents see; "auto" takes the information state (everything an
            agent knows) where the game has one, or else the observation (what it sees at the moment).
        flat: whether observations are laid out as vectors, whatever their shape.
        discount: per step, from 0 to 1.
        workers: how many processes play; 0: this one does.
        parameters: with other values than the game's own.
    Raises:
        ModuleNotFoundError: OpenSpiel is not installed (says how to install it).
        ValueError: there is no such game or parameter, or OpenSpiel refuses a value; parameters come with a
            game already made; the game has no such tensor, is a mean-field game, or draws its chance events
            itself.
    Source:
        Lanctot et al., OpenSpiel, arXiv 1908.09453.
    """
    copy_of = functools.partial(SpielCopy, observe=observe, flat=flat)
    options: dict[str, Any] = {"discount": discount, "workers": workers, "reuse": True}
    if isinstance(game, str):
        name = game.partition("(")[0]
        require_name(name, _pyspiel().registered_names(), "OpenSpiel game")
        source = EnvironmentSource(SpielLoader(game), copy_of, parameters=_parameters, **options)
        return foreign_game(source, parameters, name)
    require(
        not parameters,
        f"Parameters ({', '.join(parameters)}) need a game's name; {game} is already made.",
    )
    return foreign_game(EnvironmentSource(lambda: game, copy_of, **options), {}, str(game))


def _parameters(load: Callable[..., Any], game: Any) -> Parameters:
    """The parameters of a game; none are known of a game that must be given some."""
    try:
        return Parameters({}, dict((game or load()).get_parameters()), complete=True)
    except _pyspiel().SpielError:
        return Parameters({}, {}, complete=False)


def _pyspiel() -> Any:
    try:
        return importlib.import_module("pyspiel")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("OpenSpiel is not installed: pip install open_spiel") from error


def _tensor_kind(kind: Any, observe: Observe) -> str:
    """Which tensor agents see: the middle of the names of OpenSpiel's functions."""
    tensors = ("information_state", "observation")
    offered = [tensor for tensor in tensors if getattr(kind, f"provides_{tensor}_tensor")]
    choices = [tensor for tensor in offered if observe in ("auto", tensor)]
    known = ", ".join(offered) or "none"
    require_suitable(
        bool(choices),
        f"{kind.short_name} cannot be played here: agents were to see its {observe} tensor, but it offers "
        f"{known}.",
    )
    return choices[0]
