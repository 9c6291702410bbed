"""Whether two libraries compute the same gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.benchmarks.variants import Variant


def as_array(gradient: Any) -> np.ndarray:
    """Copy a library's array into a NumPy array."""
    return np.asarray(gradient).copy()


def reference_of(variants: Sequence[Variant]) -> Variant:
    """Give the variant that the others must agree with: plain autograd, or else ours without a compiler."""
    plain = [variant for variant in variants if variant.library == "autograd"]
    return plain[0] if plain else next(variant for variant in variants if variant.name.endswith("eager"))


def relative_error(found: Any, expected: Any) -> float:
    """The greatest difference, relative to the greatest entry of what is expected; NaN is infinitely wrong.

    >>> relative_error(np.array([1.0, 4.0]), np.array([1.5, 5.0]))
    0.2
    """
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    return error if np.isfinite(error) else float("inf")
