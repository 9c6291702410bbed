"""Whether a step is a pure function: taken twice from the same start, does it give the same result?"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from bilevel.core import Step, Tensors, Tree, leaves, split_floating

Found = TypeVar("Found")

_found: WeakKeyDictionary[Step, dict[Hashable, Any]] = WeakKeyDictionary()
"""What `once` found out of each step that is still in use."""


class ImpureStepError(ValueError):
    """A step that gives another result when it is taken again."""


def once(what: str, step: Step, inputs: Tree, find: Callable[[], Found]) -> Found:
    """Find something out about a step once for each form of its inputs, as long as the step is in use.

    Args:
        what: what is found out.
        step: the step.
        inputs: what it is called with; shapes, dtypes and devices of their tensors matter.
        find: finds it out.

    >>> def step(theta, opt_state, phi, data): ...
    >>> [once("example", step, torch.zeros(size), lambda: print("found") or size) for size in (1, 1, 2)]
    found
    found
    [1, 1, 2]
    """
    tensors = [leaf for leaf in leaves(inputs) if isinstance(leaf, Tensor)]
    form = (what, *((leaf.shape, leaf.dtype, leaf.device) for leaf in tensors))
    try:
        known = _found.setdefault(step, {})
    except TypeError:  # neither hashed nor referred to weakly: nothing is kept of it
        return find()
    if form not in known:
        known[form] = find()
    found: Found = known[form]
    return found


def require_pure(
    step: Step,
    state: tuple[Tree, Tree],
    phi: Tree,
    data: Tree,
    check: Callable[[tuple[Tree, Tree]], None] = lambda _: None,
) -> None:
    """Raise ImpureStepError unless a step, taken twice, gives the same result; looked at `once`.

    Args:
        step: the step.
        state: the (theta, opt_state) to take it from.
        phi: the outer variables.
        data: what the step uses.
        check: also looks at the result, (theta', opt_state').
    """

    def look() -> None:
        with torch.no_grad():
            first, again = (step(*state, phi, data) for _ in range(2))
        check(first)
        require_same(split_floating(first)[0], split_floating(again)[0])

    once("pure", step, (state, phi, data), look)


def require_same(first: Tensors, again: Tensors) -> None:
    """Raise ImpureStepError unless two runs of one step agree; rounding may differ (compiled, or on a GPU).

    Args:
        first: the floating leaves of one result.
        again: those of the other.
    """
    if not agree(first, again):
        raise ImpureStepError(
            "The step is not a pure function: taken twice from the same start it gave two results, so it "
            "draws, remembers or changes something in place (draw in inner_data instead)."
        )


def agree(first: Tensors, again: Tensors) -> bool:
    """Whether two results are the same but for rounding.

    >>> agree((torch.tensor([1.0, 0.0]),), (torch.tensor([1.0, 1e-6]),))
    True
    """
    return all(_close(one, other) for one, other in zip(first, again, strict=True))


def _close(first: Tensor, again: Tensor) -> bool:
    tolerance = torch.finfo(first.dtype).eps ** 0.5
    scale = float(first.nan_to_num(nan=0, posinf=0, neginf=0).abs().max())
    return torch.allclose(first, again, rtol=tolerance, atol=tolerance * scale, equal_nan=True)
