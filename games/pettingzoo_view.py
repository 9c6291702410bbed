"""Any game as a PettingZoo environment, for the learners that others have written."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from pettingzoo.utils.conversions import parallel_to_aec, parallel_to_aec_wrapper
from pettingzoo.utils.env import AECEnv, ParallelEnv

from games.base import Game, State, numbered_actions
from games.catalogue import make
from games.errors import require
from games.window import Window

Observation = np.ndarray | np.int64
"""An array where the game's observation space is a Box, a NumPy integer where it is Discrete."""

Infos = dict[str, dict[str, bool | float]]
"""For each agent, after a step: "cooperated", whether it did, if the word has a meaning in the game; and
"extrinsic_reward", what the game itself paid, if its rewards are shared or come with gifts."""

RENDER_MODES = ("rgb_array", "ansi", "human")


class ParallelView(ParallelEnv[str, Observation, int]):  # type: ignore[misc]  # PettingZoo is untyped
    """One copy of a game, on the CPU, behind PettingZoo's parallel interface.

    Agents are called "agent_0", "agent_1", ... All leave together: terminated when the game's rules end the
    episode (`Game.ended`), truncated when only the horizon or `max_cycles` does.

    Args:
        game: what is played.
        render_mode: "rgb_array" for frames, "ansi" for a line of text, "human" for a window that follows the
            episode by itself, None if `render` is never called.
        max_cycles: the most steps of an episode; the game's horizon by default.
        name: what `metadata["name"]` says; the game's class by default.

    Raises:
        ValueError: the render mode is unknown, there is no window to be had for "human", or `max_cycles` is
            below 1.

    >>> from games.escape_room import EscapeRoom
    >>> view = ParallelView(EscapeRoom(), render_mode="ansi")
    >>> observations, infos = view.reset(seed=0)
    >>> observations, rewards, terminations, truncations, infos = view.step({"agent_0": 0, "agent_1": 2})
    >>> rewards, terminations
    ({'agent_0': -1.0, 'agent_1': 10.0}, {'agent_0': True, 'agent_1': True})
    >>> view.render()
    'step 1: agent_0 lever -1, agent_1 door 10'
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": "game",
        "render_modes": list(RENDER_MODES),
        "render_fps": 4,
        "is_parallelizable": True,
    }

    def __init__(
        self,
        game: Game,
        render_mode: str | None = None,
        max_cycles: int | None = None,
        name: str | None = None,
    ) -> None:
        require(
            render_mode is None or render_mode in RENDER_MODES,
            f"There is no render mode {render_mode!r}; there are {', '.join(RENDER_MODES)}, and None.",
        )
        self.game = game
        self.render_mode = render_mode
        self.max_cycles = game.horizon if max_cycles is None else max_cycles
        self.metadata = {**type(self).metadata, "name": name or type(game).__name__}  # type: ignore[misc]
        self.possible_agents = [f"agent_{agent}" for agent in range(game.num_agents)]
        self.agents: list[str] = []
        self.state_space = _stacked(game.observation_space, game.num_agents)
        # One object for each agent, so that sampling from one does not move another's stream.
        self._observation_spaces = {
            agent: copy.deepcopy(game.observation_space) for agent in self.possible_agents
        }
        actions = numbered_actions(game, "PettingZoo's view of a game")
        self._action_spaces = {agent: spaces.Discrete(actions) for agent in self.possible_agents}
        self._generator = torch.Generator()
        self._generator.seed()  # fresh entropy, until `reset` is given a seed
        self._state: State | None = None
        self._cycles = 0
        self._last: list[tuple[int, float]] = []
        self._window = Window(self.metadata["name"]) if render_mode == "human" else None

    @property
    def max_cycles(self) -> int:
        """The most steps of an episode; a number above the game's horizon has no effect."""
        return self._max_cycles

    @max_cycles.setter
    def max_cycles(self, cycles: int) -> None:
        require(cycles >= 1, f"An episode needs at least 1 step; max_cycles is {cycles}.")
        self._max_cycles = cycles

    def observation_space(self, agent: str) -> spaces.Box | spaces.Discrete:
        """What `agent` may see: the same object at each call."""
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        """What `agent` may do: the same object at each call."""
        return self._action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], Infos]:
        """Start an episode.

        Args:
            seed: starts the stream of random numbers anew; without one, the stream goes on.
            options: part of PettingZoo's interface; no game has any, so they are not read.

        Returns:
            observations and (empty) infos, by agent.
        """
        if seed is not None:
            self._generator.manual_seed(int(seed))
        self._state = self.game.reset(1, self._generator)
        self.agents = list(self.possible_agents)
        self._cycles = 0
        self._last = []
        self._follow()
        return self._observations(), {agent: {} for agent in self.agents}

    def step(
        self, actions: Mapping[str, int]
    ) -> tuple[dict[str, Observation], dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Play one step.

        Args:
            actions: one for each agent, by name.

        Returns:
            observations, rewards, terminations, truncations and infos, by agent.

        Raises:
            ResetNeeded: the episode has ended, or none has begun.
            ValueError: an agent has no action or one that is not legal, or there is no such agent.
        """
        before = self._started()
        if not self.agents:
            raise ResetNeeded("The episode has ended: call reset() before step().")
        self._check(actions)
        chosen = torch.tensor([[int(actions[agent]) for agent in self.agents]])
        self._state, rewards, done = self.game.step(before, chosen, self._generator)
        self._cycles += 1
        self._last = list(zip(chosen[0].tolist(), rewards[0].tolist(), strict=True))
        terminated = bool(self.game.ended(self._state)[0])
        truncated = not terminated and (bool(done[0]) or self._cycles >= self.max_cycles)
        results = (
            self._observations(),
            {agent: float(reward) for agent, (_, reward) in zip(self.agents, self._last, strict=True)},
            dict.fromkeys(self.agents, terminated),
            dict.fromkeys(self.agents, truncated),
            self._infos(before, chosen),
        )
        self._follow()
        if terminated or truncated:
            self.agents = []
        return results

    def state(self) -> np.ndarray:
        """All agents' observations, one after the other: a vector in `state_space`.

        Raises:
            ResetNeeded: no episode has begun.
        """
        return self._seen().reshape(-1)

    def render(self) -> np.ndarray | str | None:
        """Draw what is going on.

        Returns:
            the frame, uint8 [height, width, 3]; or a line with the last actions and rewards; or, for "human",
            None: the window shows the frame.

        Raises:
            ResetNeeded: no episode has begun.
            ValueError: the environment was made without a render mode.
        """
        state = self._started()
        require(
            self.render_mode is not None,
            f"render() needs a mode: make the environment with render_mode {' or '.join(RENDER_MODES)}.",
        )
        if self._window is not None:
            self._window.show(self.game.render(state), seconds=1 / self.metadata["render_fps"])
            return None
        if self.render_mode == "rgb_array":
            return self.game.render(state)
        names = self.game.action_names
        deeds = (
            f"{agent} {names[action]} {reward:g}"
            for agent, (action, reward) in zip(self.possible_agents, self._last, strict=False)
        )
        return f"step {self._cycles}: {', '.join(deeds) or 'nobody has acted yet'}"

    def close(self) -> None:
        """Close the window, if there is one; call it as often as you like."""
        if self._window is not None:
            self._window.close()

    def _follow(self) -> None:
        """Show what is going on to whoever watches."""
        if self._window is not None:
            self.render()

    def _started(self) -> State:
        if self._state is None:
            raise ResetNeeded("No episode has begun: call reset() first.")
        return self._state

    def _check(self, actions: Mapping[str, int]) -> None:
        require(
            set(actions) == set(self.agents),
            f"step() needs one action for each of {', '.join(self.agents)}; it got actions for "
            f"{', '.join(map(str, actions)) or 'nobody'}.",
        )
        for agent, action in actions.items():
            space = self._action_spaces[agent]
            require(
                space.contains(action),
                f"{agent}'s action must be an integer from 0 to {space.n - 1}, not {action!r}.",
            )

    def _infos(self, before: State, actions: torch.Tensor) -> Infos:
        """What may be said of each agent's last step; see `Infos`."""
        infos: Infos = {agent: {} for agent in self.agents}
        cooperated = self.game.cooperates(before, actions)
        extrinsic = getattr(self._state, "extrinsic", None)
        for position, info in enumerate(infos.values()):
            if cooperated is not None:
                info["cooperated"] = bool(cooperated[0, position])
            if extrinsic is not None:
                info["extrinsic_reward"] = float(extrinsic[0, position])
        return infos

    def _seen(self) -> np.ndarray:
        """Every agent's observation, [agent, ...], in memory that is nobody else's."""
        return self.game.observe(self._started())[0].numpy().astype(self.state_space.dtype)

    def _observations(self) -> dict[str, Observation]:
        return dict(zip(self.possible_agents, self._seen(), strict=True))


def parallel_env(
    game: str | Game, render_mode: str | None = None, max_cycles: int | None = None, **settings: Any
) -> ParallelView:
    """Make a game's parallel environment.

    Args:
        game: a name in the catalogue, or a game already made.
        render_mode: see `ParallelView`.
        max_cycles: see `ParallelView`.
        settings: the game's settings, if it is named.

    Raises:
        ValueError: there is no such game or setting; or settings come with a game already made.

    >>> parallel_env("escape-room", agents=3, levers=2).possible_agents
    ['agent_0', 'agent_1', 'agent_2']
    """
    if isinstance(game, Game):
        require(
            not settings,
            f"Settings ({', '.join(settings)}) need a game's name; {type(game).__name__} is already made.",
        )
        return ParallelView(game, render_mode, max_cycles)
    return ParallelView(make(game, **settings), render_mode, max_cycles, name=game)


def raw_env(
    game: str | Game, render_mode: str | None = None, max_cycles: int | None = None, **settings: Any
) -> AECEnv[str, Observation, int]:
    """The same where agents act in turn (PettingZoo's AEC), and nothing guards the order of calls."""
    return parallel_to_aec_wrapper(parallel_env(game, render_mode, max_cycles, **settings))


def env(
    game: str | Game, render_mode: str | None = None, max_cycles: int | None = None, **settings: Any
) -> AECEnv[str, Observation, int]:
    """The same as `raw_env`, behind PettingZoo's wrapper that refuses calls in the wrong order."""
    return parallel_to_aec(parallel_env(game, render_mode, max_cycles, **settings))


def _stacked(space: spaces.Box | spaces.Discrete, agents: int) -> spaces.Box:
    """The space of all agents' observations, one after the other."""
    if isinstance(space, spaces.Discrete):
        last = int(space.start + space.n - 1)
        return spaces.Box(int(space.start), last, (agents,), dtype=np.int64)
    low, high = (np.tile(bound.reshape(-1), agents) for bound in (space.low, space.high))
    return spaces.Box(low, high, dtype=space.dtype)
