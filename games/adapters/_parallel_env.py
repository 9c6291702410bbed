"""Games as PettingZoo environments, for other libraries' learners."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import optree
import pettingzoo
import torch
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from pettingzoo.utils.conversions import parallel_to_aec, parallel_to_aec_wrapper
from pettingzoo.utils.env import AECEnv, ParallelEnv

from games import make, names
from games.core import Game, State, require

BYTE = 255


def flat_space(space: spaces.Box | spaces.Discrete) -> spaces.Box:
    """The space of an observation as a float32 vector; see `flatten`."""
    if isinstance(space, spaces.Discrete):
        return spaces.Box(0.0, 1.0, (int(space.n),), dtype=np.float32)
    low, high = (bound.astype(np.float32).reshape(-1) / _unit(space) for bound in (space.low, space.high))
    return spaces.Box(low, high, dtype=np.float32)


def flatten(observations: np.ndarray, space: spaces.Box | spaces.Discrete) -> np.ndarray:
    """Flatten observations, [row, ...], to vectors: float32 [row, number] in `flat_space(space)`.

    Images and planes are flattened, bytes become fractions of 255, and Discrete observations one-hot.

    >>> flatten(np.array([2, 0]), spaces.Discrete(3))
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    if isinstance(space, spaces.Discrete):
        one_hot = np.zeros((len(observations), int(space.n)), dtype=np.float32)
        one_hot[np.arange(len(observations)), observations - int(space.start)] = 1
        return one_hot
    vectors = observations.astype(np.float32).reshape(len(observations), -1)
    unit = _unit(space)
    return vectors if unit == 1 else vectors / unit


def _unit(space: spaces.Box) -> np.float32:
    """Divisor of observations: 255 for images, bytes up to 255; otherwise 1."""
    return np.float32(BYTE if space.dtype == np.uint8 and space.high.max() == BYTE else 1)


Observation = np.ndarray | np.int64 | dict[str, np.ndarray | np.int64]
"""An array where the game's observation space is a Box, a NumPy integer where it is Discrete; where actions
are masked, a dict of "observation" and "action_mask"."""

Action = int | np.ndarray
"""An integer where actions are Discrete; a vector of the Box's shape where they are continuous."""

Infos = dict[str, dict[str, Any]]
"""By agent: "action_mask", int8 [action], 1 where an action is legal, if the game masks actions; after a step
also "cooperated", if cooperation is defined in the game, and all of the game's measures
(`Game.measures`), such as "extrinsic_reward", "given" and "received"."""

MASK = "action_mask"
RENDER_MODES = ("rgb_array", "ansi", "human")
CACHE_SIZE = 2**24  # approximate bytes of step outcomes cached by an environment
OUTCOME_SIZE = 1024  # bytes of one outcome, without observations


@dataclasses.dataclass(frozen=True, slots=True)
class StateView:
    """A state of one copy, its observations and masks, and cached outcomes of steps."""

    state: State
    observations: np.ndarray  # [agent, ...]
    legal: np.ndarray | None  # action mask, boolean [agent, action]; None where all are legal
    gone: Collection[str]  # agents that have left before the others; empty when the episode is over
    outcomes: dict[tuple[int, ...], StepOutcome] = dataclasses.field(default_factory=dict)  # by joint action


class StepOutcome(NamedTuple):
    """Outcome of a step; rewards and infos by agent."""

    after: StateView
    rewards: dict[str, float]
    terminated: bool  # the rules end the episode
    done: bool  # the episode ends, by the rules or at the horizon
    infos: dict[str, dict[str, Any]]  # name -> agent -> value


