"""Escape Room for two with a learned sharing matrix, written by hand in JAX.

As `torch_escape_room`, with the whole outer step in one `jit`. Run it with

    python -m tests.benchmarks.peers.scripts.jax_escape_room --outer-steps 300 --out runs/by-hand.csv
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tests.benchmarks.peers.scripts.jax_outer import Array
from tests.benchmarks.peers.scripts.jax_policies import Episodes, Task, logits, train
from tests.benchmarks.peers.scripts.script import arguments

LEVER, START, DOOR = range(3)


def play(theta: list[Array], sharing: Array, key: Array, episodes: int, horizon: int, keep: bool) -> Episodes:
    """Sample one seed's episodes."""
    to_other = jnp.stack((sharing[0, 1], sharing[1, 0]))[:, None, None]

    def step(carry: Any, key: Array) -> tuple[Any, Any]:
        places, given, alive = carry
        at = jax.nn.one_hot(places, 3)
        observed = jnp.concatenate((at, at[::-1], given), -1) * alive[..., None]
        actions = jax.random.categorical(key, logits(theta, observed, jnp.tanh))
        pulled = (actions == LEVER).any(0, keepdims=True)
        escapes = pulled & (actions == DOOR)
        rewards = jnp.where(escapes, 10.0, -(actions != places).astype(alive.dtype)) * alive
        given = given + to_other * rewards[..., None]
        carry = actions, given, alive * ~escapes.any(0, keepdims=True)
        cooperated = (actions == LEVER).astype(alive.dtype)
        return carry, (observed if keep else None, actions, rewards, alive, cooperated)

    begin = jnp.full((2, episodes), START), jnp.zeros((2, episodes, 1)), jnp.ones((1, episodes))
    _, steps = lax.scan(step, begin, jax.random.split(key, horizon))
    return Episodes(*jax.tree.map(lambda part: jnp.moveaxis(part, 0, 1), steps))


TASK = Task(
    play,
    features=7,
    actions=3,
    hidden=32,
    activation=jnp.tanh,
    discount=1.0,
    begin=lambda theta: (),
    update=lambda theta, gradients, state: (
        jax.tree.map(lambda value, gradient: value - 0.3 * gradient, theta, gradients),
        state,
    ),
    outer_rate=0.1,
    bonus=lambda step: 0.3 * max(0.0, 1 - step / 200),
)


def main() -> None:
    """Train."""
    train(TASK, arguments("Escape Room by hand, in JAX.", episodes=64, horizon=5))


if __name__ == "__main__":
    main()
