"""Clipping of gradients, in virtual steps and in the model's own, alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from games.core import require


@dataclass(frozen=True)
class Clipping:
    """First each entry, then the norm over all parameters, as torch's own clipping does.

    Raises:
        ValueError: a limit is not a number above 0.

    >>> Clipping(max_norm=1.0).differentiable([torch.tensor([3.0, 4.0]), None])
    [tensor([0.6000, 0.8000]), None]
    """

    max_norm: float | None = None
    """The greatest norm; None: any."""
    max_value: float | None = None
    """The greatest absolute value of an entry; None: any."""

    def __post_init__(self) -> None:
        for name in ("max_norm", "max_value"):
            limit = getattr(self, name)
            require(
                limit is None or (math.isfinite(limit) and limit > 0),
                f"{name} must be a number above 0, or None, not {limit}.",
            )

    def differentiable(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Clip by functions that can be differentiated; the derivative goes through the norm."""
        found = list(gradients)
        if self.max_value is not None:
            limit = self.max_value
            found = [None if g is None else g.clamp(-limit, limit) for g in found]
        if self.max_norm is not None:
            squares = torch.stack([g.square().sum() for g in found if g is not None]).sum()
            # The root of 0 has no derivative, and no gradient of norm 0 is scaled.
            norm = squares.clamp(min=torch.finfo(squares.dtype).tiny).sqrt()
            scale = (self.max_norm / (norm + 1e-6)).clamp(max=1)
            found = [None if g is None else g * scale for g in found]
        return found

    def in_place(self, parameters: Sequence[Tensor]) -> None:
        """Clip the gradients of parameters by torch's own functions."""
        if self.max_value is not None:
            nn.utils.clip_grad_value_(parameters, self.max_value)
        if self.max_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.max_norm)
