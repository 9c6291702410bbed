"""Losses that are called several times a step must give the same values again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from bilevel.errors import require
from bilevel.hypergradient.purity import agree
from bilevel.tree import split_floating
from bilevel.tuning.draws import Draws, drawing_from
from bilevel.tuning.world import World


def require_repeatable(
    functions: Iterable[Callable[[], Any]], world: World, draws: Draws, estimator: str, name: str
) -> None:
    """Raise ValueError if losses differ when they are called again at the same parameters and draws.

    So they do where they take the next batch from an iterator, or draw by a generator of their own: an
    estimator that calls them twice a step compares losses of two batches, and half of the batches are lost.

    Args:
        functions: of no arguments.
        world: of the model; each call begins with its buffers and plain attributes as they are.
        draws: where the global random streams begin at each call.
        estimator: name, for the sentence.
        name: of the losses, for the sentence.
    """
    for function in functions:
        first, again = (_values(function, world, draws) for _ in range(2))
        same_form = [v.shape for v in first] == [v.shape for v in again]
        require(
            same_form and agree(first, again),
            f"The {name} differs when it is called again at the same parameters, and {estimator} calls it "
            "several times a step: it takes the next batch or draws by itself, so draw before the step, as "
            "in `batch = next(batches)`, and pass it in, as in `lambda: losses(batch)`.",
        )


def require_no_autocast(function: Callable[[], Any], world: World, draws: Draws) -> None:
    """Raise ValueError if losses are computed under autocast, whose digits are too few for differences."""
    with _AutocastSpy() as spy:
        _values(function, world, draws)
    require(
        spy.dtype is None,
        f"The estimator finite-difference takes differences of losses, for which {spy.dtype}, in which "
        "autocast computes them, has too few digits: use directional or unrolled, or leave autocast out.",
    )


def _values(function: Callable[[], Any], world: World, draws: Draws) -> tuple[torch.Tensor, ...]:
    attributes = world.attributes_now()
    try:
        with drawing_from(draws):
            found = world.run(function, world.trained, world.buffers_now())
    finally:
        attributes.restore()
    return tuple(value.detach() for value in split_floating(found)[0])


class _AutocastSpy(TorchFunctionMode):
    """Notes in which dtype autocast computes, if any operation is under it."""

    def __init__(self) -> None:
        super().__init__()
        self.dtype: torch.dtype | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for argument in args:
            if isinstance(argument, torch.Tensor) and torch.is_autocast_enabled(argument.device.type):
                self.dtype = torch.get_autocast_dtype(argument.device.type)
        return func(*args, **(kwargs or {}))
