"""Parameters that stand for other tensors, for whoever holds them in a list of their own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_map


class StandIn(nn.Parameter):
    """A parameter every use of which is a use of another tensor, `stands_for`.

    A model looks its parameters up by name, where another tensor can be put in their place. A list made
    outside, as `ps = list(model.parameters())` for an L2 penalty, holds the parameter itself. While it has
    this class, torch hands each function that takes it to `__torch_function__`, which exchanges it.
    """

    stands_for: Tensor

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        args, kwargs = tree_map(_other, (args, kwargs or {}))
        return function(*args, **kwargs)


def begin(parameter: Tensor, other: Tensor) -> None:
    """Let a parameter stand for another tensor, until `end`."""
    vars(parameter)["stands_for"] = other
    if not isinstance(parameter, StandIn):
        parameter.__class__ = _standing_in(type(parameter))


def end(parameter: Tensor) -> None:
    """Let a parameter be itself again."""
    if isinstance(parameter, StandIn):
        parameter.__class__ = (
            type(parameter).__bases__[-1] if type(parameter) is not StandIn else nn.Parameter
        )
        vars(parameter).pop("stands_for")


def _other(value: Any) -> Any:
    return value.stands_for if isinstance(value, StandIn) else value


@functools.cache
def _standing_in(kind: type) -> type:
    return StandIn if kind is nn.Parameter else type(f"StandIn{kind.__name__}", (StandIn, kind), {})
