"""The coin game with a learned sharing matrix, written by hand in JAX.

As `torch_coin_game`, with the whole outer step in one `jit`. Run it with

    python -m tests.benchmarks.peers.scripts.jax_coin_game --outer-steps 300 --out runs/by-hand.csv
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.benchmarks.peers.scripts.jax_outer import Array, adam_step, zero_moments
from tests.benchmarks.peers.scripts.jax_policies import Episodes, Task, logits, train
from tests.benchmarks.peers.scripts.script import arguments

SIDE = 3
CELLS = SIDE**2
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
TARGETS = np.array(
    [
        [(row + down) % SIDE * SIDE + (column + right) % SIDE for down, right in MOVES]
        for row in range(SIDE)
        for column in range(SIDE)
    ],
    dtype=np.int32,
)
"""Where each move leads from each cell: [cell, move]."""


class Copy(NamedTuple):
    """One copy of the game."""

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
    places = jnp.asarray(TARGETS)[copy.places, actions]
    takes = places == copy.coin
    stolen = owns(copy) & takes[::-1]
    taken = takes.any()
    rewards = takes.astype(jnp.float32) - 2.0 * stolen.astype(jnp.float32)
    coin = jnp.where(taken, free(places, draw), copy.coin)
    return Copy(places, coin, copy.red ^ taken), rewards


def owns(copy: Copy) -> Array:
    """Whose coin it is: boolean [agent]."""
    return jnp.stack((copy.red, ~copy.red))


def observe(copy: Copy) -> Array:
    """Each agent's planes, float32 [agent, 4 * cell]."""
    cells = jnp.arange(CELLS, dtype=jnp.int32)
    at = (copy.places[:, None] == cells).astype(jnp.float32)
    coin = (copy.coin == cells).astype(jnp.float32)
    red, blue = coin * copy.red, coin * ~copy.red
    return jnp.stack((jnp.concatenate((at[0], at[1], red, blue)), jnp.concatenate((at[1], at[0], blue, red))))


def play(theta: list[Array], sharing: Array, key: Array, episodes: int, horizon: int, keep: bool) -> Episodes:
    """Sample one seed's episodes; all of them last as long as the horizon."""
    start, key = jax.random.split(key)

    def step(copies: Copy, key: Array) -> tuple[Copy, Any]:
        observed = jax.vmap(observe, out_axes=1)(copies)
        to_act, to_lay = jax.random.split(key)
        actions = jax.random.categorical(to_act, logits(theta, observed, jax.nn.relu))
        after, rewards = jax.vmap(advance)(copies, actions.T, jax.random.uniform(to_lay, (episodes,)))
        steals = (after.places == copies.coin[:, None]) & ~jax.vmap(owns)(copies)
        alive, cooperated = jnp.ones((1, episodes)), (~steals.T).astype(jnp.float32)
        return after, (observed if keep else None, actions, rewards.T, alive, cooperated)

    copies = jax.vmap(begin)(jax.random.uniform(start, (episodes, 4)))
    _, steps = lax.scan(step, copies, jax.random.split(key, horizon))
    return Episodes(*jax.tree.map(lambda part: jnp.moveaxis(part, 0, 1), steps))


TASK = Task(
    play,
    features=4 * CELLS,
    actions=4,
    hidden=64,
    activation=jax.nn.relu,
    discount=0.96,
    begin=zero_moments,
    update=lambda theta, gradients, state: adam_step(theta, gradients, state, 0.03),
    outer_rate=0.02,
    bonus=lambda step: 0.01 * max(0.0, 1 - step / 100),
)


def main() -> None:
    """Train."""
    train(TASK, arguments("The coin game by hand, in JAX.", episodes=32, horizon=150))


if __name__ == "__main__":
    main()
