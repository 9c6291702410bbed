"""Optimizers whose steps can be differentiated: torch's own, subclasses of them, and trainers' wrappers."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from bilevel.errors import require
from bilevel.tuning.torch_steps import RULES, Rule

LIFTED = tuple(RULES)
"""Optimizers whose steps can be differentiated. Rprop is not one: it follows the gradient's sign alone."""

_WRAPPERS = (
    "accelerate.optimizer",
    "lightning.fabric.wrappers",
    "lightning.pytorch.core.optimizer",
    "lightning_fabric.wrappers",
    "pytorch_lightning.core.optimizer",
)
"""Modules of wrappers that pass the step on as it is, and hold the wrapped one as `optimizer`."""
_HARMLESS = frozenset(
    (
        *("__class__", "__getstate__", "__init__", "__init_subclass__", "__new__", "__repr__"),
        *(
            "__setstate__",
            "add_param_group",
            "load_state_dict",
            "profile_hook_step",
            "state_dict",
            "zero_grad",
        ),
    )
)
"""Methods of optimizers that no step depends on."""
_SCALER = (
    "A GradScaler cannot be used with learned weights: their gradient is a second derivative, and leaves the "
    "range of float16 where gradients do not; use torch.autocast with dtype=torch.bfloat16 "
    '(mixed_precision="bf16", precision="bf16-mixed", bf16=True), which needs no scaler.'
)


def unwrapped(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Find the optimizer inside the wrappers of Accelerate, Lightning and Fabric.

    Steps are differentiated as those of the optimizer inside, and taken through the wrapper, so that a
    trainer's counters go on.

    Raises:
        ValueError: a wrapper scales gradients.
    """
    while any(cls.__module__ in _WRAPPERS for cls in type(optimizer).__mro__):
        require_unscaled(optimizer)
        strategy = getattr(optimizer, "_strategy", None)
        require_unscaled(getattr(strategy, "precision_plugin", getattr(strategy, "precision", None)))
        optimizer = optimizer.optimizer  # type: ignore[attr-defined]
    return optimizer


def require_unscaled(holder: object) -> None:
    """Raise ValueError if a wrapper or a trainer's plugin scales gradients by the `scaler` that it holds."""
    require(getattr(holder, "scaler", None) is None, _SCALER)


def require_stepping(optimizer: torch.optim.Optimizer) -> None:
    """Raise ValueError if the wrapper of an optimizer would skip the step because it gathers gradients."""
    gathering = getattr(optimizer, "gradient_state", None)
    require(
        gathering is None or gathering.sync_gradients,
        "Accelerate skips this optimizer's step while accelerator.accumulate gathers gradients: call "
        "tuner.step outside of it, with accumulate=N and a list of N functions, one for each part.",
    )


def rule_of(optimizer: torch.optim.Optimizer) -> Rule:
    """Find the step of an optimizer, or of a subclass that overrides nothing of the step.

    Raises:
        ValueError: there is none (lists the optimizers that have one); or a subclass overrides a method that
            its step may depend on, or the optimizer has hooks around its step (names them).

    >>> class Named(torch.optim.Adam):
    ...     label = "mine"
    >>> rule_of(Named([torch.zeros(1)])) is RULES[torch.optim.Adam]
    True
    """
    optimizer = unwrapped(optimizer)
    cls = type(optimizer)
    base = next((each for each in cls.__mro__ if each in RULES), None)
    if base is None:
        names = ", ".join(each.__name__ for each in LIFTED)
        raise ValueError(f"The steps of {cls.__name__} cannot be differentiated; those of {names} can.")
    if overridden := _overridden(optimizer, base):
        raise ValueError(
            f"{cls.__name__} overrides {', '.join(overridden)} of {base.__name__}, so that its steps may be "
            f"others than those that are differentiated: use {base.__name__} itself, and do what is added "
            "in the losses, or after the step."
        )
    hooks = [*optimizer._optimizer_step_pre_hooks.values(), *optimizer._optimizer_step_post_hooks.values()]
    if hooks:
        name = getattr(hooks[0], "__qualname__", type(hooks[0]).__name__)
        raise ValueError(
            f"This {cls.__name__} has a hook around its step ({name}), which virtual steps do not run: "
            "remove it, and call it yourself after tuner.step."
        )
    return RULES[base]


def check_lifts(optimizer: torch.optim.Optimizer) -> None:
    """Raise ValueError unless the optimizer's steps can be differentiated."""
    rule_of(optimizer)
    for group in optimizer.param_groups:
        require(
            not group.get("maximize", False),
            f"This {type(unwrapped(optimizer)).__name__} ascends (maximize=True): leave it off, and minimise "
            "minus what you want to be large.",
        )


@contextmanager
def refusing_scalers() -> Iterator[None]:
    """Refuse losses that this thread scales by a `GradScaler` inside.

    Raises:
        ValueError: says what to write instead.

    >>> with refusing_scalers():
    ...     torch.amp.GradScaler("cpu").scale(torch.ones(1))
    Traceback (most recent call last):
    ValueError: A GradScaler cannot be used with learned weights: ...
    """
    scale, thread = torch.amp.GradScaler.scale, threading.get_ident()

    def refuse(self: Any, outputs: Any) -> Any:
        require(threading.get_ident() != thread or not self.is_enabled(), _SCALER)
        return scale(self, outputs)

    torch.amp.GradScaler.scale = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.amp.GradScaler.scale = scale  # type: ignore[method-assign]


def _overridden(optimizer: torch.optim.Optimizer, base: type[torch.optim.Optimizer]) -> list[str]:
    """Names of methods that a subclass of `base`, or the object, defines anew, and a step may depend on."""
    cls = type(optimizer)
    below = [vars(each) for each in cls.__mro__[: cls.__mro__.index(base)]]
    found = {
        name
        for own in below
        for name, value in own.items()
        # torch itself wraps the step of each class, for its profiler and its schedulers
        if callable(getattr(base, name, None))
        and name not in _HARMLESS
        and inspect.unwrap(value) is not inspect.unwrap(getattr(base, name))
    }
    if inspect.unwrap(optimizer.step) is not inspect.unwrap(base.step):
        found.add("step")
    return sorted(found)
