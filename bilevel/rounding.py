"""Arithmetic that rounds each member of a batch as it rounds that member alone."""

from __future__ import annotations

import os

import torch
from torch import Tensor
from torch.nn.functional import pad

from games.tracing import traced

os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
"""MKL's products then round alike wherever in memory a matrix lies; MKL reads it at its first product."""
LANES = 32
"""A multiple of how many numbers a CPU's vector instructions take at once, twice."""


def sigmoid(values: Tensor) -> Tensor:
    """The sigmoid of a batch, in which a member's values do not depend on how many members there are.

    On a CPU torch computes what is left over after the last full vector by another formula, which may round
    otherwise. So that this is nobody's place, each member is made as long as a few full vectors.

    Args:
        values: [member, ...].

    >>> sigmoid(torch.zeros(2, 3))
    tensor([[0.5000, 0.5000, 0.5000],
            [0.5000, 0.5000, 0.5000]])
    """
    count = values.shape[1:].numel() if values.dim() else 0
    missing = -count % LANES
    if not missing or not values.is_cpu or traced():  # a compiler has rules of its own
        return torch.sigmoid(values)
    whole = torch.sigmoid(pad(values.reshape(len(values), count), (0, missing)))
    return whole[:, :count].contiguous().view(values.shape)
