"""The hypergradients of the JAX scripts, on data that they are given, to be compared with others'."""

from __future__ import annotations

import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.benchmarks.peers.scripts import jax_dilemma
from tests.benchmarks.peers.scripts.jax_policies import Episodes, outer_loss


def sampled(
    script: str, theta: list[np.ndarray], phi: np.ndarray, samples: list[Any], bonus: float
) -> np.ndarray:
    """The hypergradient of a sampled game's script.

    Args:
        script: its module's name.
        theta: the policies' layers, [seed, agent, ...].
        phi: [seed, giver, receiver].
        samples: the episodes of every inner step and those of the outer loss, each the fields of `Episodes`.
        bonus: the weight of the entropy.
    """
    task = importlib.import_module(f"tests.benchmarks.peers.scripts.{script}").TASK

    def of_seed(phi: Any, theta: Any, samples: Any) -> Any:
        return jax.grad(outer_loss, has_aux=True)(
            phi,
            theta,
            task.begin(theta),
            samples,
            bonus,
            play=lambda theta, sharing, sample: sample,
            task=task,
            inner_steps=len(samples) - 1,
        )[0]

    arrays = [Episodes(*map(jnp.asarray, sample)) for sample in samples]
    return np.asarray(jax.jit(jax.vmap(of_seed))(jnp.asarray(phi), list(map(jnp.asarray, theta)), arrays))


def dilemma(theta: np.ndarray, phi: np.ndarray, inner_steps: int) -> np.ndarray:
    """The hypergradient of the repeated dilemma's script."""
    estimate = jax.jit(jax_dilemma.hypergradient, static_argnums=2)
    return np.asarray(estimate(jnp.asarray(phi), jnp.asarray(theta), inner_steps)[0])
