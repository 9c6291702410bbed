"""What the sampled games' scripts share in JAX: perceptrons, the policy gradient, and the loop.

Functions are those of one seed, [agent, time, episode, ...], under `vmap` over seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.benchmarks.peers.scripts.jax_outer import Array, adam_step, zero_moments
from tests.benchmarks.peers.scripts.script import Table, evaluation_path


class Episodes(NamedTuple):
    """One seed's episodes; after an episode's end everything but the actions is 0."""

    observations: Array
    """[agent, time, episode, feature]; None: not kept."""
    actions: Array
    """Integer [agent, time, episode]."""
    rewards: Array
    """Before sharing, [agent, time, episode]."""
    alive: Array
    """[1, time, episode]."""
    cooperated: Array
    """[agent, time, episode]."""


class Task(NamedTuple):
    """A game, and how it is learned."""

    play: Callable[..., Episodes]
    """(theta, sharing, key, episodes, horizon, keep) -> episodes; keep: whether observations are."""
    features: int
    actions: int
    hidden: int
    activation: Callable[[Array], Array]
    discount: float
    begin: Callable[[Any], Any]
    """Parameters -> the inner optimizer's state."""
    update: Callable[[Any, Any, Any], tuple[Any, Any]]
    """(parameters, gradients, state) -> (parameters, state) of the inner optimizer."""
    outer_rate: float
    bonus: Callable[[int], float]
    """Outer step -> the weight of the entropy."""


def initial(task: Task, seeds: int, key: Array) -> list[Array]:
    """Normal weights, the last layer's small, and zero biases: [seed, agent, ...]."""
    first, last = jax.random.split(key)
    shape = task.features, task.hidden, task.actions
    return [
        jax.random.normal(first, (seeds, 2, *shape[:2])) / shape[0] ** 0.5,
        jnp.zeros((seeds, 2, 1, task.hidden)),
        0.1 * jax.random.normal(last, (seeds, 2, *shape[1:])) / shape[1] ** 0.5,
        jnp.zeros((seeds, 2, 1, task.actions)),
    ]


def logits(theta: list[Array], observations: Array, activation: Callable[[Array], Array]) -> Array:
    """Run every agent's network: [agent, sample, feature] -> [agent, sample, action]."""
    first, first_bias, last, last_bias = theta
    return activation(observations @ first + first_bias) @ last + last_bias


def log_policy(theta: list[Array], sample: Episodes, task: Task) -> tuple[Array, Array]:
    """Log-probabilities of what was done, and entropies: [agent, time, episode], 0 after the end."""
    agents, times, episodes, features = sample.observations.shape
    flat = sample.observations.reshape(agents, times * episodes, features)
    every = jax.nn.log_softmax(logits(theta, flat, task.activation)).reshape(agents, times, episodes, -1)
    taken = jnp.take_along_axis(every, sample.actions[..., None], -1)[..., 0]
    return taken * sample.alive, -(jnp.exp(every) * every).sum(-1) * sample.alive


def advantages(rewards: Array, alive: Array, discount: float) -> Array:
    """Discounted returns to go less the other episodes' mean, times discount^t."""
    weights = discount ** jnp.arange(rewards.shape[1])[:, None]
    returns = jnp.cumsum((weights * rewards)[:, ::-1], 1)[:, ::-1]
    kept = returns * alive
    others = (kept.sum(-1, keepdims=True) - kept) / jnp.maximum(alive.sum(-1, keepdims=True) - alive, 1)
    return (returns - others) * alive


