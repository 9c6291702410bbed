"""The problems as functions of JAX arrays."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.benchmarks.case import Case
from tests.benchmarks.problems import dilemma, policies

jax.config.update("jax_enable_x64", True)

Array = Any


class Problem(NamedTuple):
    """A problem as functions of JAX arrays."""

    theta: Array
    phi: Array
    data: Any
    """Of every step, stacked; None: there are none."""
    gradient: Callable[[Array, Array, Any], Array]
    """(theta, phi, data) -> every agent's gradient by its own parameters."""
    outer_loss: Callable[[Array], Array]
    init: Callable[[Array], Any]
    """theta -> the optimizer's state."""
    update: Callable[[Array, Any], tuple[Array, Any]]
    """(gradient, state) -> (what is added to theta, state)."""
    batched: bool
    """Whether the first axis of theta and phi counts seeds."""


def adam(
    rate: float, betas: tuple[float, float], epsilon: float
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Adam with PyTorch's epsilon: init, update."""

    def init(theta: Array) -> Any:
        return jnp.zeros_like(theta), jnp.zeros_like(theta), jnp.zeros((), theta.dtype)

    def update(gradient: Array, state: Any) -> tuple[Array, Any]:
        first, second, count = state
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        count = count + 1
        root = jnp.sqrt(second / (1 - betas[1] ** count))
        return -rate * first / (1 - betas[0] ** count) / (root + epsilon), (first, second, count)

    return init, update


def values_by_solve(theta: Array) -> Array:
    """Give one seed's values per step, [agent], of log-odds [agent, observation], by one 4 x 4 solve."""
    first, second = jax.nn.sigmoid(theta)
    second = second[np.array(dilemma.SEEN_BY_SECOND)]
    joint = jnp.stack(
        (first * second, first * (1 - second), (1 - first) * second, (1 - first) * (1 - second)), -1
    )
    shares = jnp.linalg.solve(jnp.eye(4) - dilemma.GAME.discount * joint[1:].T, joint[0])
    return (1 - dilemma.GAME.discount) * shares @ dilemma.PAYOFFS


def values_written_out(theta: Array) -> Array:
    """Give the same with one number for each entry and the solve written out, as the toolkit's game does."""
    odds, discount = jax.nn.sigmoid(theta), dilemma.GAME.discount
    pairs = [(odds[0, mine], odds[1, theirs]) for mine, theirs in enumerate(dilemma.SEEN_BY_SECOND)]
    start, *rows = ((p * q, p * (1 - q), (1 - p) * q, (1 - p) * (1 - q)) for p, q in pairs)
    system = [[float(s == t) - discount * rows[s][t] for s in range(4)] for t in range(4)]
    shares = eliminate(system, [(1 - discount) * probability for probability in start])
    return jnp.stack([sum(map(operator.mul, shares, column)) for column in dilemma.PAYOFFS.T.tolist()])


def eliminate(matrix: list[list[Array]], right: list[Array]) -> list[Array]:
    """Solve a diagonally dominant system entry by entry."""
    if not right:
        return []
    (pivot, *head), *rows = matrix
    inverse = 1 / pivot
    scales = [row[0] * inverse for row in rows]
    smaller = [
        [entry - scale * above for entry, above in zip(row[1:], head, strict=True)]
        for row, scale in zip(rows, scales, strict=True)
    ]
    rest = eliminate(smaller, [b - scale * right[0] for b, scale in zip(right[1:], scales, strict=True)])
    return [(right[0] - sum(map(operator.mul, head, rest))) * inverse, *rest]


VALUES: dict[str, Callable[[Array], Array]] = {"solve": values_by_solve, "written out": values_written_out}


def dilemma_problem(case: Case, *, values: str = "solve", damping: float = 0.0) -> Problem:
    """Build problem 1 for one seed.

    Each form of the game has the form of the agents' gradient that is fastest with it: by one evaluation and
    two pulls, or by one pull of the sum of losses on (own, others).
    """
    theta, phi = dilemma.start(case)
    value = VALUES[values]

    def losses(theta: Array, phi: Array) -> Array:
        shared = value(theta) * dilemma.GAME.effective_horizon @ jax.nn.softmax(phi, -1)
        return 0.5 * damping * (theta**2).sum(-1) - shared

    def by_two_pulls(theta: Array, phi: Array, data: None) -> Array:
        _, pull = jax.vjp(lambda theta: losses(theta, phi), theta)
        return jnp.stack([pull(row)[0][agent] for agent, row in enumerate(jnp.eye(2))])

    def by_one_pull(theta: Array, phi: Array, data: None) -> Array:
        def total(own: Array, others: Array) -> Array:
            first, second = jnp.stack((own[0], others[1])), jnp.stack((others[0], own[1]))
            return losses(first, phi)[0] + losses(second, phi)[1]

        return jax.grad(total)(theta, theta)

    return Problem(
        theta=jnp.asarray(theta),
        phi=jnp.asarray(phi),
        data=None,
        gradient=by_two_pulls if values == "solve" else by_one_pull,
        outer_loss=lambda theta: -value(theta).sum(),
        init=lambda theta: (),
        update=lambda gradient, state: (-dilemma.RATE * gradient, state),
        batched=True,
    )


def policies_problem(case: Case) -> Problem:
    """Build problem 2."""
    theta, phi, batches = policies.start(case)
    *inner, outer = [tuple(jnp.asarray(part, _dtype(part, case)) for part in batch) for batch in batches]

    def logits(theta: Array, layer: Array) -> Array:
        place = 0
        for index, (inputs, outputs) in enumerate(policies.SIZES):
            layer = jnp.tanh(layer) if index else layer
            weights = theta[:, place : place + inputs * outputs].reshape(-1, inputs, outputs)
            place += inputs * outputs
            layer = layer @ weights + theta[:, None, place : place + outputs]
            place += outputs
        return layer

    def loss(theta: Array, rewards: Array, data: Any) -> Array:
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits(theta, data[0])), data[1][..., None], -1)[
            ..., 0
        ]
        return -(chosen * rewards).mean(-1).sum()

    def gradient(theta: Array, phi: Array, data: Any) -> Array:
        return jax.grad(loss)(theta, jax.nn.softmax(phi, -1).T @ data[2], data)

    settings = policies.OPTIMIZER
    init, update = adam(settings.rate, settings.betas, settings.epsilon)
    return Problem(
        theta=jnp.asarray(theta, case.dtype),
        phi=jnp.asarray(phi, case.dtype),
        data=jax.tree.map(lambda *steps: jnp.stack(steps), *inner),
        gradient=gradient,
        outer_loss=lambda theta: loss(theta, outer[2].sum(0), outer),
        init=init,
        update=update,
        batched=False,
    )


def _dtype(part: np.ndarray, case: Case) -> str:
    return case.dtype if part.dtype.kind == "f" else str(part.dtype)


PROBLEMS: dict[str, Callable[..., Problem]] = {
    "dilemma": dilemma_problem,
    "damped dilemma": lambda case: dilemma_problem(case, damping=dilemma.DAMPING),
    "policies": policies_problem,
}
