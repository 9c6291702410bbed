"""Constant tensors, made once and kept, and whether a compiler records the operations under way."""

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
Made = TypeVar("Made")


def constant(values: ArrayLike, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Make a tensor that is safe to cache, whatever is going on around the call.

    A tensor made inside `torch.func.grad`, under a tracing mode or in inference mode belongs to that context
    and breaks later calls when it outlives it. All of these are settings of one thread, so the tensor is made
    in a thread of its own.

    >>> constant([[1, 2]], torch.float64, torch.device("cpu"))
    tensor([[1., 2.]], dtype=torch.float64)
    """
    array = np.asarray(values)  # torch would read Python's numbers as float32
    return in_fresh_thread(lambda: torch.as_tensor(array).to(dtype=dtype, device=device, copy=True))


def in_fresh_thread(make: Callable[[], Made]) -> Made:
    """Call a function as if nothing went on around it: in a thread of its own.

    >>> in_fresh_thread(lambda: 1)
    1
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(make).result()


def cached_constants(make: Callable[[*Arguments], Made]) -> Callable[[*Arguments], Made]:
    """Let a function that returns constants make each of them only once.

    Its arguments must be hashable and are given by position. `torch.compile` takes what it returns as a
    constant, as long as the cache is hidden from it: `torch.compiler.assume_constant_result` sets the same
    attribute, but loads the compiler, which takes longer than loading all the games.

    >>> cached_constants(lambda number: [number])(1)
    [1]
    """
    cached: Callable[..., Made] = functools.lru_cache(maxsize=1024)(make)

    def look_up(*arguments: *Arguments) -> Made:
        return cached(*arguments)

    look_up._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return look_up


TRACER = "torch.fx.experimental.proxy_tensor"


def traced() -> bool:
    """Whether a compiler records the operations under way: `torch.compile`, `torch.export` or `make_fx`.

    Where the tracer's module is not loaded nothing is traced by it, and this does not load it.

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
    """left @ right for a right matrix that all members share, each member's product computed by itself.

    torch.matmul takes one large product for some batches and many small ones for others, which round
    differently; here there are always many small ones, so that a member of a batch equals that member alone.
    Left is [..., row, column], or vectors [..., column]; right is [column, result].

    >>> product(torch.ones(3, 2), torch.tensor([[1.0], [2.0]])).flatten()
    tensor([3., 3., 3.])
    """
    if left.dim() == 1:
        return left @ right
    rows = left if left.dim() > 2 else left.unsqueeze(-2)
    found = rows @ right.expand(*rows.shape[:-2], *right.shape)
    return found if left.dim() > 2 else found.squeeze(-2)
