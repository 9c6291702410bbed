"""What parallel and turn-based PettingZoo environments have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from games.foreign.contract import Copy, Description, Seen, suitable
from games.foreign.layout import lay_out, lay_out_actions, legal_actions

PICTURES = ("rgb_array", "ansi")
"""Render modes that can be drawn here."""


class PettingZooCopy(Copy):
    """One PettingZoo environment and what its agents saw last.

    Args:
        env: the environment.
        steps: how many steps of the game one cycle of the environment takes.
        waits: whether there is one more action, the last: to wait for one's turn; not in a Box.
        flat: see `lay_out`.
        channels_last: see `lay_out`.
    """

    def __init__(self, env: Any, *, steps: int, waits: bool, flat: bool, channels_last: bool) -> None:
        self.env = env
        self.name = name_of(env)
        agents = getattr(env, "possible_agents", None)
        suitable(
            bool(agents),
            f"{self.name} cannot be played here: it does not say who its agents will be (possible_agents).",
        )
        self.agents: list[Any] = list(agents or ())
        self.actions = lay_out_actions(
            {agent: env.action_space(agent) for agent in self.agents}, self.name, waits
        )
        space = self.actions[0].space
        self.width = int(space.n) if isinstance(space, spaces.Discrete) else 1
        self.views = lay_out(
            {agent: env.observation_space(agent) for agent in self.agents}, self.name, flat, channels_last
        )
        cycles = getattr(getattr(env, "unwrapped", env), "max_cycles", None)
        self._description = Description(
            name=self.name,
            agents=tuple(map(str, self.agents)),
            observation_space=self.views[0].space,
            action_space=space,
            horizon=None if cycles is None else int(cycles) * steps,
            render_modes=render_modes_of(env),
        )
        blank = np.zeros(self.views[0].space.shape or (), dtype=self.views[0].space.dtype)
        self._shown: list[NDArray[Any]] = [blank] * len(self.agents)
        self._legal = np.ones((len(self.agents), self.width), dtype=np.bool_)

    @property
    def description(self) -> Description:
        """What it is a copy of."""
        return self._description

    def picture(self) -> NDArray[np.uint8] | str:
        """What the environment draws."""
        mode = getattr(self.env, "render_mode", None)
        suitable(
            mode in PICTURES,
            f"{self.name} was made with render_mode {mode!r}, which draws nothing that can be shown here: "
            f"make it with {' or '.join(PICTURES)}.",
        )
        drawn = self.env.render()
        return drawn if isinstance(drawn, str) else np.ascontiguousarray(drawn, dtype=np.uint8)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def require_everybody(self) -> None:
        """Refuse an environment that starts without some of its agents, as they may appear later."""
        missing = [agent for agent in self.agents if agent not in self.env.agents]
        suitable(
            not missing,
            f"{self.name} cannot be played here: it starts without {', '.join(map(str, missing))}; all of an "
            "environment's agents must be there from the start.",
        )

    def require_nobody_new(self, before: set[Any]) -> None:
        """Refuse an environment in which agents appear in mid-episode."""
        appeared = [agent for agent in self.env.agents if agent not in before]
        suitable(
            not appeared,
            f"{self.name} cannot be played here: {', '.join(map(str, appeared))} appeared in mid-episode.",
        )

    def seen(
        self,
        observations: Mapping[Any, Any],
        infos: Mapping[Any, Any],
        rewards: Mapping[Any, float],
        present: set[Any],
        ended: bool,
    ) -> Seen:
        """Lay out what the environment says, by agent; who has no observation keeps the last one."""
        for i, agent in enumerate(self.agents):
            if agent not in observations:
                continue
            observation, count = observations[agent], self.actions[i].count
            self._shown[i] = self.views[i].encode(observation)
            self._legal[i] = legal_actions(observation, infos.get(agent), count, self.width)
        return Seen(
            observations=np.stack(self._shown),
            legal=self._legal.copy(),
            rewards=np.array([float(rewards.get(agent, 0.0)) for agent in self.agents]),
            present=np.array([agent in present for agent in self.agents]),
            ended=np.array(ended and not present),
        )


def name_of(env: Any) -> str:
    """What an environment calls itself, or the name of its class."""
    metadata: Mapping[str, Any] = getattr(env, "metadata", None) or {}
    return str(metadata.get("name", type(env).__name__))


def render_modes_of(env: Any) -> tuple[str, ...]:
    """How an environment can draw itself."""
    metadata: Mapping[str, Any] = getattr(env, "metadata", None) or {}
    return tuple(metadata.get("render_modes", ()))


def cut_off(agents: Sequence[Any], terminations: Mapping[Any, Any], truncations: Mapping[Any, Any]) -> bool:
    """Whether some agent was truncated without having been terminated."""
    return any(truncations.get(agent) and not terminations.get(agent) for agent in agents)


def gone(agent: Any, terminations: Mapping[Any, Any], truncations: Mapping[Any, Any]) -> bool:
    """Whether this agent's part is over."""
    return bool(terminations.get(agent) or truncations.get(agent))
