"""What every optimiser begins and ends with: weight decay, the learning rate and its schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.errors import require
from bilevel.optimisers.torchopt_adaptor import GradientTransformation, stateless
from bilevel.tree import Tree, leaves, tree_map

LearningRate = float | Tensor | Callable[[Tensor], Tensor | float]
"""A number of at least 0; or a tensor, which must broadcast to every leaf and may itself be learned above;
or a schedule: a function of the count of steps taken so far (int64, 0 in the first step) that gives one of
these."""


class Schedule(NamedTuple):
    """The state of a learning rate that changes with time."""

    steps: Tensor
    """Steps taken so far, int64."""


def new_count(params: Tree) -> Tensor:
    """Start counting steps, on the device of the parameters."""
    return torch.zeros((), dtype=torch.int64, device=leaves(params)[0].device)


def require_at_least_zero(**settings: float) -> None:
    """Raise ValueError, naming the setting, unless each is a finite number of at least 0."""
    for name, value in settings.items():
        require(
            math.isfinite(value) and value >= 0, f"{name} must be a finite number of at least 0, not {value}."
        )


def require_decay(**settings: float) -> None:
    """Raise ValueError, naming the setting, unless each lies in [0, 1)."""
    for name, value in settings.items():
        require(0 <= value < 1, f"{name} must be at least 0 and below 1, not {value}.")


def add_weight_decay(weight_decay: float) -> GradientTransformation:
    """Add `weight_decay` times the parameters to the updates.

    Before an optimiser this is an L2 penalty; after its scaling it is the decoupled decay of AdamW.

    Args:
        weight_decay: at least 0.

    Raises:
        ValueError: the setting is out of range; or, in `update`, `params` is missing.
    """
    require_at_least_zero(weight_decay=weight_decay)

    def decay(updates: Tree, params: Tree) -> Tree:
        if weight_decay == 0:
            return updates
        require(params is not None, "Weight decay needs the parameters: call update(..., params=params).")
        return tree_map(lambda update, leaf: update + weight_decay * leaf, updates, params)

    return stateless(decay)


def scale_by_learning_rate(learning_rate: LearningRate) -> GradientTransformation:
    """Multiply the updates by minus the learning rate: descent.

    Args:
        learning_rate: see `LearningRate`; a tensor's values are not checked, since a check would stop it from
            being traced or batched.

    Raises:
        ValueError: a number is negative or not finite.
    """
    if not callable(learning_rate):
        rate = learning_rate
        if not isinstance(rate, Tensor):
            require_at_least_zero(learning_rate=rate)
        return stateless(lambda updates, params: _descend(updates, rate))
    schedule = learning_rate

    def init(params: Tree) -> Schedule:
        return Schedule(new_count(params))

    def update(
        updates: Tree, state: Schedule, *, params: Tree = None, inplace: bool = True
    ) -> tuple[Tree, Schedule]:
        return _descend(updates, schedule(state.steps)), Schedule(state.steps + 1)

    return GradientTransformation(init, update)


def at_learning_rate(
    optimiser: GradientTransformation, learning_rate: Tensor | float
) -> GradientTransformation:
    """Give a transformation that was made with a learning rate of 1 another one, for a single update.

    The transformation is made, and its settings are checked, once; where the rate changes from step to step
    this is all that is made anew. Both have the same states, and the updates are the same bits as those of a
    transformation made with this rate.

    Args:
        optimiser: one of this package, made with `learning_rate=1.0`.
        learning_rate: a number or a tensor; it is not checked.

    >>> from bilevel.optimisers.first_order import sgd
    >>> optimiser = at_learning_rate(sgd(1.0), torch.tensor(0.5))
    >>> optimiser.update(torch.tensor([2.0]), optimiser.init(torch.tensor([5.0])))[0]
    tensor([-1.])
    """

    def update(updates: Tree, state: Tree, *, params: Tree = None, inplace: bool = True) -> tuple[Tree, Tree]:
        updates, state = optimiser.update(updates, state, params=params, inplace=False)
        return tree_map(lambda moved: moved * _like(learning_rate, moved), updates), state

    return GradientTransformation(optimiser.init, update)


def _descend(updates: Tree, rate: Tensor | float) -> Tree:
    return tree_map(lambda update: update * -_like(rate, update), updates)


def _like(rate: Tensor | float, update: Tensor) -> Tensor | float:
    """The rate, as it may multiply: a float64 one must not turn float32 parameters into float64 ones."""
    return rate.to(update.dtype) if isinstance(rate, Tensor) else rate
