"""What a training with learned weights costs, so that others may be given as much."""

from __future__ import annotations

from collections.abc import Callable

from bilevel.errors import require, require_name
from bilevel.tuning.checks import FIRST

LOOK_AHEAD: dict[str, Callable[[int], int]] = {
    "unrolled": lambda steps: 3 * steps + 1,
    "directional": lambda steps: 3,
    "finite-difference": lambda steps: 4,
    "implicit": lambda steps: 10,
}
"""Estimator -> gradients that one look ahead over so many virtual steps takes. A gradient of a loss counts 1,
that of the validation loss too; a gradient that is differentiated again 2 more; a pass in forward mode, or a
call of the losses, 1. Of implicit, with its three terms."""


def gradient_evaluations(
    steps: int,
    estimator: str = "unrolled",
    *,
    virtual_steps: int = 1,
    first: str = "weights",
    every: int = 1,
) -> int:
    """How many gradients a training takes whose weights are learned, about.

    Args:
        steps: of the model, 1 or more; each takes a gradient of its own.
        estimator: as of `LossWeightTuner`; one of `LOOK_AHEAD`.
        virtual_steps: as of `LossWeightTuner`.
        first: as of `LossWeightTuner`; a model that moves first needs no other gradient for its own step.
        every: as of `LossWeightTuner`.

    Returns:
        gradients of one batch's weighted loss.

    Raises:
        ValueError: a number is below 1, the estimator is not counted, or nothing moves first by that name.

    >>> gradient_evaluations(100), gradient_evaluations(100, "implicit", every=10)
    (500, 200)
    """
    for name, value in (("steps", steps), ("virtual_steps", virtual_steps), ("every", every)):
        require(value >= 1, f"{name} must be 1 or more, not {value}.")
    require_name(estimator, LOOK_AHEAD, "counted estimator")
    require_name(first, FIRST, "value of first,")
    return steps + -(-steps // every) * (LOOK_AHEAD[estimator](virtual_steps) - (first == "model"))
