"""Gradient descent, plain and with momentum; weight decay, learning rates, and optimizers by name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bilevel.core import Tree, leaves, tree_map
from bilevel.optimizers._transforms import GradientTransformation, chain, stateful, stateless
from games.core import Registry, require, require_name

LearningRate = float | Tensor | Callable[[Tensor], Tensor | float]
"""A number of at least 0; or a tensor, which broadcasts to every leaf and may be an outer variable;
or a schedule: a function of the steps taken so far (int64, 0 in the first step) that returns one of these."""


class ScheduleState(NamedTuple):
    """The state of a scheduled learning rate."""

    steps: Tensor
    """Steps taken so far, int64."""


def new_count(params: Tree) -> Tensor:
    """A step count of 0, on the device of the parameters."""
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

    Before an optimizer this is an L2 penalty; after its scaling it is the decoupled decay of AdamW.
    """
    require_at_least_zero(weight_decay=weight_decay)

    def decay(updates: Tree, params: Tree) -> Tree:
        if weight_decay == 0:
            return updates
        require(params is not None, "Weight decay needs the parameters: call update(..., params=params).")
        return tree_map(lambda update, leaf: update + weight_decay * leaf, updates, params)

    return stateless(decay)


def scale_by_learning_rate(learning_rate: LearningRate) -> GradientTransformation:
    """Multiply the updates by minus the learning rate: descent."""
    if not callable(learning_rate):
        rate = learning_rate
        if not isinstance(rate, Tensor):  # a check of its values would stop it from being traced or batched
            require_at_least_zero(learning_rate=rate)
        return stateless(lambda updates, params: _descend(updates, rate))
    schedule = learning_rate

    def init(params: Tree) -> ScheduleState:
        return ScheduleState(new_count(params))

    def update(updates: Tree, state: ScheduleState, params: Tree) -> tuple[Tree, ScheduleState]:
        return _descend(updates, schedule(state.steps)), ScheduleState(state.steps + 1)

    return stateful(init, update)


def at_learning_rate(
    optimizer: GradientTransformation, learning_rate: Tensor | float
) -> GradientTransformation:
    """Change the learning rate of a transformation that was built with a learning rate of 1.

    Where the rate changes from step to step, only this is built anew. States and updates are the same bits
    as those of a transformation of this package that is built with this rate, which is not checked here.

    Args:
        optimizer: built with a learning rate of 1.
        learning_rate: a number, or a tensor that broadcasts to every leaf.

    >>> from bilevel.optimizers import sgd
    >>> optimizer = at_learning_rate(sgd(1.0), torch.tensor(0.5))
    >>> optimizer.update(torch.tensor([2.0]), optimizer.init(torch.tensor([5.0])))[0]
    tensor([-1.])
    """

    def update(updates: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        updates, state = optimizer.update(updates, state, params=params, inplace=False)
        return tree_map(lambda moved: moved * _like(learning_rate, moved), updates), state

    return stateful(optimizer.init, update)


def _descend(updates: Tree, rate: Tensor | float) -> Tree:
    return tree_map(lambda update: update * -_like(rate, update), updates)


def _like(rate: Tensor | float, update: Tensor) -> Tensor | float:
    """The rate in the dtype of the update: a float64 one must not turn float32 parameters into float64."""
    return rate.to(update.dtype) if isinstance(rate, Tensor) else rate


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
        decay: the factor of the trace in each step, in [0, 1).
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
    """Replace the updates by their decayed sum; `momentum` without the learning rate."""
    require_decay(decay=decay, dampening=dampening)
    require(
        not nesterov or (decay > 0 and dampening == 0),
        f"nesterov needs a decay above 0 and no dampening, not decay {decay} and dampening {dampening}.",
    )

    def init(params: Tree) -> Momentum:
        return Momentum(tree_map(torch.zeros_like, params), new_count(params))

    def update(updates: Tree, state: Momentum, params: Tree) -> tuple[Tree, Momentum]:
        def keep(trace: Tensor, update: Tensor) -> Tensor:
            if dampening == 0:
                return decay * trace + update
            damped = torch.where(state.steps == 0, update, (1 - dampening) * update)
            return decay * trace + damped

        trace = tree_map(keep, state.trace, updates)
        step = tree_map(lambda update, t: update + decay * t, updates, trace) if nesterov else trace
        return step, Momentum(trace, state.steps + 1)

    return stateful(init, update)


class Optimistic(NamedTuple):
    """The state of `optimistic`."""

    last: Tree
    """The gradient of the last step, like the parameters."""
    steps: Tensor
    """Steps taken so far, int64."""


def optimistic(learning_rate: LearningRate, *, weight_decay: float = 0.0) -> GradientTransformation:
    """Optimistic gradient descent: theta' = theta - learning_rate (2 g_t - g_{t-1}); the first step is plain.

    Its last iterate converges in bilinear games, where gradient descent diverges, at learning rates up to
    1 / sqrt(3) of the inverse curvature.

    Args:
        learning_rate: a number of at least 0, a tensor or a schedule (see `LearningRate`).
        weight_decay: strength of the L2 penalty, at least 0.

    Raises:
        ValueError: a setting is out of range.

    Source:
        Popov, A modification of the Arrow-Hurwicz method for search of saddle points, 1980; Daskalakis et
        al., Training GANs with optimism, arXiv 1711.00141.

    >>> descent = optimistic(0.1)
    >>> _, state = descent.update(torch.tensor([1.0]), descent.init(torch.tensor([5.0])))
    >>> descent.update(torch.tensor([2.0]), state)[0]
    tensor([-0.3000])
    """

    def init(params: Tree) -> Optimistic:
        return Optimistic(tree_map(torch.zeros_like, params), new_count(params))

    def update(updates: Tree, state: Optimistic, params: Tree) -> tuple[Tree, Optimistic]:
        def ahead(now: Tensor, last: Tensor) -> Tensor:
            return now + torch.where(state.steps == 0, 0.0, now - last)

        return tree_map(ahead, updates, state.last), Optimistic(updates, state.steps + 1)

    return chain(
        add_weight_decay(weight_decay), stateful(init, update), scale_by_learning_rate(learning_rate)
    )


OPTIMIZERS: Registry[Callable[..., GradientTransformation]] = Registry(
    "optimizer",
    {
        "sgd": sgd,
        "momentum": momentum,
        "optimistic": optimistic,
        "adam": "bilevel.optimizers:adam",
        "adamw": "bilevel.optimizers:adamw",
        "rmsprop": "bilevel.optimizers:rmsprop",
    },
)
"""Name -> optimizer, as `make_optimizer` builds it."""


def make_optimizer(name: str, **settings: Any) -> GradientTransformation:
    """Build an optimizer by its name.

    Args:
        name: a key of `OPTIMIZERS`.
        settings: arguments of the optimizer, `learning_rate` among them.

    Raises:
        ValueError: the name, or a setting's name, is unknown (names the nearest), or a setting is out of
            range.

    >>> optimizer = make_optimizer("momentum", learning_rate=0.1, nesterov=True)
    >>> optimizer.update(torch.tensor([1.0]), optimizer.init(torch.tensor([5.0])))[0]
    tensor([-0.1900])
    >>> make_optimizer("adam", lr=0.1)
    Traceback (most recent call last):
    ValueError: There is no setting of adam 'lr'. Known: learning_rate, betas, epsilon, ...
    """
    make = OPTIMIZERS.find(name)
    known = inspect.signature(make).parameters
    for setting in settings:
        require_name(setting, known, f"setting of {name}")
    return make(**settings)
