"""The data and the losses that scenarios share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bilevel.loss_weights import LossWeights
from tests.bilevel.loss_weights.scenarios import Loop


def adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of scenarios that are not about optimizers."""
    return torch.optim.Adam(parameters, lr=0.05, eps=1e-3)


def two_weights() -> LossWeights:
    """Weights of the losses of `loop_of`."""
    return LossWeights(["square", "cosh"], {"square": 0.7, "cosh": 1.3}).double()  # type: ignore[return-value]


def loop_of(
    model: nn.Module,
    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer] = adam,
    call: Callable[[Tensor], Tensor] | None = None,
    **changed: Any,
) -> Loop:
    """A regression from 3 inputs to 2 outputs with two smooth losses, on batches of 6.

    Args:
        model: [6, 3] -> [6, 2].
        make: gives the optimizer of its parameters.
        call: how the losses call the model; None: as it is.
        changed: fields of `Loop`, in the place of the usual ones.
    """
    model, call = model.double(), call or model
    inputs = [torch.randn(6, 3).double() for _ in range(5)]
    true = torch.randn(3, 2).double()
    pairs = [(x, x @ true + 0.3 * torch.randn(6, 2).double()) for x in inputs]

    def losses(index: int) -> dict[str, Tensor]:
        x, y = pairs[index % 4]
        out = call(x)
        return {
            "square": (out - y).square().mean(),
            "cosh": (out - y.roll(1, 0)).cosh().log().mean(),
        }

    def validation() -> Tensor:
        x, y = pairs[4]
        return (call(x) - y).square().mean()

    usual: dict[str, Any] = {
        "model": model,
        "optimizer": make(list(model.parameters())),
        "losses": losses,
        "validation": validation,
        "weights": two_weights(),
    }
    return Loop(**{**usual, **changed})
