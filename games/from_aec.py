"""PettingZoo's turn-based (AEC) environments, in: a game in which all but one wait."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from pettingzoo.utils.env import AECEnv

from games.foreign.contract import Seen, suitable
from games.foreign.game import ForeignGame
from games.foreign.pettingzoo_copy import PettingZooCopy, cut_off, gone, name_of


class TurnCopy(PettingZooCopy):
    """One turn-based environment: who is to move acts, the others wait."""

    def __init__(self, make_env: Callable[[], Any], *, flat: bool, channels_last: bool) -> None:
        env = make_env()
        suitable(
            isinstance(env, AECEnv),
            f"In {name_of(env)} all agents act at once (it is no AEC environment): open it with "
            "from_pettingzoo.",
        )
        # In a cycle everybody has a turn.
        turns = len(getattr(env, "possible_agents", ()))
        super().__init__(env, steps=turns, waits=True, flat=flat, channels_last=channels_last)

    def start(self, seed: int) -> Seen:
        """Reset the environment with this seed."""
        self.env.reset(seed=seed)
        self.require_everybody()
        return self._seen_by_turn({}, {}, ended=False)

    def play(self, actions: Sequence[int]) -> Seen:
        """Let the agent to move act; then let those leave whose part is over."""
        env = self.env
        mover, before = env.agent_selection, list(env.agents)
        mine = self.agents.index(mover)
        env.step(self.number(mine, actions[mine]))
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
        legal = seen.legal.copy()
        legal[:] = False
        legal[:, -1] = True
        if present:
            mover = self.agents.index(env.agent_selection)
            legal[mover] = seen.legal[mover]
        return seen._replace(legal=legal)


def from_aec(
    make_env: Callable[[], Any],
    copies: int,
    workers: int = 0,
    *,
    horizon: int | None = None,
    flat: bool = False,
    channels_last: bool = True,
) -> ForeignGame:
    """Play a PettingZoo environment in which agents act in turn as a game.

    In each step all agents choose, but only the agent to move does something. The others must wait, which is
    one more action, the last: `action_mask` allows them nothing else, and it to the mover alone not. Illegal
    moves are refused rather than punished, so wrappers that punish them have nothing to do.

    An agent's reward in a step is what the environment gave it in that turn, whoever moved.

    Args:
        make_env: makes one environment, without arguments.
        copies: how many, at least 1; the batch is always all of them.
        workers: how many processes step them; 0: this one does.
        horizon: the most turns of an episode; by default the environment's `max_cycles` times its agents.
        flat: whether observations are laid out as vectors, whatever their shape.
        channels_last: whether observations with three axes are [row, column, channel].

    Raises:
        ValueError: as `from_pettingzoo`; or the environment is not turn-based.
        CopyError: the environment's own code failed (says in which copy).

    Source:
        Terry et al., PettingZoo, arXiv 2009.14471.

    >>> from games.pettingzoo_view import env
    >>> game = from_aec(lambda: env("prisoners-dilemma"), copies=1)
    >>> generator = torch.Generator().manual_seed(0)
    >>> state = game.reset(1, generator)
    >>> game.action_mask(state)[0].int()  # cooperate, defect, wait
    tensor([[1, 1, 0],
            [0, 0, 1]], dtype=torch.int32)
    >>> state, rewards, done = game.step(state, torch.tensor([[0, 2]]), generator)
    >>> state, rewards, done = game.step(state, torch.tensor([[2, 1]]), generator)
    >>> rewards, done
    (tensor([[-3., 0.]]), tensor([True]))
    """
    make_copy = functools.partial(TurnCopy, make_env, flat=flat, channels_last=channels_last)
    return ForeignGame(make_copy, copies=copies, workers=workers, horizon=horizon)
