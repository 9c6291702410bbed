"""Training loops as users write them, one function each; every module of this package is loaded."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bilevel.loss_weights import HyperParameter


@dataclass
class Loop:
    """A user's training loop: everything in float64 on the CPU, and the same at each call of its scenario."""

    model: nn.Module | list[nn.Module]
    optimizer: torch.optim.Optimizer
    losses: Callable[[int], Any]
    """Number of the batch -> its training losses, of the model as it is."""
    validation: Callable[[], Tensor]
    weights: nn.Module
    also: Sequence[nn.Module] = ()
    learning_rate: HyperParameter | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    """Further settings of the tuner: max_norm, max_value, accumulate."""
    change: Callable[[], None] = lambda: None
    """What the user does to the model or the optimizer once the tuner has been built."""
    symmetric: bool = True
    """Whether the step's gradient is that of a loss, so that its derivative is symmetric: hooks change it."""

    def learned(self) -> list[nn.Parameter]:
        """The outer parameters."""
        rate = [] if self.learning_rate is None else [self.learning_rate]
        return [p for module in (self.weights, *self.also, *rate) for p in module.parameters()]


SCENARIOS: dict[str, Callable[[], Loop]] = {}
"""Name, as the table has it -> builder."""


def scenario(name: str) -> Callable[[Callable[[], Loop]], Callable[[], Loop]]:
    """Register a builder; torch's, NumPy's and Python's random streams are seeded before each call of it."""

    def register(build: Callable[[], Loop]) -> Callable[[], Loop]:
        known = SCENARIOS.setdefault(name, build)
        assert known.__code__.co_filename == build.__code__.co_filename, name  # pytest imports modules again
        return build

    return register


def plain_step(loop: Loop, index: int = 0) -> Tensor:
    """One step of the loop without a tuner, on the batch of this number; gives the loss descended."""
    parts, max_norm = loop.settings.get("accumulate", 1), loop.settings.get("max_norm")
    if loop.learning_rate is not None:
        for group in loop.optimizer.param_groups:
            group["lr"] = float(loop.learning_rate().detach())
    loop.optimizer.zero_grad()
    total = torch.zeros((), dtype=torch.float64)
    for part in range(parts):
        loss = loop.weights(loop.losses(index * parts + part)) / parts
        loss.backward()
        total = total + loss.detach()
    trained = [p for group in loop.optimizer.param_groups for p in group["params"]]
    if (max_value := loop.settings.get("max_value")) is not None:
        nn.utils.clip_grad_value_(trained, max_value)
    if max_norm is not None:
        nn.utils.clip_grad_norm_(trained, max_norm)
    loop.optimizer.step()
    for parameter in loop.learned():
        parameter.grad = None
    return total


def load_all() -> None:
    """Import every module of this package, so that `SCENARIOS` is full."""
    for module in sorted(found.name for found in pkgutil.iter_modules(__path__)):
        importlib.import_module(f"{__name__}.{module}")
