"""Activation checkpoints, in a form that can be differentiated twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
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
