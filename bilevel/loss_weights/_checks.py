"""Checks of losses, outer optimizers and settings that several trainers share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from bilevel.loss_weights._lifted import parameters_of
from games.core import require

FIRST = ("weights", "model")
"""What may move first in an outer step."""


def require_learnable(losses: Any, *, differentiated: bool = True) -> None:
    """Raise ValueError unless the model can learn from each loss.

    Args:
        losses: name -> loss, or one tensor of losses.
        differentiated: whether they are to be differentiated in the model's parameters by reverse mode; if
            not, they need only be tensors.

    >>> require_learnable({"label": 3.0})
    Traceback (most recent call last):
    ValueError: The loss 'label' does not depend on the model's parameters: it is detached, or computed under
    torch.no_grad().
    """
    for name, loss in losses.items() if isinstance(losses, Mapping) else [("training", losses)]:
        require(
            isinstance(loss, Tensor) and (loss.requires_grad or not differentiated),
            f"The loss {name!r} does not depend on the model's parameters: it is detached, or computed "
            "under torch.no_grad().",
        )


def require_functions(**losses: object) -> None:
    """Raise ValueError unless losses come as functions, and outside torch.inference_mode().

    >>> require_functions(validation_loss=torch.tensor(1.0))
    Traceback (most recent call last):
    ValueError: validation_loss must be a function of no arguments, because it is called on other parameters
    too, and this is a Tensor: wrap what computes it in `lambda:`.
    >>> with torch.inference_mode():
    ...     require_functions()
    Traceback (most recent call last):
    ValueError: A training step cannot be taken under torch.inference_mode(): call step outside it.
    """
    for name, given in losses.items():
        require(
            callable(given),
            f"{name} must be a function of no arguments, because it is called on other parameters too, and "
            f"this is a {type(given).__name__}: wrap what computes it in `lambda:`.",
        )
    require(
        not torch.is_inference_mode_enabled(),
        "A training step cannot be taken under torch.inference_mode(): call step outside it.",
    )


def require_counts(**settings: object) -> None:
    """Raise ValueError, naming the setting, unless each is a whole number from 1.

    >>> require_counts(virtual_steps=0)
    Traceback (most recent call last):
    ValueError: virtual_steps must be a whole number, 1 or more, not 0.
    """
    for name, value in settings.items():
        require(
            isinstance(value, int) and value >= 1, f"{name} must be a whole number, 1 or more, not {value}."
        )


def require_moved(outer_optimizer: torch.optim.Optimizer, learned: Iterable[Tensor], owners: str) -> None:
    """Raise ValueError unless an outer optimizer moves all learned parameters and nothing else.

    Args:
        outer_optimizer: any of torch's.
        learned: the parameters.
        owners: of the parameters, in words.

    >>> one, other = torch.zeros(2, requires_grad=True), torch.zeros(3, requires_grad=True)
    >>> require_moved(torch.optim.SGD([one, other], lr=0.1), [one], "the weights")
    Traceback (most recent call last):
    ValueError: The outer optimizer moves 2 parameters, and 1 are learned: give it those of the weights, and
    no others.
    """
    moved, own = {id(p) for p in parameters_of(outer_optimizer)}, {id(p) for p in learned}
    require(
        moved == own,
        f"The outer optimizer moves {len(moved)} parameters, and {len(own)} are learned: give it those of "
        f"{owners}, and no others.",
    )
