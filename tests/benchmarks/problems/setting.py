"""What a problem hands to those who solve it: as functions of tensors, or as modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tests.benchmarks.case import Case

Tree = Any


class Optimizer(NamedTuple):
    """The inner optimizer, by name; every peer builds its own."""

    name: str
    """sgd, momentum or adam."""
    rate: float
    decay: float = 0.9
    """Of momentum."""
    epsilon: float = 1e-5
    """Of Adam, outside the root and after the bias correction."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of Adam."""


class Setting(NamedTuple):
    """A problem as functions of tensors."""

    theta: Tree
    """Where inner learning starts."""
    phi: Tensor
    data: Sequence[Tree]
    """What step k sees is entry k modulo their number."""
    loss: Callable[[Tree, Tree, Tensor, Tree], Tensor]
    """(own, others, phi, data) -> [..., agent], as `bilevel.inner_step_per_agent` takes it."""
    outer_loss: Callable[[Tree, Tensor, Tree], Tensor]
    """(theta, phi, None) -> summed."""
    optimizer: Optimizer


class Modules(NamedTuple):
    """The same problem as modules, each with an optimizer of its own."""

    learners: Sequence[nn.Module]
    phi: Tensor
    losses: Callable[[Sequence[nn.Module], Tensor, int], Sequence[Tensor]]
    """(learners, phi, k) -> one loss for each learner."""
    outer_loss: Callable[[Sequence[nn.Module], Tensor], Tensor]
    """Summed."""
    optimizer: Optimizer


def tensor(array: np.ndarray, case: Case) -> Tensor:
    """Copy an array into a tensor of the case's precision; integers stay what they are."""
    made = torch.from_numpy(array.copy())
    return made.to(getattr(torch, case.dtype)) if made.is_floating_point() else made


def with_values(module: nn.Module, values: Sequence[Tensor]) -> nn.Module:
    """Set a module's parameters, in their order."""
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), values, strict=True):
            parameter.data = value.clone()
    return module
