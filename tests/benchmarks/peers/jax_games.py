"""The coin game in JAX: `jit`, `vmap` over copies, `lax.scan` over steps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tests.benchmarks.case import Case, Run
from tests.benchmarks.peers.scripts.jax_coin_game import advance, begin, observe
from tests.benchmarks.problems import coin_game

Array = Any


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
