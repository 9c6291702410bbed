"""JAX: `jit`, `vmap` over seeds, `lax.scan` over steps, `checkpoint` around a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tests.benchmarks.case import Case, Run
from tests.benchmarks.peers import draws
from tests.benchmarks.peers.jax_problems import PROBLEMS, Array, Problem


def learn(problem: Problem, steps: int, *, checkpoint: bool, last: int | None = None) -> Callable[..., Array]:
    """Make (phi, theta, data) -> theta_K."""

    def learned(phi: Array, theta: Array, data: Any) -> Array:
        def step(carry: Any, batch: Any) -> tuple[Any, None]:
            theta, state = carry
            change, state = problem.update(problem.gradient(theta, phi, batch), state)
            return (theta + change, state), None

        body, carry = jax.checkpoint(step) if checkpoint else step, (theta, problem.init(theta))
        if last is not None and steps > last:
            carry = lax.stop_gradient(lax.scan(step, carry, None, length=steps - last)[0])
        return lax.scan(body, carry, data, length=steps if last is None else min(last, steps))[0][0]

    return learned


def run(
    case: Case,
    *,
    estimator: str = "unrolled",
    checkpoint: bool = True,
    last: int | None = None,
    **options: Any,
) -> Run:
    """Build JAX's variant."""
    problem = PROBLEMS[case.problem](case, **options)
    learned = learn(problem, case.steps, checkpoint=checkpoint, last=last)
    estimate = ESTIMATORS[estimator](problem, learned)
    extra = [draws.of_evolution(case)] if estimator == "evolution" else []
    if problem.batched:
        estimate = jax.vmap(estimate, in_axes=(0, 0, None, *[1 for _ in extra]))
    compiled, arrays = jax.jit(estimate), [jnp.asarray(array) for array in extra]
    return lambda: jax.block_until_ready(compiled(problem.phi, problem.theta, problem.data, *arrays))


def unrolled(problem: Problem, learned: Callable[..., Array]) -> Callable[..., Array]:
    """Differentiate in reverse."""
    return jax.grad(lambda phi, theta, data: problem.outer_loss(learned(phi, theta, data)))


def forward(problem: Problem, learned: Callable[..., Array]) -> Callable[..., Array]:
    """Differentiate forward."""
    return jax.jacfwd(lambda phi, theta, data: problem.outer_loss(learned(phi, theta, data)))


def implicit(problem: Problem, learned: Callable[..., Array]) -> Callable[..., Array]:
    """Solve with the whole Jacobian, which is small here."""

    def estimate(phi: Array, theta: Array, data: Any) -> Array:
        end = learned(phi, theta, data)
        jacobian = jax.jacrev(problem.gradient)(end, phi, data).reshape(end.size, end.size)
        right = jax.grad(problem.outer_loss)(end).reshape(-1)
        solution = jnp.linalg.solve(jacobian.T, right).reshape(end.shape)
        return -jax.vjp(lambda phi: problem.gradient(end, phi, data), phi)[1](solution)[0]

    return estimate


def evolution(problem: Problem, learned: Callable[..., Array]) -> Callable[..., Array]:
    """Perturb in antithetic pairs; the draws are given, [draw, *phi]."""

    def estimate(phi: Array, theta: Array, data: Any, noise: Array) -> Array:
        def loss(phi: Array) -> Array:
            return problem.outer_loss(learned(phi, theta, data))

        rise = jax.vmap(
            lambda e: (loss(phi + draws.SIGMA * e) - loss(phi - draws.SIGMA * e)) / (2 * draws.SIGMA)
        )
        return jnp.tensordot(rise(noise), noise, 1) / len(noise)

    return estimate


ESTIMATORS: dict[str, Callable[..., Callable[..., Array]]] = {
    "unrolled": unrolled,
    "truncated": unrolled,
    "forward": forward,
    "implicit": implicit,
    "evolution": evolution,
}
