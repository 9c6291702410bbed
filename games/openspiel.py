"""OpenSpiel's games, straight from `pyspiel`: simultaneous ones as they are, turn-based ones with a mask."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from games.errors import require, require_name
from games.foreign.contract import Copy, Description, Seen, suitable
from games.foreign.game import ForeignGame

INSTALL = "pip install open_spiel"

Observe = Literal["auto", "information_state", "observation"]


class SpielCopy(Copy):
    """One state of an OpenSpiel game, moved on past its chance nodes."""

    def __init__(self, game: Any, *, observe: Observe, flat: bool) -> None:
        kind = game.get_type()
        name = str(kind.short_name)
        suitable(
            kind.dynamics.name in ("SEQUENTIAL", "SIMULTANEOUS"),
            f"{name} cannot be played here: it is a mean-field game, whose state needs the distribution of a "
            "population.",
        )
        suitable(
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
        self._description = Description(
            name=name,
            agents=tuple(f"agent_{agent}" for agent in self._agents),
            observation_space=spaces.Box(-np.inf, np.inf, self._shape, dtype=np.float32),
            num_actions=game.num_distinct_actions() + self._waits,
            horizon=int(game.max_game_length()),
        )

    @property
    def description(self) -> Description:
        """What it is a copy of."""
        return self._description

    def start(self, seed: int) -> Seen:
        """Begin at the root; chance draws with this seed."""
        self._chance = np.random.default_rng(seed)
        self._state = self._game.new_initial_state()
        self._paid = np.zeros(len(self._agents))
        self._pass_chance()
        return self._seen()

    def play(self, actions: Sequence[int]) -> Seen:
        """Apply the joint action, or that of the agent to move."""
        state = self._state
        if state.is_simultaneous_node():
            # OpenSpiel wants 0 from whoever has nothing to choose.
            legal = [state.legal_actions(agent) for agent in self._agents]
            state.apply_actions([actions[agent] if legal[agent] else 0 for agent in self._agents])
        else:
            state.apply_action(actions[state.current_player()])
        self._pass_chance()
        return self._seen()

    def picture(self) -> str:
        """OpenSpiel's own text."""
        return str(self._state)

    def close(self) -> None:
        """Nothing is held open."""

    def _pass_chance(self) -> None:
        state = self._state
        while state.is_chance_node():
            outcomes, probabilities = zip(*state.chance_outcomes(), strict=True)
            state.apply_action(outcomes[self._chance.choice(len(outcomes), p=probabilities)])

    def _seen(self) -> Seen:
        """What everybody sees; rewards are the growth of `returns()`, so they add up to it exactly."""
        state, over = self._state, bool(self._state.is_terminal())
        returns = np.array(state.returns(), dtype=np.float64)
        rewards, self._paid = returns - self._paid, returns
        look = getattr(state, f"{self._sees}_tensor")
        return Seen(
            observations=np.stack(
                [np.asarray(look(agent), dtype=np.float32).reshape(self._shape) for agent in self._agents]
            ),
            legal=self._legal(),
            rewards=rewards,
            present=np.full(len(self._agents), not over),
            ended=np.array(over),
        )

    def _legal(self) -> NDArray[np.bool_]:
        """Legal actions, [agent, action]; who has nothing to choose waits, or is free where nobody waits."""
        legal = np.zeros((len(self._agents), self._description.num_actions), dtype=np.bool_)
        for agent in self._agents:
            legal[agent, self._state.legal_actions(agent)] = True
        idle = ~legal.any(-1)
        legal[idle, -1 if self._waits else slice(None)] = True
        return legal


def from_openspiel(
    game: str | Any,
    copies: int,
    *,
    parameters: Mapping[str, Any] | None = None,
    observe: Observe = "auto",
    flat: bool = False,
) -> ForeignGame:
    """Play an OpenSpiel game as a game of this toolkit.

    At a simultaneous node everybody's action counts. In a turn-based game there is one more action, the
    last: to wait. `action_mask` allows the agent to move its legal actions, and the others only to wait.
    Chance nodes are drawn in passing, from the copy's seed. Rewards are the growth of `state.returns()`.

    Args:
        game: a name, with parameters in OpenSpiel's way if there are any ("goofspiel(num_cards=4)"), or a
            `pyspiel.Game`, which is used as it is.
        copies: how many, at least 1; the batch is always all of them.
        parameters: of a game given by its name.
        observe: which of OpenSpiel's tensors agents see; "auto" takes the information state (everything an
            agent knows) where the game has one, or else the observation (what it sees at the moment).
        flat: whether observations are laid out as vectors, whatever their shape.

    Raises:
        ModuleNotFoundError: OpenSpiel is not installed (says how to install it).
        ValueError: there is no such game; parameters come with a game already made; the game has no such
            tensor, is a mean-field game, or draws its chance events itself.
        CopyError: OpenSpiel refused something (says in which copy).

    Source:
        Lanctot et al., OpenSpiel, arXiv 1908.09453.
    """
    loaded = _load(game, dict(parameters or {})) if isinstance(game, str) else game
    require(
        isinstance(game, str) or not parameters,
        f"Parameters ({', '.join(parameters or ())}) need a game's name; {loaded} is already made.",
    )
    return ForeignGame(functools.partial(SpielCopy, loaded, observe=observe, flat=flat), copies=copies)


def _load(name: str, parameters: dict[str, Any]) -> Any:
    try:
        pyspiel = importlib.import_module("pyspiel")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"OpenSpiel is not installed: {INSTALL}") from error
    require_name(name.partition("(")[0], pyspiel.registered_names(), "OpenSpiel game")
    try:
        return pyspiel.load_game(name, parameters) if parameters else pyspiel.load_game(name)
    except pyspiel.SpielError as error:
        raise ValueError(f"OpenSpiel refuses {name} with parameters {parameters}: {error}") from error


def _tensor_kind(kind: Any, observe: Observe) -> str:
    """Which tensor agents see: the middle of the names of OpenSpiel's functions."""
    provided = {
        "information_state": bool(kind.provides_information_state_tensor),
        "observation": bool(kind.provides_observation_tensor),
    }
    choices = [tensor for tensor, there in provided.items() if there and observe in ("auto", tensor)]
    known = ", ".join(tensor for tensor, there in provided.items() if there) or "none"
    suitable(
        bool(choices),
        f"{kind.short_name} cannot be played here: agents were to see its {observe} tensor, but it offers "
        f"{known}.",
    )
    return choices[0]
