"""Measures of collapse: how many experts a mixture uses, how evenly, and for which modes."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class ExpertUse(NamedTuple):
    """Use of the experts of a mixture: their number, their loads, and their relation to true modes.

    >>> expert_use(torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([0, 1])).support
    1.5
    """

    effective: float
    """Effective number of experts: exp of the entropy of the mean gates, from 1 to all."""
    support: float
    """Mean number of experts with a gate above 0."""
    max_violation: float
    """MaxVio: largest load over the mean load, minus 1; 0 if loads are equal, N - 1 if one expert has all."""
    information: float
    """Normalized mutual information of the expert with the largest gate and the mode, from 0 to 1."""


def expert_use(gates: Tensor, modes: Tensor) -> ExpertUse:
    """Measure the use of experts.

    Args:
        gates: [sample, expert], 0 or more.
        modes: true mode of each sample, integer [sample].

    Source:
        MaxVio: Wang et al., Auxiliary-loss-free load balancing, arXiv 2408.15664.

    >>> expert_use(torch.eye(4), torch.arange(4))
    ExpertUse(effective=4.0, support=1.0, max_violation=0.0, information=1.0)
    >>> expert_use(torch.eye(4)[[0, 0, 0, 0]], torch.arange(4))
    ExpertUse(effective=1.0, support=1.0, max_violation=3.0, information=0.0)
    """
    gates = gates.double()
    shares = gates.sum(0) / gates.sum()
    top = gates.argmax(-1)
    loads = torch.bincount(top, minlength=gates.shape[-1]) / len(top)
    return ExpertUse(
        effective=math.exp(_entropy(shares)),
        support=float((gates > 0).sum(-1).double().mean()),
        max_violation=float(loads.max() / loads.mean() - 1),
        information=normalized_mutual_information(top, modes),
    )


def normalized_mutual_information(first: Tensor, second: Tensor) -> float:
    """Mutual information of two labels over the mean of their entropies, from 0 to 1; 0 if both are constant.

    Args:
        first: integer labels, [sample].
        second: integer labels, [sample].

    >>> normalized_mutual_information(torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1, 0, 0]))
    1.0
    """
    joint = torch.zeros(int(first.max()) + 1, int(second.max()) + 1, dtype=torch.float64)
    joint.index_put_((first, second), torch.ones((), dtype=torch.float64), accumulate=True)
    joint /= joint.sum()
    entropies = _entropy(joint.sum(1)), _entropy(joint.sum(0))
    if sum(entropies) == 0:
        return 0.0
    return max(0.0, 2 * (sum(entropies) - _entropy(joint.flatten())) / sum(entropies))


def _entropy(shares: Tensor) -> float:
    return float(-torch.xlogy(shares, shares).sum())
