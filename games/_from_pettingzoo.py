"""PettingZoo's environments, parallel and turn-based, as games of this toolkit."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from pettingzoo.utils.env import AECEnv

from games.foreign.contract import Copy, Seen
from games.foreign.game import ForeignGame, foreign_game
from games.foreign.pettingzoo_copy import PettingZooCopy, cut_off, gone
from games.foreign.source import Source
from games.foreign.turn_copy import TurnCopy


class ParallelCopy(PettingZooCopy):
    """One parallel environment: all agents that are there act at once."""

    def __init__(self, env: Any, *, flat: bool, channels_last: bool) -> None:
        super().__init__(env, steps=1, waits=False, flat=flat, channels_last=channels_last)

    def start(self, seed: int) -> Seen:
        """Reset the environment with this seed."""
        observations, infos = self.env.reset(seed=seed)
        self.require_everybody()
        return self.seen(observations, infos, {}, set(self.agents), ended=False)

    def play(self, actions: Sequence[Any]) -> Seen:
        """Let everybody who is there act."""
        before = set(self.env.agents)
        chosen = {
            agent: self.actions[i].decode(actions[i])
            for i, agent in enumerate(self.agents)
            if agent in before
        }
        observations, rewards, terminations, truncations, infos = self.env.step(chosen)
        self.require_nobody_new(before)
        present = {agent for agent in self.env.agents if not gone(agent, terminations, truncations)}
        ended = not cut_off(list(before), terminations, truncations)
        return self.seen(observations, infos, rewards, present, ended)


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

    The environment may be parallel or turn-based (AEC). As many are open as a learner plays episodes at once.

    Agents may differ. Observations are brought to one space, vectors of different lengths being filled up
    with zeros (`games.foreign.layout.lay_out`). Discrete actions that an agent does not have are illegal in
    its `action_mask`, as are those which the environment itself masks (in dict observations or in infos).
    Boxes are brought to one vector (`lay_out_actions`).

    In a turn-based environment all agents choose in each step, but only the agent to move does something. The
    others must wait, which is one more Discrete action, the last; `action_mask` allows them nothing else, and
    it to the mover alone not. Illegal moves are refused rather than punished. In a Box there is nothing to
    wait with, and what the others choose does nothing. An agent's reward in a step is what the environment
    gave it in that turn, whoever moved.

    Args:
        make_env: the constructor, `parallel_env` or `env` of its module; or any function that makes one
            environment.
        horizon: the most steps of an episode; by default the environment's `max_cycles` (of a turn-based one,
            times its agents).
        discount: per step, from 0 to 1.
        workers: how many processes step the environments; 0: this one does. Worth it where a step takes a
            millisecond or more.
        reuse: whether environments are used again for the next episode, rather than constructed anew: for
            those which take long to construct. Their `reset` must then clear everything (that of
            knights_archers_zombies_v11, for one, does not).
        flat: whether observations are laid out as vectors, whatever their shape.
        channels_last: whether observations with three axes are [row, column, channel], as PettingZoo's images
            are, rather than planes already.
        settings: of the constructor, with other values than its own.

    Raises:
        ValueError: a number is out of range, there is no such setting, or the constructor refuses one; or the
            environment has actions or observations that cannot be laid out, starts without some of its
            agents, does not follow from its seed, or does not say how long an episode may be (says which
            environment, and why).

    Source:
        Terry et al., PettingZoo, arXiv 2009.14471.

    >>> import torch
    >>> from games.pettingzoo_view import env, parallel_env
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
    source = Source(
        make_env=make_env,
        copy_of=functools.partial(_copy_of, flat=flat, channels_last=channels_last),
        workers=workers,
        reuse=reuse,
        horizon=horizon,
        discount=discount,
    )
    return foreign_game(source, settings)


def _copy_of(env: Any, *, flat: bool, channels_last: bool) -> Copy:
    kind = TurnCopy if isinstance(env, AECEnv) else ParallelCopy
    return kind(env, flat=flat, channels_last=channels_last)
