"""Activation checkpoints, in a form that can be differentiated twice.

Derivatives that torch leaves out: of running statistics, and second ones of weight norm.

Parameters that stand for other tensors, for whoever holds them in a list of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_map
from torch.utils.checkpoint import CheckpointFunction, checkpoint


@contextmanager
def without_reentrance() -> Iterator[None]:
    """Run `checkpoint(..., use_reentrant=True)` as `use_reentrant=False` inside.

    A reentrant checkpoint has gradients by `backward()` alone: for `torch.autograd.grad` its parameters are
    no part of the graph, and it would be left out without a word. The values and gradients of the two forms
    are the same.
    """
    reentrant: Any = CheckpointFunction
    reentrant.apply = staticmethod(_not_reentrant)
    try:
        yield
    finally:
        if "apply" in vars(reentrant):
            del reentrant.apply


def _not_reentrant(function: Callable[..., Any], preserve_rng_state: bool, *args: Any) -> Any:
    if not any(isinstance(each, Tensor) and each.requires_grad for each in args):
        with torch.no_grad():  # as a reentrant one, which then warns that its gradients are None
            return function(*args)
    return checkpoint(function, *args, use_reentrant=False, preserve_rng_state=preserve_rng_state)


_BATCH_NORM, _INSTANCE_NORM, _WEIGHT_NORM = torch.batch_norm, torch.instance_norm, torch._weight_norm


def use_exact_norms(exact: bool) -> None:
    """Have torch compute batch, instance and weight norm by functions that have all derivatives, or not.

    Torch updates running statistics without a gradient, so that a validation loss in eval mode would not see
    how they move with the parameters of earlier steps; and its fused weight norm takes norms for constants in
    the second derivative, and lacks forward mode.

    Args:
        exact: whether from now on; `torch.batch_norm` and its like are what the layers call.

    >>> mean, variance = torch.zeros(1), torch.ones(1)
    >>> x = torch.tensor([[1.0], [3.0]], requires_grad=True)
    >>> use_exact_norms(True)
    >>> _ = torch.nn.functional.batch_norm(x, mean, variance, training=True)
    >>> use_exact_norms(False)
    >>> torch.autograd.grad(mean.sum(), x)[0].flatten()
    tensor([0.0500, 0.0500])
    """
    library: Any = torch
    library.batch_norm = _batch_norm if exact else _BATCH_NORM
    library.instance_norm = _instance_norm if exact else _INSTANCE_NORM
    library._weight_norm = _weight_norm if exact else _WEIGHT_NORM


def _batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Tensor:
    if running_mean is not None and running_var is not None:
        if not training:
            return _normalized(x, running_mean, running_var, weight, bias, eps)
        with saved_tensors_hooks(_itself, _itself):  # no part of what a checkpoint counts and computes anew
            variance, mean = torch.var_mean(x, [0, *range(2, x.ndim)], correction=1)
            _average(running_mean, mean, momentum)
            _average(running_var, variance, momentum)
        running_mean = running_var = None
    return _BATCH_NORM(x, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled)


def _instance_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Tensor:
    if running_mean is not None and running_var is not None:
        if not use_input_stats:
            return _normalized(x, running_mean, running_var, weight, bias, eps)
        with saved_tensors_hooks(_itself, _itself):
            variance, mean = torch.var_mean(x, [*range(2, x.ndim)], correction=1)
            _average(running_mean, mean.mean(0), momentum)
            _average(running_var, variance.mean(0), momentum)
        running_mean = running_var = None
    return _INSTANCE_NORM(
        x, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, cudnn_enabled
    )


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    axes = list(range(v.ndim)) if dim == -1 else [axis for axis in range(v.ndim) if axis != dim % v.ndim]
    return v * (g / v.square().sum(axes, keepdim=dim != -1).sqrt())


def _normalized(
    x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    shape = [1, -1] + [1] * (x.ndim - 2)
    # Copies, since what is saved for the backward pass must not be written to later.
    scale = (variance.clone() + eps).rsqrt()
    out = (x - mean.clone().view(shape)) * (scale if weight is None else scale * weight).view(shape)
    return (out if bias is None else out + bias.view(shape)).to(x.dtype)


def _itself(tensor: Tensor) -> Tensor:
    return tensor


def _average(running: Tensor, now: Tensor, momentum: float) -> None:
    running.mul_(1 - momentum).add_(now.to(running.dtype), alpha=momentum)


class StandIn(nn.Parameter):
    """A parameter every use of which is a use of another tensor, `stands_for`.

    A model looks its parameters up by name, where another tensor can be put in their place. A list made
    outside, as `ps = list(model.parameters())` for an L2 penalty, holds the parameter itself. While it has
    this class, torch hands each function that takes it to `__torch_function__`, which exchanges it.
    """

    stands_for: Tensor

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        args, kwargs = tree_map(_other, (args, kwargs or {}))
        return function(*args, **kwargs)


def begin(parameter: Tensor, other: Tensor) -> None:
    """Let a parameter stand for another tensor, until `end`."""
    vars(parameter)["stands_for"] = other
    if not isinstance(parameter, StandIn):
        parameter.__class__ = _standing_in(type(parameter))


def end(parameter: Tensor) -> None:
    """Let a parameter be itself again."""
    if isinstance(parameter, StandIn):
        parameter.__class__ = (
            type(parameter).__bases__[-1] if type(parameter) is not StandIn else nn.Parameter
        )
        vars(parameter).pop("stands_for")


def _other(value: Any) -> Any:
    return value.stands_for if isinstance(value, StandIn) else value


@functools.cache
def _standing_in(kind: type) -> type:
    return StandIn if kind is nn.Parameter else type(f"StandIn{kind.__name__}", (StandIn, kind), {})
