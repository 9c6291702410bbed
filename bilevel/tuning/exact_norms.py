"""Derivatives that torch leaves out: of running statistics, and second ones of weight norm."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

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
