"""Shared parts of trainers: a step's result, history, clipping, and checks of losses and settings."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from bilevel import optimizers
from bilevel.loss_weights._lifted import parameters_of
from games.core import require

FIRST = ("weights", "model")  # the first to move in an outer step


class StepResult(NamedTuple):
    """The losses of a step.

    >>> from bilevel.loss_weights import FixedWeights, Trainer
    >>> theta = torch.tensor([1.0], requires_grad=True)
    >>> trainer = Trainer(torch.optim.SGD([theta], lr=0.1), FixedWeights({"a": 0.5}))
    >>> trainer.step(lambda: {"a": theta.square().sum()})
    StepResult(loss=tensor(0.5000), validation_loss=None)
    """

    loss: Tensor
    """The weighted training loss of the step; detached."""
    validation_loss: Tensor | None
    """The validation loss after the virtual steps, if any; None in steps between two outer ones."""


class Resumable:
    """State of the attributes named in `saved`, by their own `state_dict` if they have one."""

    saved: ClassVar[tuple[str, ...]]

    def state_dict(self) -> dict[str, Any]:
        """State to resume from; save that of the model and its optimizer, too."""
        values = ((name, getattr(self, name)) for name in self.saved)
        return {k: v.state_dict() if hasattr(v, "state_dict") else copy.deepcopy(v) for k, v in values}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a saved state."""
        for name in self.saved:
            value = state.get(name) if name == "validation_seed" else state[name]  # older states lack it
            if hasattr(now := getattr(self, name), "load_state_dict"):
                now.load_state_dict(value)
            else:
                setattr(self, name, copy.deepcopy(value))


class History(Resumable):
    """Learned values after each outer step, with its validation loss, if any.

    >>> history = History()
    >>> history.add(1, {"label": 1.0}, 0.5)
    >>> history.values["label"], history.validation_loss
    ([1.0], [0.5])
    """

    saved = ("steps", "values", "validation_loss")

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.values: dict[str, list[float]] = {}
        self.validation_loss: list[float | None] = []

    def add(self, step: int, values: Mapping[str, float], validation_loss: float | None) -> None:
        """Append one outer step."""
        self.steps.append(step)
        self.validation_loss.append(validation_loss)
        for name, value in values.items():
            self.values.setdefault(name, []).append(value)

    def write_to(self, writer: Any, prefix: str = "learned") -> None:
        """Write the last outer step to TensorBoard's SummaryWriter, or anything with its `add_scalar`.

        Raises:
            ValueError: there was no outer step yet.
        """
        require(len(self.steps) > 0, "There is nothing to write yet: no outer step was taken.")
        for name, values in self.values.items():
            writer.add_scalar(f"{prefix}/{name}", values[-1], self.steps[-1])
        if (loss := self.validation_loss[-1]) is not None:
            writer.add_scalar(f"{prefix}/validation loss", loss, self.steps[-1])


@dataclass(frozen=True)
class Clipping:
    """Clipping of each entry, then of the norm over all parameters, as in torch; limits are above 0."""

    max_norm: float | None = None
    max_value: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_norm", "max_value"):
            limit = getattr(self, name)
            require(
                limit is None or (math.isfinite(limit) and limit > 0),
                f"{name} must be a number above 0, or None, not {limit}.",
            )

    def differentiable(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Clip the gradients of a virtual step."""
        clipped: Any = list(gradients)
        if self.max_value is not None:
            clipped, _ = optimizers.clip_by_value(self.max_value).update(clipped, ())
        if self.max_norm is not None:
            clipped, _ = optimizers.clip_by_norm(self.max_norm, eps=1e-6).update(clipped, ())
        return list(clipped)

    def in_place(self, parameters: Sequence[Tensor]) -> None:
        """Clip the gradients of parameters by torch's own functions."""
        if self.max_value is not None:
            nn.utils.clip_grad_value_(parameters, self.max_value)
        if self.max_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.max_norm)


def require_learnable(losses: Any, *, differentiated: bool = True) -> None:
    """Raise ValueError unless each loss is a tensor and, if required, differentiable."""
    for name, loss in losses.items() if isinstance(losses, Mapping) else [("training", losses)]:
        require(
            isinstance(loss, Tensor) and (loss.requires_grad or not differentiated),
            f"The loss {name!r} does not depend on the model's parameters: it is detached, or computed "
            "under torch.no_grad().",
        )


def require_functions(**losses: object) -> None:
    """Raise ValueError unless losses are functions, or under torch.inference_mode()."""
    for name, function in losses.items():
        require(
            callable(function),
            f"{name} must be a function of no arguments, because it is called on other parameters too, and "
            f"this is a {type(function).__name__}: wrap what computes it in `lambda:`.",
        )
    require(
        not torch.is_inference_mode_enabled(),
        "A training step cannot be taken under torch.inference_mode(): call step outside it.",
    )


def require_counts(**settings: object) -> None:
    """Raise ValueError unless each setting is a whole number from 1."""
    for name, value in settings.items():
        require(
            isinstance(value, int) and value >= 1, f"{name} must be a whole number, 1 or more, not {value}."
        )


def require_moved(outer_optimizer: torch.optim.Optimizer, learned: Iterable[Tensor], owners: str) -> None:
    """Raise ValueError unless an outer optimizer updates all learned parameters and nothing else."""
    updated, own = {id(p) for p in parameters_of(outer_optimizer)}, {id(p) for p in learned}
    require(
        updated == own,
        f"The outer optimizer moves {len(updated)} parameters, and {len(own)} are learned: give it those of "
        f"{owners}, and no others.",
    )
