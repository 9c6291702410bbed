"""Cached constant tensors, and detection of a compiler that traces the current operations."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


def constant(values: ArrayLike, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Make a tensor that is safe to cache, from numbers, whatever context surrounds the call.

    A tensor made inside `torch.func.grad`, under a tracing mode or in inference mode belongs to that context
    and breaks later calls when it outlives it. All of these are settings of one thread, so the tensor is made
    in a thread of its own.

    Args:
        values: numbers, nested or as an array.
        dtype: dtype of the tensor.
        device: device of the tensor.
    Returns:
        A tensor of the numbers.

    >>> constant([[1, 2]], torch.float64, torch.device("cpu"))
    tensor([[1., 2.]], dtype=torch.float64)
    """
    array = np.asarray(values)  # torch would read Python's numbers as float32
    return in_fresh_thread(lambda: torch.as_tensor(array).to(dtype=dtype, device=device, copy=True))


def in_fresh_thread(make: Callable[[], Result]) -> Result:
    """Call a function outside all torch.func transforms and modes of the caller: in a thread of its own.

    Args:
        make: a function without arguments.
    Returns:
        Its result.

    >>> with torch.inference_mode():
    ...     inside, outside = torch.zeros(1), in_fresh_thread(lambda: torch.zeros(1))
    >>> inside.is_inference(), outside.is_inference()
    (True, False)
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(make).result()


def cached_constants(make: Callable[[*Arguments], Result]) -> Callable[[*Arguments], Result]:
    """Decorate a function that returns constants: each is made once.

    `torch.compile` takes its result as a constant, as long as the cache is hidden from it:
    `torch.compiler.assume_constant_result` sets the same attribute, but loads the compiler, which takes
    longer than loading all the games.

    Args:
        make: function of hashable, positional arguments.
    Returns:
        The function with a cache of 1024 results.

    >>> cached = cached_constants(lambda number: [number])
    >>> cached(1), cached(1) is cached(1)
    ([1], True)
    """
    cached: Callable[..., Result] = functools.lru_cache(maxsize=1024)(make)

    def look_up(*arguments: *Arguments) -> Result:
        return cached(*arguments)

    look_up._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return look_up


TRACER = "torch.fx.experimental.proxy_tensor"


def traced() -> bool:
    """Test for a compiler: True while `torch.compile`, `torch.export` or `make_fx` traces the operations.

    A tracer whose module is not loaded cannot be tracing; it is not loaded to find out.

    >>> from torch.fx.experimental.proxy_tensor import make_fx
    >>> seen = []
    >>> _ = make_fx(lambda x: seen.append(traced()) or x)(torch.zeros(1))
    >>> traced(), seen
    (False, [True])
    """
    if torch.compiler.is_compiling():
        return True
    tracer = sys.modules.get(TRACER)
    return tracer is not None and tracer.get_proxy_mode() is not None


def product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply by a matrix shared by all members of a batch, with a separate product for each member.

    torch.matmul computes one large product for some batches and many small ones for others, which round
    differently. Here there are always many small ones, so that results do not depend on the size of the
    batch.

    Args:
        left: [..., row, column], or vectors [..., column].
        right: [column, result].
    Returns:
        Products, [..., row, result], or [..., result] of vectors.

    >>> product(torch.ones(3, 2), torch.tensor([[1.0], [2.0]])).flatten()
    tensor([3., 3., 3.])
    """
    if left.dim() == 1:
        return left @ right
    rows = left if left.dim() > 2 else left.unsqueeze(-2)
    products = rows @ right.expand(*rows.shape[:-2], *right.shape)
    return products if left.dim() > 2 else products.squeeze(-2)
