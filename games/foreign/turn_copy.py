"""A turn-based (AEC) PettingZoo environment as one copy of a game in which all but one wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gymnasium import spaces

from games.foreign.contract import Seen
from games.foreign.pettingzoo_copy import PettingZooCopy, cut_off, gone


class TurnCopy(PettingZooCopy):
    """One turn-based environment: the agent to move acts, the others wait.

    Waiting is one more Discrete action, the last. In a Box there is nothing to wait with: what the others
    choose does nothing.
    """

    def __init__(self, env: Any, *, flat: bool, channels_last: bool) -> None:
        # In a cycle everybody has a turn.
        turns = len(getattr(env, "possible_agents", ()))
        super().__init__(env, steps=turns, waits=True, flat=flat, channels_last=channels_last)

    def start(self, seed: int) -> Seen:
        """Reset the environment with this seed."""
        self.env.reset(seed=seed)
        self.require_everybody()
        return self._seen_by_turn({}, {}, ended=False)

    def play(self, actions: Sequence[Any]) -> Seen:
        """Let the agent to move act; then let those leave whose part is over."""
        env = self.env
        mover, before = env.agent_selection, list(env.agents)
        mine = self.agents.index(mover)
        env.step(self.actions[mine].decode(actions[mine]))
        self.require_nobody_new(set(before))
        # These are gone once the agents have left.
        rewards, terminations, truncations = dict(env.rewards), dict(env.terminations), dict(env.truncations)
        leaving = [agent for agent in env.agents if gone(agent, terminations, truncations)]
        last_seen = {agent: env.observe(agent) for agent in leaving}
        while env.agents and gone(env.agent_selection, env.terminations, env.truncations):
            env.step(None)  # PettingZoo's way to leave
        return self._seen_by_turn(last_seen, rewards, not cut_off(before, terminations, truncations))

    def _seen_by_turn(self, last_seen: dict[Any, Any], rewards: dict[Any, float], ended: bool) -> Seen:
        """What everybody sees, with masks by which only the agent to move can do something."""
        env = self.env
        present = {agent for agent in env.agents if not gone(agent, env.terminations, env.truncations)}
        observations = last_seen | {agent: env.observe(agent) for agent in present}
        seen = self.seen(observations, dict(env.infos), rewards, present, ended)
        if isinstance(self.actions[0].space, spaces.Box):
            return seen
        legal = seen.legal.copy()
        legal[:] = False
        legal[:, -1] = True
        if present:
            mover = self.agents.index(env.agent_selection)
            legal[mover] = seen.legal[mover]
        return seen._replace(legal=legal)