def outer_loss(
    phi: Array,
    theta: list[Array],
    state: Any,
    plays: Any,
    bonus: Array,
    *,
    play: Callable[[list[Array], Array, Any], Episodes],
    task: Task,
    inner_steps: int,
) -> tuple[Array, Any]:
    """A loss whose gradient is that of minus the welfare; the policies, the optimizer and the sample then.

    Args:
        phi: logits of the sharing matrix, [giver, receiver].
        theta: the policies.
        state: the inner optimizer's.
        plays: what `play` is told in each of the inner steps and at the end: a list.
        bonus: the weight of the entropy.
        play: (theta, sharing, one of `plays`) -> episodes.
        task: the game, and how it is learned.
        inner_steps: K.
    """
    sharing = jax.nn.softmax(phi, -1)

    def inner_loss(theta: list[Array], sample: Episodes) -> Array:
        logs, entropies = log_policy(theta, sample, task)
        gains = advantages(jnp.tensordot(sharing.T, sample.rewards, 1), sample.alive, task.discount)
        return -(logs * gains + bonus * entropies).sum(1).mean(-1).sum()

    for k in range(inner_steps):
        sample = play(lax.stop_gradient(theta), lax.stop_gradient(sharing), plays[k])
        theta, state = task.update(theta, jax.grad(inner_loss)(theta, sample), state)
    sample = play(lax.stop_gradient(theta), lax.stop_gradient(sharing), plays[inner_steps])
    logs, _ = log_policy(theta, sample, task)
    gains = advantages(sample.rewards.sum(0, keepdims=True), sample.alive, task.discount)
    return -(logs * gains).sum(1).mean(-1).sum(), (theta, state, sample)


def measure(sample: Episodes, phi: Array) -> dict[str, Array]:
    """One seed's metrics of one outer step."""
    values, sharing = sample.rewards.sum(1).mean(-1), jax.nn.softmax(phi, -1)
    cooperation = (sample.cooperated * sample.alive).sum((1, 2)) / sample.alive.sum((1, 2))
    return {
        "welfare": values.sum(),
        "return_0": values[0],
        "return_1": values[1],
        "cooperation": cooperation.mean(),
        "given_away": 1 - sharing.diagonal().mean(),
        **{f"share_{i}_{j}": sharing[i, j] for i in range(2) for j in range(2)},
    }


def train(task: Task, args: argparse.Namespace) -> None:
    """Train, and evaluate the final policies on fresh episodes."""

    def play(theta: list[Array], sharing: Array, key: Array) -> Episodes:
        return task.play(theta, sharing, key, args.episodes, args.horizon, True)

    loss = partial(outer_loss, play=play, task=task, inner_steps=args.inner_steps)

    @jax.jit
    def outer_step(phi: Array, theta: Any, state: Any, moments: Any, key: Array, bonus: Array) -> Any:
        def of_seed(phi: Array, theta: Any, state: Any, key: Array) -> Any:
            keys = list(jax.random.split(key, args.inner_steps + 1))
            gradient, (theta, state, sample) = jax.grad(loss, has_aux=True)(phi, theta, state, keys, bonus)
            return gradient, theta, state, measure(sample, phi)

        key, *_ = keys = jax.random.split(key, args.seeds + 1)
        gradient, theta, state, found = jax.vmap(of_seed)(phi, theta, state, keys[1:])
        moved, moments = adam_step(phi, gradient, moments, task.outer_rate)
        return moved, theta, state, moments, key, found

    first, key = jax.random.split(jax.random.key(args.seed))
    theta = initial(task, args.seeds, first)
    state = jax.vmap(task.begin)(theta)
    phi = jnp.zeros((args.seeds, 2, 2))
    moments = zero_moments(phi)
    table = Table(args.out)
    for step in range(args.outer_steps):
        phi, theta, state, moments, key, found = outer_step(phi, theta, state, moments, key, task.bonus(step))
        table.add(step, {name: np.asarray(value).tolist() for name, value in found.items()})
    table.close()

    @jax.jit
    def evaluate(phi: Array, theta: Any, key: Array) -> Any:
        def of_seed(phi: Array, theta: Any, key: Array) -> Any:
            sharing = jax.nn.softmax(phi, -1)
            return measure(task.play(theta, sharing, key, args.evaluation_episodes, args.horizon, False), phi)

        return jax.vmap(of_seed)(phi, theta, jax.random.split(key, args.seeds))

    found = evaluate(phi, theta, key)
    final = Table(evaluation_path(args.out))
    final.add(args.outer_steps, {name: np.asarray(value).tolist() for name, value in found.items()})
    final.close()
