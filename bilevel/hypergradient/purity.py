"""Whether a step is a pure function: taken twice from the same start, does it give the same result?"""

from __future__ import annotations

import torch
from torch import Tensor

from bilevel.step import Step
from bilevel.tree import Tensors, Tree, split_floating


class ImpureStepError(ValueError):
    """A step that gives another result when it is taken again."""


def require_pure(step: Step, state: tuple[Tree, Tree], phi: Tree, data: Tree) -> None:
    """Raise ImpureStepError unless a step, taken twice, gives the same result.

    Args:
        step: the step.
        state: the (theta, opt_state) to take it from.
        phi: the outer variables.
        data: what the step sees.
    """
    with torch.no_grad():
        first, again = (split_floating(step(*state, phi, data))[0] for _ in range(2))
    require_same(first, again)


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
