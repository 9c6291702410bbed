"""Higher derivatives that torch leaves out, patched while a look ahead runs.

Checkpoints that differentiate twice, norms with all derivatives, kernels without fused backward passes,
parameters that stand in for other tensors, and watched backward hooks.
"""

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
    """Compute torch's batch, instance and weight norm by functions that have all derivatives, or not.

    Torch updates running statistics without a gradient, so that a validation loss in eval mode would not see
    how they move with the parameters of earlier steps; and its fused weight norm takes norms for constants in
    the second derivative, and lacks forward mode.

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
        _update_running(x, mean, variance, momentum, batch=True)
    # With batch statistics the running ones are only written to, which is done.
    return _BATCH_NORM(x, weight, bias, None, None, training, momentum, eps, cudnn_enabled)


def _instance_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Tensor:
    if mean is not None and variance is not None:
        if not use_input_stats:
            return _normalized(x, mean, variance, weight, bias, eps)
        _update_running(x, mean, variance, momentum, batch=False)
    return _INSTANCE_NORM(x, weight, bias, None, None, use_input_stats, momentum, eps, cudnn_enabled)


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
    # Copies, since what is saved for the backward pass must not be written to later.
    scale = (variance.clone() + eps).rsqrt()
    out = (x - mean.clone().view(shape)) * (scale if weight is None else scale * weight).view(shape)
    return (out if bias is None else out + bias.view(shape)).to(x.dtype)


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
        args, kwargs = tree_map(
            lambda value: value.stands_for if isinstance(value, StandIn) else value, (args, kwargs or {})
        )
        return function(*args, **kwargs)


def substitute(parameter: Tensor, other: Tensor) -> None:
    """Let a parameter stand for another tensor, until `unsubstitute`."""
    vars(parameter)["stands_for"] = other
    if not isinstance(parameter, StandIn):
        parameter.__class__ = _stand_in_type(type(parameter))


def unsubstitute(parameter: Tensor) -> None:
    """Let a parameter be itself again."""
    if isinstance(parameter, StandIn):
        parameter.__class__ = (
            type(parameter).__bases__[-1] if type(parameter) is not StandIn else nn.Parameter
        )
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
    """Whether torch raised this because it has no derivative of some operation.

    >>> lacks_derivative(RuntimeError("derivative for aten::grid_sampler_2d_backward is not implemented"))
    True
    >>> lacks_derivative(RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)"))
    False
    """
    return isinstance(error, RuntimeError) and _MISSING.search(str(error)) is not None


_ONCE = once_differentiable(lambda ctx: None).__code__


def require_second_derivative(loss: Tensor) -> None:
    """Raise RuntimeError if an autograd function behind a loss is marked with @once_differentiable.

    torch.autograd.grad in chosen inputs takes what such a function passes back for constant, without a word.
    """
    todo, done = [loss.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is None or node in done:
            continue
        done.add(node)
        todo += [each for each, _ in node.next_functions]
        function = getattr(type(node), "_forward_cls", None)
        if function is not None and getattr(function.backward, "__code__", None) is _ONCE:
            raise RuntimeError(f"{function.__name__}.backward is marked with @once_differentiable")


@contextmanager
def composite_kernels() -> Iterator[None]:
    """Compute inside by operations that have every derivative, in the place of fused ones.

    scaled_dot_product_attention uses torch's math backend, recurrent layers do without cuDNN, and whatever
    torch.compile made runs as it was written. The values are the same but for rounding; where a compiled
    model draws, as dropout does, its draws are those of the model as it was written.

    >>> with composite_kernels():
    ...     torch.backends.cuda.flash_sdp_enabled()
    False
    """
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        if "torch._dynamo" in sys.modules:  # otherwise nothing was compiled, and to load it takes seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


register_hook: Callable[..., Any] = torch.Tensor.register_hook
"""As torch has it, whatever is watched."""

Report = Callable[[nn.Module | None], None]
"""Takes the module whose hook changed a gradient; None: the hook is an activation's."""


@contextmanager
def watching_hooks(modules: Iterable[nn.Module], report: Report) -> Iterator[None]:
    """Report backward hooks that change gradients, also after the context if they were registered inside.

    A hook is there for the gradient of the training loss. But the hypergradient flows through the same graph,
    and the gradient of the validation loss through one like it, where it would be called, too. One that only
    looks does no harm; one that changes what it sees makes the hypergradient wrong.

    >>> changed = []
    >>> with watching_hooks([], changed.append):
    ...     x = torch.ones(2, requires_grad=True)
    ...     y = 2 * x
    ...     _ = y.register_hook(lambda g: g / 2)
    ...     _ = torch.autograd.grad(y.sum(), x)
    >>> changed
    [None]
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
    """The hook, reported when it returns another gradient: of a module's the first gradients are compared."""

    @functools.wraps(hook)
    def watched(*args: Any) -> Any:
        found = hook(*args)
        if found is not None and not _same(found, args[0] if module is None else args[1]):
            report(module)
        return found

    return watched


def _same(found: Any, given: Any) -> bool:
    if isinstance(found, tuple):
        return isinstance(given, tuple) and all(map(_same, found, given))
    if found is None or found is given:
        return True
    if torch._C._functorch.peek_interpreter_stack() is not None:  # values cannot be looked at
        return False
    return isinstance(given, Tensor) and torch.equal(found, given)
