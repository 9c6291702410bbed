"""The repeated prisoner's dilemma with a learned sharing matrix, written by hand in JAX.

As `torch_dilemma`, with the whole outer step in one `jit`. Run it with

    python -m tests.benchmarks.peers.scripts.jax_dilemma --outer-steps 300 --out runs/by-hand.csv
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.benchmarks.peers.scripts.jax_outer import Array, adam_step, zero_moments
from tests.benchmarks.peers.scripts.script import Table, arguments, evaluation_path

jax.config.update("jax_enable_x64", True)

DISCOUNT = 0.96
INNER_RATE, OUTER_RATE = 1.0, 0.1
PAYOFFS = np.array([[-1.0, -1.0], [-3.0, 0.0], [0.0, -3.0], [-2.0, -2.0]])
"""[joint action, agent]; CC, CD, DC, DD."""
SEEN_BY_SECOND = np.array([0, 1, 3, 2, 4])


def occupancy(theta: Array) -> Array:
    """Discounted share of each joint action, [4], of one seed's log-odds of cooperation [agent, 5]."""
    first, second = jax.nn.sigmoid(theta)
    second = second[SEEN_BY_SECOND]
    joint = jnp.stack(
        (first * second, first * (1 - second), (1 - first) * second, (1 - first) * (1 - second)), -1
    )
    return (1 - DISCOUNT) * jnp.linalg.solve(jnp.eye(4) - DISCOUNT * joint[1:].T, joint[0])


def inner_step(theta: Array, sharing: Array) -> Array:
    """One step of every agent on its own shared return."""

    def shared(theta: Array) -> Array:
        return occupancy(theta) @ PAYOFFS @ sharing / (1 - DISCOUNT)

    own = jax.jacrev(shared)(theta)
    return theta + INNER_RATE * own[np.arange(2), np.arange(2)]


def outer_loss(phi: Array, theta: Array, inner_steps: int) -> tuple[Array, tuple[Array, Array]]:
    """Minus the welfare after the inner steps; the policies then, and the shares of joint actions."""
    sharing = jax.nn.softmax(phi, -1)
    theta, _ = lax.scan(lambda theta, _: (inner_step(theta, sharing), None), theta, length=inner_steps)
    shares = occupancy(theta)
    return -(shares @ PAYOFFS).sum(), (theta, shares)


def measure(shares: Array, phi: Array) -> dict[str, Array]:
    """The metrics of one outer step, of all seeds."""
    values, sharing = shares @ PAYOFFS, jax.nn.softmax(phi, -1)
    return {
        "welfare": values.sum(-1),
        "return_0": values[:, 0],
        "return_1": values[:, 1],
        "cooperation": shares[:, 0] + (shares[:, 1] + shares[:, 2]) / 2,
        "given_away": 1 - (sharing[:, 0, 0] + sharing[:, 1, 1]) / 2,
        **{f"share_{i}_{j}": sharing[:, i, j] for i in range(2) for j in range(2)},
    }


def hypergradient(phi: Array, theta: Array, inner_steps: int) -> tuple[Array, Array, Array]:
    """d(minus welfare after the inner steps) / d(phi) of all seeds, the policies then, and their shares."""

    def of_seed(phi: Array, theta: Array) -> Any:
        return jax.grad(outer_loss, has_aux=True)(phi, theta, inner_steps)

    gradient, (theta, shares) = jax.vmap(of_seed)(phi, theta)
    return gradient, theta, shares


def main() -> None:
    """Train."""
    args = arguments("The repeated prisoner's dilemma by hand, in JAX.")

    @jax.jit
    def outer_step(phi: Array, theta: Array, moments: Any) -> Any:
        gradient, theta, shares = hypergradient(phi, theta, args.inner_steps)
        moved, moments = adam_step(phi, gradient, moments, OUTER_RATE)
        return moved, theta, moments, measure(shares, phi)

    theta = jax.random.normal(jax.random.key(args.seed), (args.seeds, 2, 5))
    phi = jnp.zeros((args.seeds, 2, 2))
    moments = zero_moments(phi)
    table = Table(args.out)
    for step in range(args.outer_steps):
        phi, theta, moments, found = outer_step(phi, theta, moments)
        table.add(step, {name: np.asarray(value).tolist() for name, value in found.items()})
    table.close()
    final = Table(evaluation_path(args.out))
    found = jax.jit(lambda phi, theta: measure(jax.vmap(occupancy)(theta), phi))(phi, theta)
    final.add(args.outer_steps, {name: np.asarray(value).tolist() for name, value in found.items()})
    final.close()


if __name__ == "__main__":
    main()
