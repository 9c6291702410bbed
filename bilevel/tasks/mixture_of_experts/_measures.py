"""Measures of a mixture: accuracy, and whether experts collapse."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.tasks.mixture_of_experts._environment import States
from bilevel.tasks.mixture_of_experts._model import Gate, MixtureModel


class Collapse(NamedTuple):
    """Use of the experts of a mixture: their number, their loads, and their relation to the modes."""

    effective: float
    """Effective number of experts: exp of the entropy of the mean gates, from 1 to all."""
    support: float
    """Mean number of experts with a gate above 0."""
    max_violation: float
    """MaxVio: largest load over the mean load, minus 1; 0 if loads are equal, N - 1 if one expert has all."""
    information: float
    """Normalized mutual information of the expert with the largest gate and the mode, from 0 to 1."""


def collapse(gates: Tensor, modes: Tensor) -> Collapse:
    """Measure the use of experts.

    Args:
        gates: [state, expert], 0 or more.
        modes: integer [state].

    Source:
        MaxVio: Wang et al., Auxiliary-loss-free load balancing, arXiv 2408.15664.

    >>> collapse(torch.eye(4), torch.arange(4))
    Collapse(effective=4.0, support=1.0, max_violation=0.0, information=1.0)
    >>> collapse(torch.eye(4)[[0, 0, 0, 0]], torch.arange(4))
    Collapse(effective=1.0, support=1.0, max_violation=3.0, information=0.0)
    """
    gates = gates.double()
    shares = gates.sum(0) / gates.sum()
    top = gates.argmax(-1)
    loads = torch.bincount(top, minlength=gates.shape[-1]) / len(top)
    return Collapse(
        effective=math.exp(_entropy(shares)),
        support=float((gates > 0).sum(-1).double().mean()),
        max_violation=float(loads.max() / loads.mean() - 1),
        information=normalized_information(top, modes),
    )


def normalized_information(left: Tensor, right: Tensor) -> float:
    """Mutual information of two labels over the mean of their entropies, from 0 to 1; 0 if both are constant.

    Args:
        left: integer [sample].
        right: integer [sample].
    """
    joint = torch.zeros(int(left.max()) + 1, int(right.max()) + 1, dtype=torch.float64)
    joint.index_put_((left, right), torch.ones((), dtype=torch.float64), accumulate=True)
    joint /= joint.sum()
    entropies = _entropy(joint.sum(1)), _entropy(joint.sum(0))
    if sum(entropies) == 0:
        return 0.0
    return max(0.0, 2 * (sum(entropies) - _entropy(joint.flatten())) / sum(entropies))


def _entropy(shares: Tensor) -> float:
    return float(-torch.xlogy(shares, shares).sum())


@torch.no_grad()
def accuracies(model: MixtureModel, gate: Gate, states: States) -> tuple[float, list[float]]:
    """Accuracy with all experts, and without each, whose gates the others share in proportion, in %."""
    routing = gate(model.scores(states.entities))

    def accuracy(gates: Tensor) -> float:
        right = model.logits(states.entities, gates).argmax(-1) == states.actions
        return 100 * float(right.double().mean())

    without = []
    for expert in range(routing.gates.shape[-1]):
        rest = routing.gates.clone()
        rest[:, expert] = 0
        total = rest.sum(-1, keepdim=True)
        uniform = torch.full_like(rest, 1 / (rest.shape[-1] - 1))
        uniform[:, expert] = 0  # a state whose only expert is missing
        without.append(accuracy(torch.where(total > 0, rest / total.clamp(min=1e-12), uniform)))
    return accuracy(routing.gates), without
