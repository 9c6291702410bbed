"""Inner optimizers: pure, exactly differentiable, in TorchOpt's functional interface.

Any transformation of TorchOpt's can be used in their place; `torchopt_adaptor` says what to know of those.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from bilevel.optimizers._adaptive import adam, adamw, rmsprop
from bilevel.optimizers._first_order import momentum, sgd
from bilevel.optimizers._transforms import (
    GradientTransformation,
)
from games.core import require_name

OPTIMIZERS: dict[str, Callable[..., GradientTransformation]] = {
    "sgd": sgd,
    "momentum": momentum,
    "adam": adam,
    "adamw": adamw,
    "rmsprop": rmsprop,
}


def make_optimizer(name: str, **settings: Any) -> GradientTransformation:
    """Build an optimizer by its name in `OPTIMIZERS`.

    Args:
        name: which.
        settings: its settings, by name; `learning_rate` is one of them.

    Raises:
        ValueError: the name, or a setting's name, is unknown (names the nearest), or a setting is out of
            range.

    >>> optimizer = make_optimizer("momentum", learning_rate=0.1, nesterov=True)
    >>> make_optimizer("adam", lr=0.1)
    Traceback (most recent call last):
    ValueError: There is no setting of adam 'lr'. Known: learning_rate, betas, epsilon, ...
    """
    require_name(name, OPTIMIZERS, "optimizer")
    known = inspect.signature(OPTIMIZERS[name]).parameters
    for setting in settings:
        require_name(setting, known, f"setting of {name}")
    return OPTIMIZERS[name](**settings)
