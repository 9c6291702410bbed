"""Whether a package computes what the function does: asked twice, before it is ever used."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-3}
"""The greatest difference, over the largest entry of a leaf; a wrong graph is far beyond it. Other dtypes: 5
per cent."""


def perturbed(leaves: Sequence[Tensor]) -> list[Tensor]:
    """Other inputs of the same kind: floating entries a few per cent apart, zeros a little above; no two
    leaves alike, so that taking one for the other shows."""
    generator = torch.Generator().manual_seed(0)
    moved = []
    for leaf in leaves:
        if not leaf.is_floating_point():
            moved.append(leaf.clone())
            continue
        draw = torch.rand(leaf.shape, generator=generator, dtype=torch.float64).to(leaf)
        moved.append(torch.where(leaf == 0, 0.01 * draw, leaf * (0.95 + 0.1 * draw)))
    return moved


def difference(
    found: Callable[[Sequence[Tensor]], Sequence[Tensor]],
    expected: Callable[[Sequence[Tensor]], Sequence[Tensor]],
    inputs: Sequence[Tensor],
) -> str | None:
    """Say how the results of two functions differ on these inputs and on perturbed ones; None if they agree.

    Args:
        found: the package.
        expected: what it should compute.
        inputs: plain leaves.
    """
    for leaves in (list(inputs), perturbed(inputs)):
        results, rights = found(leaves), expected(leaves)
        if len(results) != len(rights):
            return f"{len(results)} results instead of {len(rights)}"
        # A gradient may be tiny beside the others: it is measured by the largest of them.
        scale = max((_size(right) for right in rights if right.is_floating_point()), default=0.0)
        for place, (result, right) in enumerate(zip(results, rights, strict=True)):
            if result.shape != right.shape or result.dtype != right.dtype:
                forms = (f"{leaf.dtype}{list(leaf.shape)}" for leaf in (result, right))
                return f"result {place} is {', not '.join(forms)}"
            if not right.is_floating_point():
                if not torch.equal(result, right):
                    return f"result {place} differs"
                continue
            tolerance = TOLERANCE.get(right.dtype, 0.05) * max(_size(right), 1e-6 * scale)
            if not torch.allclose(result, right, rtol=0, atol=tolerance, equal_nan=True):
                return f"result {place} is off by {float((result - right).abs().max()):.2g}"
    return None


def _size(leaf: Tensor) -> float:
    finite = leaf.detach().nan_to_num(nan=0, posinf=0, neginf=0)
    return float(finite.abs().max()) if finite.numel() else 0.0
