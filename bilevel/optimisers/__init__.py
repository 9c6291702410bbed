"""Inner optimisers: pure, exactly differentiable, in TorchOpt's functional interface.

Any transformation of TorchOpt's can be used in their place; `torchopt_adaptor` says what to know of those.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from bilevel.errors import require_name
from bilevel.optimisers.adaptive import adam, adamw, rmsprop
from bilevel.optimisers.clipping import clip_by_norm, clip_by_value
from bilevel.optimisers.first_order import momentum, sgd
from bilevel.optimisers.members import per_member
from bilevel.optimisers.scaling import LearningRate, at_learning_rate
from bilevel.optimisers.tied import tied
from bilevel.optimisers.torchopt_adaptor import GradientTransformation, chain

__all__ = [
    "OPTIMISERS",
    "GradientTransformation",
    "LearningRate",
    "adam",
    "adamw",
    "at_learning_rate",
    "chain",
    "clip_by_norm",
    "clip_by_value",
    "make_optimiser",
    "momentum",
    "per_member",
    "rmsprop",
    "sgd",
    "tied",
]

OPTIMISERS: dict[str, Callable[..., GradientTransformation]] = {
    "sgd": sgd,
    "momentum": momentum,
    "adam": adam,
    "adamw": adamw,
    "rmsprop": rmsprop,
}


def make_optimiser(name: str, **settings: Any) -> GradientTransformation:
    """Build an optimiser by its name in `OPTIMISERS`.

    Args:
        name: which.
        settings: its settings, by name; `learning_rate` is one of them.

    Raises:
        ValueError: the name, or a setting's name, is unknown (names the nearest), or a setting is out of
            range.

    >>> optimiser = make_optimiser("momentum", learning_rate=0.1, nesterov=True)
    >>> make_optimiser("adam", lr=0.1)
    Traceback (most recent call last):
    ValueError: There is no setting of adam 'lr'. Known: learning_rate, betas, epsilon, ...
    """
    require_name(name, OPTIMISERS, "optimiser")
    known = inspect.signature(OPTIMISERS[name]).parameters
    for setting in settings:
        require_name(setting, known, f"setting of {name}")
    return OPTIMISERS[name](**settings)