class ParallelView(ParallelEnv[str, Observation, Action]):  # type: ignore[misc]  # PettingZoo is untyped
    """One copy of a game, on the CPU, behind PettingZoo's parallel interface; see `parallel_env`.

    Agents are called "agent_0", "agent_1", ... An agent that leaves before the others (`Game.present`) is
    terminated then. The others leave together: terminated when the game's rules end the episode
    (`Game.ended`), truncated when only the horizon or `max_cycles` does. Where a game masks actions,
    observations are dicts of "observation" and "action_mask" (int8, 1 where an action is legal), PettingZoo's
    convention, and infos hold the same "action_mask".

    Steps of a pure game (`Game.pure`) with Discrete actions and without random draws are cached, up to
    `CACHE_SIZE` bytes.

    Args:
        game: a game.
        render_mode: as in `parallel_env`.
        max_cycles: as in `parallel_env`.
        name: the environment's name in its metadata; the game's class by default.
        flat: as in `parallel_env`.
    Raises:
        ValueError: as for `parallel_env`.

    >>> from games import make
    >>> view = ParallelView(make("chicken"))
    >>> _ = view.reset(seed=0)
    >>> view.step({"agent_0": 0, "agent_1": 1})[1]  # rewards; agent 0 swerves
    {'agent_0': -1.0, 'agent_1': 1.0}
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": "game", "render_modes": list(RENDER_MODES), "render_fps": 4, "is_parallelizable": True
    }  # fmt: skip

    def __init__(
        self,
        game: Game,
        render_mode: str | None = None,
        max_cycles: int | None = None,
        name: str | None = None,
        flat: bool = False,
    ) -> None:
        require(
            render_mode is None or render_mode in RENDER_MODES,
            f"There is no render mode {render_mode!r}; there are {', '.join(RENDER_MODES)}, and None.",
        )
        self.game, self.render_mode, self.flat = game, render_mode, flat
        self.max_cycles = game.horizon if max_cycles is None else max_cycles
        self.metadata = {**type(self).metadata, "name": name or type(game).__name__}  # type: ignore[misc]
        self.possible_agents = [f"agent_{agent}" for agent in range(game.num_agents)]
        self.agents: list[str] = []
        self._game_space = game.observation_space
        self.state_space = _stacked(self._game_space, game.num_agents)
        actions = game.action_space
        self._num_actions = int(actions.n) if isinstance(actions, spaces.Discrete) else None
        self._masks = game.action_mask(game.reset(1, torch.Generator().manual_seed(0))) is not None
        space: Any = flat_space(self._game_space) if flat else self._game_space
        if self._masks:
            space = spaces.Dict({"observation": space, MASK: spaces.MultiBinary(game.num_actions)})
        # One object for each agent, so that sampling from one does not advance another's stream.
        self._observation_spaces = {agent: copy.deepcopy(space) for agent in self.possible_agents}
        self._action_spaces = {agent: copy.deepcopy(actions) for agent in self.possible_agents}
        self._generator = torch.Generator()
        self._generator.seed()  # fresh entropy, until `reset` is given a seed
        self._now: StateView | None = None
        self._start: StateView | None = None
        self._views: dict[bytes, StateView] = {}
        self._cached, self._caches_start = 0, game.pure
        self._caches_steps = game.pure and self._num_actions is not None
        self._cycles = 0
        self._last: tuple[Mapping[str, Action], Mapping[str, float]] = ({}, {})
        self._window: Any = None
        if render_mode == "human":
            from games.render import FrameWindow  # noqa: PLC0415 - it loads Matplotlib

            self._window = FrameWindow(self.metadata["name"])

    @property
    def max_cycles(self) -> int:
        """Maximum number of steps of an episode; above the game's horizon it has no effect."""
        return self._max_cycles

    @max_cycles.setter
    def max_cycles(self, cycles: int) -> None:
        require(cycles >= 1, f"An episode needs at least 1 step; max_cycles is {cycles}.")
        self._max_cycles = cycles

    def observation_space(self, agent: str) -> spaces.Box | spaces.Discrete | spaces.Dict:
        space: spaces.Box | spaces.Discrete | spaces.Dict = self._observation_spaces[agent]
        return space

    def action_space(self, agent: str) -> spaces.Discrete | spaces.Box:
        return self._action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], Infos]:
        """Start an episode; without a seed the random stream continues. Options are ignored."""
        if seed is not None:
            self._generator.manual_seed(int(seed))
        self._now = self._start or self._begin()
        self.agents = list(self.possible_agents)
        self._cycles = 0
        self._last = ({}, {})
        if self._window is not None:
            self.render()
        return self._observations(self._now, self.agents), self._infos(self._now, self.agents, {})

    def step(
        self, actions: Mapping[str, Action]
    ) -> tuple[dict[str, Observation], dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Play one step, with one action for each agent that has not left.

        Raises:
            ResetNeeded: the episode has ended, or none has begun.
            ValueError: an agent has no action or one that is not legal, or there is no such agent.
        """
        now, acted = self._started(), self.agents
        if not acted:
            raise ResetNeeded("The episode has ended: call reset() before step().")
        joint: tuple[Any, ...]
        if self._num_actions is None:
            joint = self._joint_vectors(actions)
            outcome = self._play(now, joint)
        else:
            joint = self._joint(now, actions, self._num_actions)
            outcome = now.outcomes.get(joint) or self._play(now, joint)
        after, paid, over, done, measured = outcome
        self._now = after
        self._cycles += 1
        cut = not over and (done or self._cycles >= self._max_cycles)
        terminations = {agent: over or agent in after.gone for agent in acted}
        truncations = {agent: cut and agent not in after.gone for agent in acted}
        self.agents = [agent for agent in acted if not (terminations[agent] or truncations[agent])]
        rewards = {agent: paid[agent] for agent in acted}
        self._last = ({agent: actions[agent] for agent in acted}, paid)
        if self._window is not None:
            self.render()
        infos = self._infos(after, acted, measured)
        return self._observations(after, acted), rewards, terminations, truncations, infos

    def state(self) -> np.ndarray:
        """All agents' observations, concatenated: a vector in `state_space`."""
        return self._started().observations.flatten()

    def render(self) -> np.ndarray | str | None:
        """Draw the current state in the render mode; ValueError without one.

        Returns:
            The frame, uint8 [height, width, 3]; or a line with the last actions and rewards; or, for "human",
            None: the window shows the frame.
        """
        state = self._started().state
        require(
            self.render_mode is not None,
            f"render() needs a mode: make the environment with render_mode {' or '.join(RENDER_MODES)}.",
        )
        if self._window is not None:
            self._window.show(self.game.render(state), seconds=1 / self.metadata["render_fps"])
            return None
        if self.render_mode == "rgb_array":
            return self.game.render(state)
        actions, rewards = self._last
        moves = (f"{agent} {self._name(action)} {rewards[agent]:g}" for agent, action in actions.items())
        return f"step {self._cycles}: {', '.join(moves) or 'nobody has acted yet'}"

    def close(self) -> None:
        if self._window is not None:
            self._window.close()

    def __getstate__(self) -> dict[str, Any]:
        """Drop the caches, which can be recomputed."""
        now = None if self._now is None else dataclasses.replace(self._now, outcomes={})
        return {**self.__dict__, "_now": now, "_start": None, "_views": {}, "_cached": 0}

    def _started(self) -> StateView:
        if self._now is None:
            raise ResetNeeded("No episode has begun: call reset() first.")
        return self._now

    def _begin(self) -> StateView:
        """Start an episode; the start is cached if nothing was drawn."""
        before = self._generator.get_state() if self._caches_start else None
        view = self._view(self.game.reset(1, self._generator))
        if before is not None:
            self._caches_start = torch.equal(before, self._generator.get_state())
            self._start = view if self._caches_start else None
        return view

    def _play(self, now: StateView, joint: tuple[Any, ...]) -> StepOutcome:
        """Play a step; its outcome is cached if nothing was drawn."""
        game, actions = self.game, torch.from_numpy(np.array([joint]))
        before = self._generator.get_state() if self._caches_steps else None
        state, rewards, done = game.step(now.state, actions, self._generator)
        if before is not None:
            self._caches_steps = torch.equal(before, self._generator.get_state())
        measured = {name: self._by_agent(values) for name, values in game.measures(state).items()}
        cooperated = game.cooperates(now.state, actions)
        if cooperated is not None:
            measured = {"cooperated": self._by_agent(cooperated), **measured}
        ends = bool(done.tolist()[0])
        over = ends and bool(game.ended(state).tolist()[0])
        outcome = StepOutcome(self._view(state), self._by_agent(rewards), over, ends, measured)
        if self._caches_steps and self._cached < CACHE_SIZE:
            self._cached += OUTCOME_SIZE
            now.outcomes[joint] = outcome
        return outcome

    def _view(self, state: State) -> StateView:
        """The view of a state; for a cached state, the same object."""
        key = b""
        if self._caches_steps:
            key = b"".join(leaf.numpy().tobytes() for leaf in optree.tree_leaves(state))
            if key in self._views:
                return self._views[key]
        observations = self.game.observe(state).numpy()[0].astype(self._game_space.dtype)
        mask = self.game.action_mask(state) if self._masks else None
        legal = None if mask is None else mask[0].numpy()
        present = self.game.present(state)
        presence = {} if present is None else self._by_agent(present)
        gone = {agent for agent, stays in presence.items() if not stays} if any(presence.values()) else ()
        view = StateView(state, observations, legal, gone)
        if self._caches_steps and self._cached < CACHE_SIZE:
            self._cached += len(key) + observations.nbytes
            self._views[key] = view
        return view

    def _name(self, action: Any) -> str:
        """Name of an action; of continuous ones, their numbers."""
        if self._num_actions is None:
            return " ".join(f"{number:.4g}" for number in np.ravel(action))
        return self.game.action_names[int(action)]

    def _require_complete(self, actions: Mapping[str, Action]) -> None:
        """Require one action for each acting agent, and no others."""
        acting = self.agents
        if len(actions) != len(acting) or not all(agent in actions for agent in acting):
            raise ValueError(
                f"step() needs one action for each of {', '.join(acting)}; it got actions for "
                f"{', '.join(map(str, actions)) or 'nobody'}."
            )

    def _joint_vectors(self, actions: Mapping[str, Action]) -> tuple[np.ndarray, ...]:
        """The joint continuous action; of agents that have left, the lowest one, which is ignored."""
        self._require_complete(actions)
        joint = []
        for agent in self.possible_agents:
            space: Any = self._action_spaces[agent]
            vector = space.low
            if agent in actions:
                try:
                    vector = np.array(actions[agent], dtype=space.dtype)
                except (TypeError, ValueError):
                    vector = np.array(np.nan)
            inside = (
                vector.shape == space.shape and (vector >= space.low).all() and (vector <= space.high).all()
            )
            require(
                bool(inside),
                f"{agent}'s action must be an array of shape {space.shape} from {space.low.tolist()} to "
                f"{space.high.tolist()}, not {actions.get(agent)!r}.",
            )
            joint.append(vector)
        return tuple(joint)

    def _joint(self, now: StateView, actions: Mapping[str, Any], count: int) -> tuple[int, ...]:
        """The joint action, with a legal action, which is ignored, for agents that have left. See `step`."""
        self._require_complete(actions)
        acting, legal = self.agents, now.legal
        joint: list[int] = [0] * len(self.possible_agents)
        if legal is not None and len(acting) < len(joint):
            joint = legal.argmax(-1).tolist()
        for position, agent in enumerate(self.possible_agents):
            if agent not in actions:
                continue
            action = actions[agent]
            # `Discrete.contains`, which also accepts arrays without axes, at a tenth of its cost.
            if not isinstance(action, int | np.integer) or not 0 <= action < count:
                require(
                    self._action_spaces[agent].contains(action),
                    f"{agent}'s action must be an integer from 0 to {count - 1}, not {action!r}.",
                )
            if legal is not None and not legal[position, action]:
                raise ValueError(
                    f"{agent} may not choose action {int(action)} now; it may choose "
                    f"{', '.join(map(str, legal[position].nonzero()[0]))}: see the action_mask of its "
                    "observation."
                )
            joint[position] = int(action)
        return tuple(joint)

    def _by_agent(self, values: torch.Tensor) -> dict[str, Any]:
        """Python numbers by agent, from a tensor [1, agent]."""
        return dict(zip(self.possible_agents, values.tolist()[0], strict=True))

    def _infos(
        self, now: StateView, agents: Sequence[str], measured: Mapping[str, Mapping[str, Any]]
    ) -> Infos:
        if now.legal is not None:
            measured = {MASK: self._masks_of(now.legal), **measured}
        return {agent: {name: values[agent] for name, values in measured.items()} for agent in agents}

    def _masks_of(self, legal: np.ndarray) -> dict[str, np.ndarray]:
        """Action masks by agent: int8 [action], in memory of their own."""
        return dict(zip(self.possible_agents, legal.astype(np.int8), strict=True))

    def _observations(self, now: StateView, agents: Sequence[str]) -> dict[str, Observation]:
        """Observations of these agents, in memory of their own."""
        values = flatten(now.observations, self._game_space) if self.flat else now.observations.copy()
        by_agent: dict[str, Any] = dict(zip(self.possible_agents, values, strict=True))
        if now.legal is not None:
            masks = self._masks_of(now.legal)
            by_agent = {agent: {"observation": own, MASK: masks[agent]} for agent, own in by_agent.items()}
        return by_agent if len(agents) == len(by_agent) else {agent: by_agent[agent] for agent in agents}


def parallel_env(
    game: str | Game,
    render_mode: str | None = None,
    max_cycles: int | None = None,
    flat: bool = False,
    **settings: Any,
) -> ParallelView:
    """Make a game's parallel PettingZoo environment.

    Args:
        game: a name in the catalogue, or a game.
        render_mode: "rgb_array" for frames, "ansi" for a line of text, "human" for a window updated in every
            step, None if `render` is never called.
        max_cycles: maximum number of steps of an episode; the game's horizon by default.
        flat: flatten observations to float32 vectors, for learners without image encoders: bytes become
            fractions of 255, and Discrete observations one-hot.
        settings: the game's settings, if it is named.
    Returns:
        A PettingZoo environment in which all agents act at once.
    Raises:
        ValueError: there is no such game, setting or render mode; settings come with a game already made;
            "human" finds no window; or `max_cycles` is below 1.

    >>> view = parallel_env("escape-room", render_mode="ansi")
    >>> observations, infos = view.reset(seed=0)
    >>> observations, rewards, terminations, truncations, infos = view.step({"agent_0": 0, "agent_1": 2})
    >>> rewards, terminations
    ({'agent_0': -1.0, 'agent_1': 10.0}, {'agent_0': True, 'agent_1': True})
    >>> view.render()
    'step 1: agent_0 lever -1, agent_1 door 10'
    """
    made, name = made_game(game, settings)
    return ParallelView(made, render_mode, max_cycles, name=name, flat=flat)


def raw_env(
    game: str | Game, render_mode: str | None = None, **options: Any
) -> AECEnv[str, Observation, Action]:
    """Make a game's turn-based (AEC) environment, without checks of the order of calls.

    Args:
        game: a name in the catalogue, or a game.
        render_mode: as in `parallel_env`.
        options: further arguments of `parallel_env`, and the game's settings, if it is named.
    Returns:
        A PettingZoo environment in which agents act in turn, and rewards come after the last of them.
    Raises:
        ValueError: as for `parallel_env`.

    >>> turns = raw_env("chicken")
    >>> turns.reset(seed=0)
    >>> turns.agent_selection
    'agent_0'
    """
    return parallel_to_aec_wrapper(parallel_env(game, render_mode, **options))


def env(game: str | Game, render_mode: str | None = None, **options: Any) -> AECEnv[str, Observation, Action]:
    """Make a game's turn-based (AEC) environment, with PettingZoo's checks of the order of calls.

    Args:
        game: a name in the catalogue, or a game.
        render_mode: as in `parallel_env`.
        options: further arguments of `parallel_env`, and the game's settings, if it is named.
    Returns:
        A PettingZoo environment in which agents act in turn, and rewards come after the last of them.
    Raises:
        ValueError: as for `parallel_env`.

    >>> turns = env("chicken")
    >>> turns.reset(seed=0)
    >>> for agent in turns.agent_iter(2):
    ...     turns.step(1)  # go straight
    >>> turns.rewards
    {'agent_0': -10.0, 'agent_1': -10.0}
    """
    return parallel_to_aec(parallel_env(game, render_mode, **options))


def register_pettingzoo() -> tuple[str, ...]:
    """Enter every game of the catalogue in PettingZoo's registries, as "bilevel/escape-room-v0".

    Call it again for games that are registered later. The game's settings, `render_mode` and `max_cycles` go
    to `pettingzoo.make`; see `parallel_env`.

    Returns:
        the identifiers of all games of the catalogue.
    Raises:
        ValueError: this PettingZoo has no registry.

    >>> import pettingzoo
    >>> "bilevel/chicken-v0" in register_pettingzoo()
    True
    >>> pettingzoo.make("parallel", "bilevel/escape-room-v0", agents=3, levers=2).possible_agents
    ['agent_0', 'agent_1', 'agent_2']
    """
    require(
        hasattr(pettingzoo, "parallel_registry"),
        f"PettingZoo has a registry since 1.27, and this is {pettingzoo.__version__}: pip install "
        "'pettingzoo>=1.27'.",
    )
    kinds = (
        ("parallel", pettingzoo.parallel_registry, "games.adapters:parallel_env"),
        ("aec", pettingzoo.aec_registry, "games.adapters:env"),
    )
    identifiers = {name: f"bilevel/{name}-v0" for name in names()}
    for name, identifier in identifiers.items():
        for kind, registry, entry_point in kinds:
            if identifier not in registry:
                pettingzoo.register(kind, identifier, entry_point, kwargs={"game": name})
    return tuple(identifiers.values())


def made_game(game: str | Game, settings: Mapping[str, Any]) -> tuple[Game, str | None]:
    """A game made by its name and settings, with the name; or the given game, and None."""
    if isinstance(game, str):
        return make(game, **settings), game
    require(
        not settings,
        f"Settings ({', '.join(settings)}) need a game's name; {type(game).__name__} is already made.",
    )
    return game, None


def _stacked(space: spaces.Box | spaces.Discrete, agents: int) -> spaces.Box:
    """The space of all agents' observations, concatenated."""
    if isinstance(space, spaces.Discrete):
        last = int(space.start + space.n - 1)
        return spaces.Box(int(space.start), last, (agents,), dtype=np.int64)
    low, high = (np.tile(bound.reshape(-1), agents) for bound in (space.low, space.high))
    return spaces.Box(low, high, dtype=space.dtype)
