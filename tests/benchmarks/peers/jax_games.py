"""The coin game in JAX: `jit`, `vmap` over copies, `lax.scan` over steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tests.benchmarks.case import Case, Run
from tests.benchmarks.problems import coin_game
from tests.benchmarks.problems.coin_game import CELLS

Array = Any


class Copy(NamedTuple):
    """One copy."""

    places: Array
    """int32 [agent]."""
    coin: Array
    """int32."""
    red: Array
    """Whether the coin is red."""


def free(places: Array, draw: Array) -> Array:
    """A cell that holds no agent, by its rank among those."""
    low, high = jnp.minimum(*places), jnp.maximum(*places)
    two = high > low
    cell = (draw * jnp.where(two, CELLS - 2, CELLS - 1).astype(jnp.float32)).astype(jnp.int32)
    cell = cell + (cell >= low)
    return (cell + ((cell >= high) & two)).astype(jnp.int32)


def begin(draws: Array) -> Copy:
    """Start one copy."""
    red = (draws[0] * jnp.float32(CELLS)).astype(jnp.int32)
    blue = (draws[1] * jnp.float32(CELLS - 1)).astype(jnp.int32)
    places = jnp.stack((red, blue + (blue >= red)))
    return Copy(places, free(places, draws[3]), draws[2] < 0.5)


def advance(copy: Copy, actions: Array, draw: Array) -> tuple[Copy, Array]:
    """Play one step; gives the rewards, float32 [agent]."""
    places = jnp.asarray(coin_game.targets(), dtype=jnp.int32)[copy.places, actions]
    takes = places == copy.coin
    owner = jnp.stack((copy.red, ~copy.red))
    stolen = owner & takes[::-1]
    taken = takes.any()
    rewards = takes.astype(jnp.float32) - 2.0 * stolen.astype(jnp.float32)
    coin = jnp.where(taken, free(places, draw), copy.coin)
    return Copy(places, coin, copy.red ^ taken), rewards


def observe(copy: Copy) -> Array:
    """Each agent's planes, float32 [agent, 4 * cell]."""
    cells = jnp.arange(CELLS, dtype=jnp.int32)
    at = (copy.places[:, None] == cells).astype(jnp.float32)
    coin = (copy.coin == cells).astype(jnp.float32)
    red, blue = coin * copy.red, coin * ~copy.red
    return jnp.stack((jnp.concatenate((at[0], at[1], red, blue)), jnp.concatenate((at[1], at[0], blue, red))))


def coin(case: Case) -> Run:
    """Build it."""
    given = coin_game.given(case)
    weights = jnp.asarray(coin_game.WEIGHTS)

    def play(start: Array, draws: Array, actions: Array) -> Array:
        def step(carry: Any, drawn: Any) -> tuple[Any, None]:
            copy, total, digest = carry
            copy, rewards = advance(copy, *drawn)
            return (copy, total + rewards, digest + observe(copy) @ weights), None

        nothing = jnp.zeros(2, dtype=jnp.float32)
        (_, total, digest), _ = lax.scan(step, (begin(start), nothing, nothing), (actions, draws))
        return jnp.stack((total, digest), -1)

    compiled = jax.jit(jax.vmap(play, in_axes=(0, 1, 1)))
    arrays = (
        jnp.asarray(given.start),
        jnp.asarray(given.draws[..., 0]),
        jnp.asarray(given.actions, dtype=jnp.int32),
    )
    return lambda: jax.block_until_ready(compiled(*arrays))
