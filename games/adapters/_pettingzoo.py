"""PettingZoo environments, parallel and turn-based, as games."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo.utils.env import AECEnv

from games.adapters._copies import Copy, CopyResult, Description, rendered, require_suitable
from games.adapters._foreign_game import ForeignGame, foreign_game
from games.adapters._layout import action_layouts, legal_actions, observation_layouts
from games.adapters._source import IMAGE_MODES, EnvironmentSource


class PettingZooCopy(Copy):
    """One PettingZoo environment, and its agents' last observations.

    A cycle takes `steps` steps of the game. `waits` adds one more Discrete action, to wait.
    """

    def __init__(self, env: Any, *, steps: int, waits: bool, **options: bool) -> None:
        self.env = env
        metadata: Mapping[str, Any] = getattr(env, "metadata", None) or {}
        self.name = str(metadata.get("name", type(env).__name__))
        agents = getattr(env, "possible_agents", None)
        require_suitable(
            bool(agents),
            f"{self.name} cannot be played here: it does not say who its agents will be (possible_agents).",
        )
        self.agents: list[Any] = list(agents or ())
        acting = {agent: env.action_space(agent) for agent in self.agents}
        observed = {agent: env.observation_space(agent) for agent in self.agents}
        self.actions = action_layouts(acting, self.name, waits)
        self.layouts = observation_layouts(observed, self.name, **options)
        space, seen = self.actions[0].space, self.layouts[0].space
        self.width = int(space.n) if isinstance(space, spaces.Discrete) else 1
        cycles = getattr(getattr(env, "unwrapped", env), "max_cycles", None)
        self.description = Description(
            name=self.name,
            agents=tuple(map(str, self.agents)),
            observation_space=seen,
            action_space=space,
            horizon=None if cycles is None else int(cycles) * steps,
            render_modes=tuple(metadata.get("render_modes", ())),
        )
        blank = np.zeros(seen.shape or (), dtype=seen.dtype)
        self._last_observations: list[NDArray[Any]] = [blank] * len(self.agents)
        self._legal = np.ones((len(self.agents), self.width), dtype=np.bool_)

    def render(self) -> NDArray[np.uint8] | str:
        mode = getattr(self.env, "render_mode", None)
        return rendered(self.env.render() if mode in IMAGE_MODES else None, self.name, mode)

    def close(self) -> None:
        self.env.close()

    def require_all_present(self) -> None:
        missing = [agent for agent in self.agents if agent not in self.env.agents]
        require_suitable(
            not missing,
            f"{self.name} cannot be played here: it starts without {', '.join(map(str, missing))}; all of an "
            "environment's agents must be there from the start.",
        )

    def require_no_new_agents(self, before: Collection[Any]) -> None:
        appeared = [agent for agent in self.env.agents if agent not in before]
        require_suitable(
            not appeared,
            f"{self.name} cannot be played here: {', '.join(map(str, appeared))} appeared in mid-episode.",
        )

    def result(
        self,
        observations: Mapping[Any, Any],
        infos: Mapping[Any, Any],
        rewards: Mapping[Any, float],
        present: set[Any],
        ended: bool,
    ) -> CopyResult:
        """Convert the environment's results; agents without an observation keep their last one."""
        for i, agent in enumerate(self.agents):
            if agent in observations:
                seen, count = observations[agent], self.actions[i].count
                self._last_observations[i] = self.layouts[i].encode(seen)
                self._legal[i] = legal_actions(seen, infos.get(agent), count, self.width)
        return CopyResult(
            observations=np.stack(self._last_observations),
            legal=self._legal.copy(),
            rewards=np.array([float(rewards.get(agent, 0.0)) for agent in self.agents]),
            present=np.array([agent in present for agent in self.agents]),
            ended=np.array(ended and not present),
        )


class TurnCopy(PettingZooCopy):
    """One turn-based (AEC) environment: the agent to move acts, the others wait."""

    def __init__(self, env: Any, **options: bool) -> None:
        turns = len(getattr(env, "possible_agents", ()))  # in a cycle every agent has a turn
        super().__init__(env, steps=turns, waits=True, **options)

    def reset(self, seed: int) -> CopyResult:
        self.env.reset(seed=seed)
        self.require_all_present()
        return self._result_of_turn({}, {}, ended=False)

    def step(self, actions: Sequence[Any]) -> CopyResult:
        """Let the agent to move act; then step the agents that are over out of the environment."""
        env = self.env
        mover, before = env.agent_selection, list(env.agents)
        index = self.agents.index(mover)
        env.step(self.actions[index].decode(actions[index]))
        self.require_no_new_agents(before)
        # The environment drops these once the agents have left.
        rewards, terminations, truncations = dict(env.rewards), dict(env.terminations), dict(env.truncations)
        leaving = [agent for agent in env.agents if _is_over(agent, terminations, truncations)]
        last_observations = {agent: env.observe(agent) for agent in leaving}
        while env.agents and _is_over(env.agent_selection, env.terminations, env.truncations):
            env.step(None)  # PettingZoo's way to leave
        ended = not _is_truncated(before, terminations, truncations)
        return self._result_of_turn(last_observations, rewards, ended)

    def _result_of_turn(self, last: dict[Any, Any], rewards: dict[Any, float], ended: bool) -> CopyResult:
        """The result, with masks by which all agents but the one to move must wait."""
        env = self.env
        present = {agent for agent in env.agents if not _is_over(agent, env.terminations, env.truncations)}
        observations = last | {agent: env.observe(agent) for agent in present}
        result = self.result(observations, dict(env.infos), rewards, present, ended)
        if isinstance(self.actions[0].space, spaces.Box):
            return result
        legal = np.zeros_like(result.legal)
        legal[:, -1] = True
        if present:
            mover = self.agents.index(env.agent_selection)
            legal[mover] = result.legal[mover]
        return result._replace(legal=legal)


