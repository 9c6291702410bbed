"""Adaptive optimizers: Adam, AdamW and RMSProp.

Where a gradient is as small as epsilon, the place of epsilon changes a hypergradient by order one. It is
PyTorch's: outside the root, after the bias correction.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.core import Tree, tree_map
from bilevel.optimizers._first_order import (
    LearningRate,
    accumulate,
    add_weight_decay,
    new_count,
    require_at_least_zero,
    require_decay,
    scale_by_learning_rate,
)
from bilevel.optimizers._transforms import GradientTransformation, chain, stateful
from games.core import require


class Moments(NamedTuple):
    """Decayed means of past gradients."""

    first: Tree
    """Mean of g, like the parameters; None where it is not needed."""
    second: Tree
    """Mean of g^2, like the parameters."""
    steps: Tensor
    """Steps taken so far, int64."""


def adam(
    learning_rate: LearningRate,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
    epsilon_root: float = 0.0,
    weight_decay: float = 0.0,
) -> GradientTransformation:
    """Adam: theta' = theta - learning_rate m / (sqrt(v + epsilon_root) + epsilon).

    m and v are the bias-corrected means of g and g^2. epsilon stands outside the root and after the bias
    correction, as in PyTorch and TorchOpt (`higher` adds it before the correction). Where v = 0 the
    derivative is the true one, 1 / epsilon, not NaN. The bias correction is exact in the parameters' dtype.
    In float32 a hypergradient through Adam keeps about two digits: use float64, or an epsilon of at least
    1e-5.

    Args:
        learning_rate: a number of at least 0, a tensor or a schedule (see `LearningRate`).
        betas: decay of the means of g and of g^2, each in [0, 1).
        epsilon: added to the root, in units of the gradient, at least 0.
        epsilon_root: added inside the root, in squared units of the gradient, at least 0. It smooths the
            hypergradient and changes the optimizer.
        weight_decay: strength of the L2 penalty, at least 0.

    Raises:
        ValueError: a setting is out of range, or both epsilons are 0.

    Source:
        Kingma and Ba, Adam: a method for stochastic optimization, arXiv 1412.6980.

    >>> optimizer = adam(0.1)
    >>> theta = torch.tensor([1.0, 1.0], dtype=torch.float64)
    >>> gradient = torch.tensor([3.0, 0.0], dtype=torch.float64)
    >>> optimizer.update(gradient, optimizer.init(theta), params=theta)[0]
    tensor([-0.1000, -0.0000], dtype=torch.float64)
    """
    return chain(
        add_weight_decay(weight_decay),
        scale_by_adam(betas, epsilon=epsilon, epsilon_root=epsilon_root),
        scale_by_learning_rate(learning_rate),
    )


def adamw(
    learning_rate: LearningRate,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
    epsilon_root: float = 0.0,
    weight_decay: float = 1e-2,
) -> GradientTransformation:
    """Adam with decoupled weight decay: the step shrinks theta by learning_rate weight_decay theta as well.

    Args:
        learning_rate, betas, epsilon, epsilon_root: as for `adam`.
        weight_decay: strength of the decay, at least 0; it is multiplied by the learning rate, as in PyTorch.

    Raises:
        ValueError: a setting is out of range, or both epsilons are 0.

    Source:
        Loshchilov and Hutter, Decoupled weight decay regularization, arXiv 1711.05101.

    >>> optimizer = adamw(0.1, weight_decay=0.5)
    >>> theta = torch.tensor([2.0])
    >>> optimizer.update(torch.tensor([0.0]), optimizer.init(theta), params=theta)[0]
    tensor([-0.1000])
    """
    return chain(
        scale_by_adam(betas, epsilon=epsilon, epsilon_root=epsilon_root),
        add_weight_decay(weight_decay),
        scale_by_learning_rate(learning_rate),
    )


def rmsprop(
    learning_rate: LearningRate,
    *,
    decay: float = 0.99,
    epsilon: float = 1e-8,
    centered: bool = False,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> GradientTransformation:
    """RMSProp: theta' = theta - learning_rate g / (sqrt(v) + epsilon), v the decayed mean of g^2.

    There is no bias correction; epsilon stands outside the root, as in PyTorch and TorchOpt.

    Args:
        learning_rate: a number of at least 0, a tensor or a schedule (see `LearningRate`).
        decay: decay of the means, in [0, 1).
        epsilon: added to the root, in units of the gradient, above 0.
        centered: divide by the standard deviation: v less the square of the mean of g.
        momentum: decay of the accumulated steps, in [0, 1); 0 is without.
        weight_decay: strength of the L2 penalty, at least 0.

    Raises:
        ValueError: a setting is out of range.

    Source:
        Tieleman and Hinton, Coursera lecture 6.5, 2012; centered: Graves, arXiv 1308.0850.

    >>> optimizer = rmsprop(0.1, decay=0.75)
    >>> optimizer.update(torch.tensor([3.0]), optimizer.init(torch.tensor([1.0])))[0]
    tensor([-0.2000])
    """
    require_decay(momentum=momentum)
    return chain(
        add_weight_decay(weight_decay),
        scale_by_rms(decay, epsilon=epsilon, centered=centered),
        *([accumulate(momentum)] if momentum else []),
        scale_by_learning_rate(learning_rate),
    )


def scale_by_adam(
    betas: tuple[float, float], *, epsilon: float, epsilon_root: float
) -> GradientTransformation:
    """`adam` without weight decay and learning rate."""
    beta_first, beta_second = betas
    require_decay(**{"betas[0]": beta_first, "betas[1]": beta_second})
    require_at_least_zero(epsilon=epsilon, epsilon_root=epsilon_root)
    require(epsilon + epsilon_root > 0, "epsilon and epsilon_root are both 0: one must be above 0.")

    def init(params: Tree) -> Moments:
        return _zero_moments(params, first=True)

    def update(updates: Tree, state: Moments, params: Tree) -> tuple[Tree, Moments]:
        count = state.steps + 1
        first = _mean(beta_first, state.first, updates)
        second = _mean_square(beta_second, state.second, updates)

        def scale(m: Tensor, v: Tensor) -> Tensor:
            m_hat = m / _one_minus_power(beta_first, count, m.dtype)
            v_hat = v / _one_minus_power(beta_second, count, v.dtype)
            return m_hat / (root(v_hat + epsilon_root) + epsilon)

        return tree_map(scale, first, second), Moments(first, second, count)

    return stateful(init, update)


def scale_by_rms(decay: float, *, epsilon: float, centered: bool) -> GradientTransformation:
    """`rmsprop` without weight decay, momentum and learning rate."""
    require_decay(decay=decay)
    require_at_least_zero(epsilon=epsilon)
    require(epsilon > 0, "epsilon must be above 0, not 0.")

    def init(params: Tree) -> Moments:
        return _zero_moments(params, first=centered)

    def update(updates: Tree, state: Moments, params: Tree) -> tuple[Tree, Moments]:
        first = None
        second = variance = _mean_square(decay, state.second, updates)
        if centered:
            first = _mean(decay, state.first, updates)
            variance = tree_map(lambda v, m: v - m * m, second, first)
        scaled = tree_map(lambda g, v: g / (root(v) + epsilon), updates, variance)
        return scaled, Moments(first, second, state.steps + 1)

    return stateful(init, update)


def root(square: Tensor) -> Tensor:
    """Square root whose derivative at 0 is 0, so that Adam's is the true one there.

    sqrt' is infinite at 0, and infinity times the zero derivative of g^2 is NaN. The inner `where` keeps 0
    out of sqrt, the outer one puts the value back. Below 0 (a variance after rounding) it is 0 as well.

    >>> root(torch.tensor([4.0, 0.0]))
    tensor([2., 0.])
    """
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)


def _zero_moments(params: Tree, *, first: bool) -> Moments:
    first_mean = tree_map(torch.zeros_like, params) if first else None
    return Moments(first_mean, tree_map(torch.zeros_like, params), new_count(params))


def _mean(decay: float, first: Tree, updates: Tree) -> Tree:
    return tree_map(lambda m, g: decay * m + (1 - decay) * g, first, updates)


def _mean_square(decay: float, second: Tree, updates: Tree) -> Tree:
    return tree_map(lambda v, g: decay * v + (1 - decay) * g * g, second, updates)


def _one_minus_power(beta: float, count: Tensor, dtype: torch.dtype) -> Tensor:
    """1 - beta^count without cancellation, in the parameters' dtype."""
    return -torch.expm1(count.to(dtype) * (math.log(beta) if beta > 0 else -math.inf))
