"""PettingZoo's parallel environments, in: what others wrote, as a game of this toolkit."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from pettingzoo.utils.env import AECEnv

from games.foreign.contract import Seen, suitable
from games.foreign.game import ForeignGame
from games.foreign.pettingzoo_copy import PettingZooCopy, cut_off, gone, name_of


class ParallelCopy(PettingZooCopy):
    """One parallel environment: all agents that are there act at once."""

    def __init__(self, make_env: Callable[[], Any], *, flat: bool, channels_last: bool) -> None:
        env = make_env()
        suitable(
            not isinstance(env, AECEnv),
            f"In {name_of(env)} agents act in turn (PettingZoo's AEC): open it with from_aec, or make its "
            "parallel_env.",
        )
        super().__init__(env, steps=1, waits=False, flat=flat, channels_last=channels_last)

    def start(self, seed: int) -> Seen:
        """Reset the environment with this seed."""
        observations, infos = self.env.reset(seed=seed)
        self.require_everybody()
        return self.seen(observations, infos, {}, set(self.agents), ended=False)

    def play(self, actions: Sequence[int]) -> Seen:
        """Let everybody who is there act."""
        before = set(self.env.agents)
        chosen = {agent: self.number(i, actions[i]) for i, agent in enumerate(self.agents) if agent in before}
        observations, rewards, terminations, truncations, infos = self.env.step(chosen)
        self.require_nobody_new(before)
        present = {agent for agent in self.env.agents if not gone(agent, terminations, truncations)}
        ended = not cut_off(list(before), terminations, truncations)
        return self.seen(observations, infos, rewards, present, ended)


def from_pettingzoo(
    make_env: Callable[[], Any],
    copies: int,
    workers: int = 0,
    *,
    horizon: int | None = None,
    flat: bool = False,
    channels_last: bool = True,
) -> ForeignGame:
    """Play a PettingZoo parallel environment with discrete actions as a game.

    Agents may differ: who has fewer actions than another is refused the missing ones, and the game's
    `action_mask` says so, as it does where the environment itself gives masks (in dict observations or in
    infos). Observations are brought to one space, see `games.foreign.layout.lay_out`. See `ForeignGame` for
    what such a game can and cannot do.

    Args:
        make_env: makes one environment, without arguments; a function, a lambda or a partial.
        copies: how many, at least 1; the batch is always all of them, so for a learner it is the number of
            seeds times that of episodes.
        workers: how many processes step them; 0: this one does. Worth it where a step takes a millisecond or
            more.
        horizon: the most steps of an episode; by default the environment's `max_cycles`.
        flat: whether observations are laid out as vectors, whatever their shape.
        channels_last: whether observations with three axes are [row, column, channel], as PettingZoo's images
            are, rather than planes already.

    Raises:
        ValueError: a number is out of range; or the environment has actions that are not Discrete, cannot be
            laid out, acts in turn, or starts without some of its agents (says which environment, and why).
        CopyError: the environment's own code failed (says in which copy).

    Source:
        Terry et al., PettingZoo, arXiv 2009.14471.

    >>> from games.pettingzoo_view import parallel_env
    >>> game = from_pettingzoo(lambda: parallel_env("escape-room"), copies=3)
    >>> generator = torch.Generator().manual_seed(0)
    >>> state = game.reset(3, generator)
    >>> state, rewards, done = game.step(state, torch.tensor([[0, 2]] * 3), generator)
    >>> rewards[0], done
    (tensor([-1., 10.]), tensor([True, True, True]))
    """
    make_copy = functools.partial(ParallelCopy, make_env, flat=flat, channels_last=channels_last)
    return ForeignGame(make_copy, copies=copies, workers=workers, horizon=horizon)
