"""Gymnasium's environments, alone or in vectors, as games of this toolkit with one agent."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
from gymnasium.vector import VectorEnv

from games.errors import require
from games.foreign.constructors import Parameters, parameters_of
from games.foreign.game import ForeignGame, foreign_game
from games.foreign.gymnasium_copy import GymnasiumCopy, OneOfVector, VectorCopies
from games.foreign.pools import Pool
from games.foreign.source import Source

NUM_ENVS = "num_envs"
"""How constructors of vectors are told how many environments to hold."""

DECIDED = (NUM_ENVS, "disable_env_checker", "vectorization_mode", "vector_kwargs", "wrappers")
"""What constructors take that is no setting of a game."""


@dataclass(frozen=True)
class VectorSource(Source):
    """A constructor of vectors: a pool is one vector of as many environments as there are copies."""

    make_vector: Callable[..., VectorEnv] = gymnasium.make_vec
    """Takes `num_envs`."""
    flat: bool = False
    channels_last: bool = True

    def pool(self, settings: Mapping[str, Any], copies: int) -> Pool:
        """Open a vector of so many environments."""
        make = functools.partial(self.make_vector, **self.told(settings), num_envs=copies)
        again = None if self.reuse else make
        return VectorCopies(make(), again, flat=self.flat, channels_last=self.channels_last)


def from_gymnasium(
    make_env: str | Callable[..., Any],
    *,
    horizon: int | None = None,
    discount: float = 1.0,
    workers: int = 0,
    reuse: bool = False,
    flat: bool = False,
    channels_last: bool = True,
    **settings: Any,
) -> ForeignGame:
    """Turn a Gymnasium environment's constructor into a game of one agent.

    The constructor's settings are the game's. As many environments are open as a learner plays episodes at
    once: one by one, or, where the constructor makes a vector (`gymnasium.vector.VectorEnv`), as one vector
    of so many, whose automatic resets are not seen. Each copy has a seed of its own, so vectors that draw for
    all copies from one seed are refused.

    Args:
        make_env: an id for `gymnasium.make`; a class, or a function, that makes one environment; or one that
            takes `num_envs` and makes a vector, as `functools.partial(gymnasium.make_vec, "CartPole-v1")`.
        horizon: the most steps of an episode; by default the `max_episode_steps` of its spec.
        discount: per step, from 0 to 1.
        workers: how many processes step single environments; 0: this one does.
        reuse: see `from_pettingzoo`.
        flat: whether observations are laid out as vectors, whatever their shape.
        channels_last: whether observations with three axes are [row, column, channel] rather than planes.
        settings: of the constructor, with other values than its own.

    Raises:
        ValueError: as `from_pettingzoo`; or a vector is to have worker processes of ours.

    Source:
        Towers et al., Gymnasium, arXiv 2407.17032.

    >>> import torch
    >>> game = from_gymnasium("FrozenLake-v1", is_slippery=False)
    >>> state = game.reset(2, torch.Generator().manual_seed(0))
    >>> game.is_slippery, game.observation_space, game.observe(state).tolist()
    (False, Discrete(16), [[0], [0]])
    """
    how: dict[str, Any] = {"flat": flat, "channels_last": channels_last}
    options: dict[str, Any] = {"horizon": horizon, "discount": discount, "workers": workers, "reuse": reuse}
    name = make_env if isinstance(make_env, str) else None
    make: Callable[..., Any] = make_env if callable(make_env) else functools.partial(gymnasium.make, make_env)
    if NUM_ENVS not in parameters_of(make).defaults:
        copy_of = functools.partial(GymnasiumCopy, **how)
        source = Source(make_env=make, copy_of=copy_of, parameters=_parameters, **options)
        return foreign_game(source, settings, name)
    require(workers == 0, "A vector steps its environments by itself: leave workers at 0.")
    source = VectorSource(
        make_env=functools.partial(make, num_envs=1),
        copy_of=functools.partial(OneOfVector, **how),
        parameters=_parameters,
        make_vector=make,
        **how,
        **options,
    )
    return foreign_game(source, settings, name)


def _parameters(make: Callable[..., Any], env: Any) -> Parameters:
    """What a constructor takes, but for what is decided here."""
    (single, *_) = getattr(env, "envs", None) or (env,)  # of a vector, one that it holds
    known = parameters_of(make, single)
    kept = {name: default for name, default in known.defaults.items() if name not in DECIDED}
    return known._replace(defaults=kept)
