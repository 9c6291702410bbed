"""OpenSpiel games from `pyspiel`: simultaneous ones directly, turn-based ones by action masks."""

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
    """One state of an OpenSpiel game, advanced past its chance nodes."""

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
        self._tensor = _tensor_kind(kind, observe)
        self._shape = tuple(getattr(game, f"{self._tensor}_tensor_shape")())
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
        self._returns = np.zeros(len(self._agents))
        self._sample_chance()
        return self._result()

    def step(self, actions: Sequence[Any]) -> CopyResult:
        state = self._state
        if state.is_simultaneous_node():
            # OpenSpiel expects 0 from agents without a choice.
            legal = [state.legal_actions(agent) for agent in self._agents]
            state.apply_actions([actions[agent] if legal[agent] else 0 for agent in self._agents])
        else:
            state.apply_action(actions[state.current_player()])
        self._sample_chance()
        return self._result()

    def render(self) -> str:
        return str(self._state)

    def close(self) -> None:
        """Nothing is held open."""

    def _sample_chance(self) -> None:
        state = self._state
        while state.is_chance_node():
            outcomes, probabilities = zip(*state.chance_outcomes(), strict=True)
            state.apply_action(outcomes[self._chance.choice(len(outcomes), p=probabilities)])

    def _result(self) -> CopyResult:
        """The current result; rewards are increments of `returns()`, so they add up to it exactly."""
        state, over = self._state, bool(self._state.is_terminal())
        returns = np.array(state.returns(), dtype=np.float64)
        rewards, self._returns = returns - self._returns, returns
        tensor_of = getattr(state, f"{self._tensor}_tensor")
        observations = [
            np.asarray(tensor_of(agent), dtype=np.float32).reshape(self._shape) for agent in self._agents
        ]
        return CopyResult(
            observations=np.stack(observations),
            legal=self._legal(),
            rewards=rewards,
            present=np.full(len(self._agents), not over),
            ended=np.array(over),
        )

    def _legal(self) -> NDArray[np.bool_]:
        """Legal actions, [agent, action]; agents without a choice wait, or may choose any action."""
        legal = np.zeros((len(self._agents), self._width), dtype=np.bool_)
        for agent in self._agents:
            legal[agent, self._state.legal_actions(agent)] = True
        idle = ~legal.any(-1)
        legal[idle, -1 if self._waits else slice(None)] = True
        return legal


@dataclass(frozen=True)
class SpielLoader:
    """OpenSpiel's own constructor of a game, by a name that may include parameters."""

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

    At a simultaneous node all agents' actions count. A turn-based game has one more action, the last: to
    wait. `action_mask` allows the agent to move its legal actions, and the others only to wait. Chance nodes
    are sampled from the copy's seed. Rewards are increments of `state.returns()`.

    Args:
        game: a name, with OpenSpiel's syntax for parameters ("goofspiel(num_cards=4)"), or a `pyspiel.Game`,
            which is used as it is and has no settings.
        observe: the tensor that agents observe; "auto" takes the information state (all that an agent knows)
            where the game has one, and otherwise the observation (of the current state).
        flat: flatten observations of any shape to vectors.
        discount: per step, from 0 to 1.
        workers: number of processes that step the copies; 0: this process.
        parameters: OpenSpiel parameters; others keep the game's defaults.
    Returns:
        A game whose settings are OpenSpiel's parameters.
    Raises:
        ModuleNotFoundError: OpenSpiel is not installed (says how to install it).
        ValueError: there is no such game or parameter, or OpenSpiel refuses a value; parameters come with a
            game already made; the game has no such tensor, is a mean-field game, or draws its chance events
            itself.
    Source:
        Lanctot et al., OpenSpiel, arXiv 1908.09453.

    >>> game = from_openspiel("kuhn_poker", players=3)
    >>> game.num_agents, game.num_actions  # pass, bet, wait
    (3, 3)
    """
    copy_of = functools.partial(SpielCopy, observe=observe, flat=flat)
    options: dict[str, Any] = {"discount": discount, "workers": workers, "reuse": True}
    if isinstance(game, str):
        name = game.partition("(")[0]
        require_name(name, _pyspiel().registered_names(), "OpenSpiel game", "pyspiel.registered_names()")
        source = EnvironmentSource(SpielLoader(game), copy_of, parameters=_parameters, **options)
        return foreign_game(source, parameters, name)
    require(
        not parameters,
        f"Parameters ({', '.join(parameters)}) need a game's name; {game} is already made.",
    )
    return foreign_game(EnvironmentSource(lambda: game, copy_of, **options), {}, str(game))


def load_openspiel(game: str | Any) -> Any:
    """Load an OpenSpiel game by its name, as OpenSpiel's own `pyspiel.Game`.

    Args:
        game: a name, with OpenSpiel's syntax for parameters ("goofspiel(num_cards=4)"), or a `pyspiel.Game`,
            which is returned as it is.
    Returns:
        The game.
    Raises:
        ModuleNotFoundError: OpenSpiel is not installed (says how to install it).
        ValueError: there is no such game, or OpenSpiel refuses its parameters.

    >>> load_openspiel("kuhn_poker(players=3)").num_players()
    3
    """
    pyspiel = _pyspiel()
    if not isinstance(game, str):
        return game
    name = game.partition("(")[0]
    require_name(name, pyspiel.registered_names(), "OpenSpiel game", "pyspiel.registered_names()")
    try:
        return pyspiel.load_game(game)
    except pyspiel.SpielError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"OpenSpiel refuses the game {game}: {reason}") from error


def _parameters(load: Callable[..., Any], game: Any) -> Parameters:
    """The parameters of a game; unknown for a game with required parameters."""
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
    """The observed tensor: the middle part of the names of OpenSpiel's functions."""
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
