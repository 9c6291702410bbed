"""Patches of torch during a look-ahead: higher derivatives, stand-in parameters, watched hooks."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map
from torch.utils.checkpoint import CheckpointFunction, checkpoint


@contextmanager
def without_reentrance() -> Iterator[None]:
    """Run `checkpoint(..., use_reentrant=True)` as `use_reentrant=False`, with the same results.

    `torch.autograd.grad` would silently ignore the parameters of a reentrant checkpoint.
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


def use_exact_norms(exact: bool) -> None:
    """Replace torch's batch, instance and weight norm by functions with all derivatives, or restore them.

    Torch updates running statistics without a gradient, so that a validation loss in eval mode would ignore
    their dependence on the parameters of earlier steps; and its fused weight norm treats norms as constants
    in the second derivative, and lacks forward mode.
    """
    for name, (own, differentiable) in _NORMS.items():
        setattr(torch, name, differentiable if exact else own)


def _with_statistics(own: Callable[..., Tensor], *, batch: bool) -> Callable[..., Tensor]:
    """Batch or instance norm whose running statistics have gradients."""

    def norm(
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor | None,
        variance: Tensor | None,
        training: bool,
        momentum: float,
        eps: float,
        cudnn_enabled: bool,
    ) -> Tensor:
        if mean is not None and variance is not None:
            if not training:
                return _normalized(x, mean, variance, weight, bias, eps)
            _update_running(x, mean, variance, momentum, batch=batch)
        # with batch statistics the running ones are only written to, which is done
        return own(x, weight, bias, None, None, training, momentum, eps, cudnn_enabled)

    return norm


def _update_running(x: Tensor, mean: Tensor, variance: Tensor, momentum: float, *, batch: bool) -> None:
    """Update running statistics with a gradient; for instance norm, by the mean over the batch."""
    with saved_tensors_hooks(lambda t: t, lambda t: t):  # a checkpoint neither counts nor recomputes this
        now = torch.var_mean(x, [*([0] if batch else []), *range(2, x.ndim)], correction=1)
        for running, each in zip((variance, mean), now, strict=True):
            each = each if batch else each.mean(0)
            running.mul_(1 - momentum).add_(each.to(running.dtype), alpha=momentum)


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    axes = list(range(v.ndim)) if dim == -1 else [axis for axis in range(v.ndim) if axis != dim % v.ndim]
    return v * (g / v.square().sum(axes, keepdim=dim != -1).sqrt())


def _normalized(
    x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    shape = [1, -1] + [1] * (x.ndim - 2)
    # copies: what is saved for the backward pass must not be written to later
    scale = (variance.clone() + eps).rsqrt()
    out = (x - mean.clone().view(shape)) * (scale if weight is None else scale * weight).view(shape)
    return (out if bias is None else out + bias.view(shape)).to(x.dtype)


_NORMS = {
    "batch_norm": (torch.batch_norm, _with_statistics(torch.batch_norm, batch=True)),
    "instance_norm": (torch.instance_norm, _with_statistics(torch.instance_norm, batch=False)),
    "_weight_norm": (torch._weight_norm, _weight_norm),
}


class StandIn(nn.Parameter):
    """A parameter that torch functions replace by another tensor, `stands_for`.

    Modules look up parameters by name, where another tensor can be installed. A list made outside, as
    `ps = list(model.parameters())` for an L2 penalty, holds the parameter itself.
    """

    stands_for: Tensor

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        args, kwargs = tree_map(
            lambda value: value.stands_for if isinstance(value, StandIn) else value, (args, kwargs or {})
        )
        return function(*args, **kwargs)


def substitute(parameter: Tensor, other: Tensor) -> None:
    """Make a parameter stand for another tensor, until `unsubstitute`."""
    vars(parameter)["stands_for"] = other
    if not isinstance(parameter, StandIn):
        parameter.__class__ = _stand_in_type(type(parameter))


def unsubstitute(parameter: Tensor) -> None:
    """Undo `substitute`."""
    if isinstance(parameter, StandIn):
        parameter.__class__ = type(parameter).__bases__[-1]
        vars(parameter).pop("stands_for")


@functools.cache
def _stand_in_type(kind: type) -> type:
    return StandIn if kind is nn.Parameter else type(f"StandIn{kind.__name__}", (StandIn, kind), {})


_MISSING = re.compile(
    r"derivative for \S+ is not implemented"
    r"|does not (currently )?support double backward|[Dd]ouble backwards? is not supported"
    r"|marked with @once_differentiable"
    r"|forward AD|jvp function"
    r"|donated buffers"
    r"|[Bb]ackward is not reentrant"
)


def lacks_derivative(error: BaseException) -> bool:
    """True if torch raised this error because an operation has no derivative."""
    return isinstance(error, RuntimeError) and _MISSING.search(str(error)) is not None


_ONCE = once_differentiable(lambda ctx: None).__code__


def require_second_derivative(loss: Tensor) -> None:
    """Raise RuntimeError for @once_differentiable behind a loss, which torch.autograd.grad takes silently."""
    stack, visited = [loss.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        stack += [each for each, _ in node.next_functions]
        function = getattr(type(node), "_forward_cls", None)
        if function is not None and getattr(function.backward, "__code__", None) is _ONCE:
            raise RuntimeError(f"{function.__name__}.backward is marked with @once_differentiable")


@contextmanager
def composite_kernels() -> Iterator[None]:
    """Use operations that have all derivatives instead of fused ones, in this context.

    scaled_dot_product_attention uses torch's math backend, recurrent layers no cuDNN, and compiled models run
    uncompiled, with their random draws. Values are the same but for rounding.
    """
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        if "torch._dynamo" in sys.modules:  # otherwise nothing was compiled, and loading it takes seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


register_hook: Callable[..., Any] = torch.Tensor.register_hook  # Torch's own, unwatched

Report = Callable[[nn.Module | None], None]
"""Called with the module whose hook changed a gradient; None: an activation's hook."""


@contextmanager
def watching_hooks(modules: Iterable[nn.Module], report: Report) -> Iterator[None]:
    """Report backward hooks that change gradients, also after the context if they were registered inside.

    Meant for the training loss's gradient, they would also change the hypergradient in the same graph.
    """
    replaced: list[tuple[dict[int, Any], dict[int, Any]]] = []
    for module in modules:
        for hooks in (module._backward_hooks, module._backward_pre_hooks):
            if hooks:
                replaced.append((hooks, dict(hooks)))
                hooks.update({key: _watched(hook, report, module) for key, hook in hooks.items()})
    tensors: Any = torch.Tensor
    tensors.register_hook = lambda tensor, hook: register_hook(tensor, _watched(hook, report))
    try:
        yield
    finally:
        tensors.register_hook = register_hook
        for hooks, own in replaced:
            hooks.update(own)


def _watched(hook: Callable[..., Any], report: Report, module: nn.Module | None = None) -> Callable[..., Any]:
    """Report a hook that returns another gradient; a module's hook gets the input gradients first."""

    @functools.wraps(hook)
    def watched(*args: Any) -> Any:
        new_gradient = hook(*args)
        if new_gradient is not None and not _same(new_gradient, args[0] if module is None else args[1]):
            report(module)
        return new_gradient

    return watched


def _same(new: Any, old: Any) -> bool:
    if isinstance(new, tuple):
        return isinstance(old, tuple) and all(map(_same, new, old))
    if new is None or new is old:
        return True
    if torch._C._functorch.peek_interpreter_stack() is not None:  # values are not available
        return False
    return isinstance(old, Tensor) and torch.equal(new, old)
