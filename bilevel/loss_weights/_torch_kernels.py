"""Kernels that torch has fewer derivatives of than of what they compute, and how to do without them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.attention import SDPBackend, sdpa_kernel

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
