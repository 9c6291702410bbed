"""Adam over any nest of JAX arrays."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

Array = Any


def zero_moments(values: Any) -> Any:
    """Adam's first state."""
    zeros = jax.tree.map(jnp.zeros_like, values)
    return zeros, zeros, jnp.zeros(())


def adam_step(values: Any, gradients: Any, state: Any, rate: float) -> tuple[Any, Any]:
    """One step of Adam with PyTorch's epsilon; v = 0 is kept off the root, whose derivative is infinite."""
    firsts, seconds, count = state
    count = count + 1
    firsts = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, firsts, gradients)
    seconds = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, seconds, gradients)
    step, scale = rate / (1 - 0.9**count), (1 - 0.999**count) ** -0.5
    moved = jax.tree.map(
        lambda value, m, v: value - step * m / (jnp.sqrt(jnp.maximum(v, 1e-30)) * scale + 1e-8),
        values,
        firsts,
        seconds,
    )
    return moved, (firsts, seconds, count)
