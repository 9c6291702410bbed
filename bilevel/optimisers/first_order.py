"""Gradient descent, plain and with momentum."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.errors import require
from bilevel.optimisers.scaling import (
    LearningRate,
    add_weight_decay,
    new_count,
    require_at_least_zero,
    require_decay,
    scale_by_learning_rate,
)
from bilevel.optimisers.torchopt_adaptor import GradientTransformation, chain
from bilevel.tree import Tree, tree_map


class Momentum(NamedTuple):
    """The state of momentum."""

    trace: Tree
    """The decayed sum of past updates, like the parameters."""
    steps: Tensor
    """Steps taken so far, int64."""


def sgd(learning_rate: LearningRate, *, weight_decay: float = 0.0) -> GradientTransformation:
    """Gradient descent: theta' = theta - learning_rate (g + weight_decay theta).

    Args:
        learning_rate: a number of at least 0, a tensor or a schedule (see `LearningRate`).
        weight_decay: strength of the L2 penalty, at least 0.

    Raises:
        ValueError: a setting is out of range.

    >>> descent = sgd(0.1)
    >>> updates, state = descent.update(torch.tensor([2.0]), descent.init(torch.tensor([5.0])))
    >>> updates
    tensor([-0.2000])
    """
    return chain(add_weight_decay(weight_decay), scale_by_learning_rate(learning_rate))


def momentum(
    learning_rate: LearningRate,
    decay: float = 0.9,
    *,
    nesterov: bool = False,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
) -> GradientTransformation:
    """Gradient descent with momentum, PyTorch's form: trace' = decay trace + (1 - dampening) g.

    The first step takes g undampened. The step goes along trace', or with `nesterov` along g + decay trace'.

    Args:
        learning_rate: a number of at least 0, a tensor or a schedule (see `LearningRate`).
        decay: what is kept of the trace in each step, in [0, 1).
        nesterov: look ahead by one step; needs a decay above 0 and no dampening.
        dampening: how much of each new gradient is left out, in [0, 1).
        weight_decay: strength of the L2 penalty, at least 0.

    Raises:
        ValueError: a setting is out of range, or `nesterov` meets dampening or no decay.

    Source:
        Sutskever et al., On the importance of initialization and momentum in deep learning, ICML 2013.

    >>> heavy = momentum(1.0, decay=0.5)
    >>> state = heavy.init(torch.tensor([0.0]))
    >>> _, state = heavy.update(torch.tensor([1.0]), state)
    >>> heavy.update(torch.tensor([1.0]), state)[0]
    tensor([-1.5000])
    """
    require_at_least_zero(weight_decay=weight_decay)
    return chain(
        add_weight_decay(weight_decay),
        accumulate(decay, nesterov=nesterov, dampening=dampening),
        scale_by_learning_rate(learning_rate),
    )


def accumulate(decay: float, *, nesterov: bool = False, dampening: float = 0.0) -> GradientTransformation:
    """Replace the updates by their decayed sum; `momentum` without the learning rate.

    Raises:
        ValueError: as for `momentum`.
    """
    require_decay(decay=decay, dampening=dampening)
    require(
        not nesterov or (decay > 0 and dampening == 0),
        f"nesterov needs a decay above 0 and no dampening, not decay {decay} and dampening {dampening}.",
    )

    def init(params: Tree) -> Momentum:
        return Momentum(tree_map(torch.zeros_like, params), new_count(params))

    def update(
        updates: Tree, state: Momentum, *, params: Tree = None, inplace: bool = True
    ) -> tuple[Tree, Momentum]:
        def keep(trace: Tensor, update: Tensor) -> Tensor:
            if dampening == 0:
                return decay * trace + update
            damped = torch.where(state.steps == 0, update, (1 - dampening) * update)
            return decay * trace + damped

        trace = tree_map(keep, state.trace, updates)
        step = tree_map(lambda update, t: update + decay * t, updates, trace) if nesterov else trace
        return step, Momentum(trace, state.steps + 1)

    return GradientTransformation(init, update)