class ParallelCopy(PettingZooCopy):
    """One parallel environment: all agents that are present act at once."""

    def __init__(self, env: Any, **options: bool) -> None:
        super().__init__(env, steps=1, waits=False, **options)

    def reset(self, seed: int) -> CopyResult:
        observations, infos = self.env.reset(seed=seed)
        self.require_all_present()
        return self.result(observations, infos, {}, set(self.agents), ended=False)

    def step(self, actions: Sequence[Any]) -> CopyResult:
        before = set(self.env.agents)
        chosen = {
            agent: layout.decode(action)
            for agent, layout, action in zip(self.agents, self.actions, actions, strict=True)
            if agent in before
        }
        observations, rewards, terminations, truncations, infos = self.env.step(chosen)
        self.require_no_new_agents(before)
        present = {agent for agent in self.env.agents if not _is_over(agent, terminations, truncations)}
        ended = not _is_truncated(before, terminations, truncations)
        return self.result(observations, infos, rewards, present, ended)


Ends = Mapping[Any, Any]


def _is_truncated(agents: Collection[Any], terminations: Ends, truncations: Ends) -> bool:
    """True if some agent was truncated without having been terminated."""
    return any(truncations.get(agent) and not terminations.get(agent) for agent in agents)


def _is_over(agent: Any, terminations: Ends, truncations: Ends) -> bool:
    return bool(terminations.get(agent) or truncations.get(agent))


def from_pettingzoo(
    make_env: Callable[..., Any],
    *,
    horizon: int | None = None,
    discount: float = 1.0,
    workers: int = 0,
    reuse: bool = False,
    flat: bool = False,
    channels_last: bool = True,
    **settings: Any,
) -> ForeignGame:
    """Turn a PettingZoo environment's constructor into a game, whose settings are the constructor's.

    The environment may be parallel or turn-based (AEC). A learner opens one for each parallel episode.

    Agents' spaces may differ. Observations are mapped to one space, with vectors of different lengths padded
    with zeros. Discrete actions that an agent does not have are illegal in its `action_mask`, as are those
    that the environment itself masks (in dict observations or in infos). Boxes of different bounds become
    vectors of numbers from -1 to 1, as long as the longest.

    In a turn-based environment all agents choose in each step, but only the agent to move acts. The others'
    `action_mask` allows only one more Discrete action, the last: to wait; in a Box their actions are ignored.
    Illegal moves are refused rather than punished. An agent's reward in a step is its reward from the
    environment in that turn, whichever agent moved.

    Args:
        make_env: the constructor, `parallel_env` or `env` of its module; or any function that makes one
            environment.
        horizon: maximum number of steps of an episode; by default the environment's `max_cycles` (of a
            turn-based one, times its agents).
        discount: per step, from 0 to 1.
        workers: number of processes that step the environments; 0: this process. Pays off where a step takes
            a millisecond or more.
        reuse: keep environments for the next episode rather than construct new ones, if construction is slow.
            Their `reset` must then clear everything (that of knights_archers_zombies_v11 does not).
        flat: flatten observations of any shape to vectors.
        channels_last: read observations with three axes as [row, column, channel], like PettingZoo's images,
            rather than as planes.
        settings: arguments of the constructor; others keep their defaults.
    Returns:
        A game whose settings are those of the constructor.
    Raises:
        ValueError: a number is out of range, there is no such setting, or the constructor refuses one; or the
            environment has actions or observations that cannot be laid out, starts without some of its
            agents, does not follow from its seed, or does not say how long an episode may be (says which
            environment, and why).
    Source:
        Terry et al., PettingZoo, arXiv 2009.14471.

    >>> import torch
    >>> from games.adapters import env, parallel_env
    >>> game = from_pettingzoo(parallel_env, game="escape-room")
    >>> generator = torch.Generator().manual_seed(0)
    >>> state = game.reset(3, generator)
    >>> state, rewards, done = game.step(state, torch.tensor([[0, 2]] * 3), generator)
    >>> rewards[0], done
    (tensor([-1., 10.]), tensor([True, True, True]))
    >>> game = from_pettingzoo(env, game="prisoners-dilemma")
    >>> game.action_mask(game.reset(1, generator))[0].int()  # cooperate, defect, wait
    tensor([[1, 1, 0],
            [0, 0, 1]], dtype=torch.int32)
    """
    copy_of = functools.partial(_copy_of, flat=flat, channels_last=channels_last)
    options: dict[str, Any] = {"horizon": horizon, "discount": discount, "workers": workers, "reuse": reuse}
    return foreign_game(EnvironmentSource(make_env=make_env, copy_of=copy_of, **options), settings)


def _copy_of(env: Any, **options: bool) -> Copy:
    kind = TurnCopy if isinstance(env, AECEnv) else ParallelCopy
    return kind(env, **options)
