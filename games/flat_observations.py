"""Observations as float32 vectors, for learners without image encoders."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

BYTE = 255


def flat_space(space: spaces.Box | spaces.Discrete) -> spaces.Box:
    """The space of one agent's observation as a float32 vector; see `flatten`.

    >>> flat_space(spaces.Discrete(3))
    Box(0.0, 1.0, (3,), float32)
    """
    if isinstance(space, spaces.Discrete):
        return spaces.Box(0.0, 1.0, (int(space.n),), dtype=np.float32)
    low, high = (bound.astype(np.float32).reshape(-1) / _unit(space) for bound in (space.low, space.high))
    return spaces.Box(low, high, dtype=np.float32)


def flatten(seen: np.ndarray, space: spaces.Box | spaces.Discrete) -> np.ndarray:
    """Many observations as vectors: images and planes flattened, bytes as fractions of 255, numbers one-hot.

    Args:
        seen: observations in `space`, [row, ...].
        space: of one of them.

    Returns:
        float32 [row, number], in `flat_space(space)`.

    >>> flatten(np.array([2, 0]), spaces.Discrete(3))
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    if isinstance(space, spaces.Discrete):
        one_hot = np.zeros((len(seen), int(space.n)), dtype=np.float32)
        one_hot[np.arange(len(seen)), seen - int(space.start)] = 1
        return one_hot
    vectors = seen.astype(np.float32).reshape(len(seen), -1)
    unit = _unit(space)
    return vectors if unit == 1 else vectors / unit


def _unit(space: spaces.Box) -> np.float32:
    """What numbers are divided by: 255 where they are bytes up to that, as in pictures."""
    return np.float32(BYTE if space.dtype == np.uint8 and space.high.max() == BYTE else 1)
