"""Differentiable steps of torch's optimizers, by `higher`, also inside trainers' wrappers."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from higher.optim import DifferentiableOptimizer
from torch import Tensor

from bilevel.loss_weights._torch_steps import RULES, Group, UpdateRule
from games.core import require

_WRAPPERS = (
    "accelerate.optimizer",
    "lightning.fabric.wrappers",
    "lightning.pytorch.core.optimizer",
    "lightning_fabric.wrappers",
    "pytorch_lightning.core.optimizer",
)
"""Modules of wrappers that forward the step to the wrapped `optimizer`."""
_HARMLESS = {
    *("__class__", "__getstate__", "__init__", "__init_subclass__", "__new__", "__repr__", "__setstate__"),
    *("add_param_group", "load_state_dict", "profile_hook_step", "state_dict", "zero_grad"),
}
"""Methods of optimizers that do not affect a step."""
_SCALER = (
    "A GradScaler cannot be used with learned weights: their gradient is a second derivative, and leaves the "
    "range of float16 where gradients do not; use torch.autocast with dtype=torch.bfloat16 "
    '(mixed_precision="bf16", precision="bf16-mixed", bf16=True), which needs no scaler.'
)
Params = list[Tensor]
TransformGradients = Callable[[Sequence[Tensor | None]], list[Tensor | None]]


def unwrapped(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimizer inside wrappers of trainers; raises ValueError if one scales gradients."""
    while any(cls.__module__ in _WRAPPERS for cls in type(optimizer).__mro__):
        require_unscaled(optimizer)
        strategy = getattr(optimizer, "_strategy", None)
        require_unscaled(getattr(strategy, "precision_plugin", getattr(strategy, "precision", None)))
        optimizer = optimizer.optimizer  # type: ignore[attr-defined]
    return optimizer


def require_unscaled(holder: object) -> None:
    """Raise ValueError if a wrapper or a trainer's plugin has a `scaler` of gradients."""
    require(getattr(holder, "scaler", None) is None, _SCALER)


@contextmanager
def refusing_scalers() -> Iterator[None]:
    """Refuse losses that this thread scales by a `GradScaler`."""
    scale, thread = torch.amp.GradScaler.scale, threading.get_ident()

    def refuse(self: Any, outputs: Any) -> Any:
        require(threading.get_ident() != thread or not self.is_enabled(), _SCALER)
        return scale(self, outputs)

    torch.amp.GradScaler.scale = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.amp.GradScaler.scale = scale  # type: ignore[method-assign]


def rule_of(optimizer: torch.optim.Optimizer) -> UpdateRule:
    """The update rule of an optimizer, or of a subclass with the same step; raises ValueError without one."""
    optimizer = unwrapped(optimizer)
    cls = type(optimizer)
    base = next((each for each in cls.__mro__ if each in RULES), None)
    if base is None:
        names = ", ".join(each.__name__ for each in RULES)
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
    require(
        not any(group.get("maximize", False) for group in optimizer.param_groups),
        f"This {cls.__name__} ascends (maximize=True): leave it off, and minimize minus what you want to be "
        "large.",
    )
    return RULES[base]


def _overridden(optimizer: torch.optim.Optimizer, base: type[torch.optim.Optimizer]) -> list[str]:
    """Names of overridden methods of `base` that may affect a step."""
    cls = type(optimizer)
    below = [vars(each) for each in cls.__mro__[: cls.__mro__.index(base)]]
    overridden = {
        name
        for own in below
        for name, value in own.items()
        # torch itself wraps the step of each class, for its profiler and its schedulers
        if callable(getattr(base, name, None))
        and name not in _HARMLESS
        and inspect.unwrap(value) is not inspect.unwrap(getattr(base, name))
    }
    if inspect.unwrap(optimizer.step) is not inspect.unwrap(base.step):
        overridden.add("step")
    return sorted(overridden)


class LiftedOptimizer(DifferentiableOptimizer):  # type: ignore[misc]  # higher has no types
    """Differentiable steps of an optimizer, from its current state.

    `higher` differentiates a loss and keeps the graph; the updates are those of `_torch_steps` (`higher`
    lacks AdamW, and adds Adam's epsilon elsewhere). The optimizer's state is not copied, so these steps must
    come before its own. Gradients pass parameter `hooks`, `reduce` (over processes) and `clip`, in this
    order; `groups` replace its parameter groups.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        clip: TransformGradients = list,
        hooks: TransformGradients = list,
        reduce: TransformGradients = list,
        groups: Sequence[Group] | None = None,
    ) -> None:
        self.rule = rule_of(optimizer)
        optimizer = unwrapped(optimizer)
        groups = optimizer.param_groups if groups is None else groups
        self.param_groups = [{**group, "params": [None] * len(group["params"])} for group in groups]
        self.state = [
            dict(enumerate(self.rule.state_of(p, optimizer.state.get(p, {}), group) for p in group["params"]))
            for group in groups
        ]
        places = iter(range(len(parameters_of(optimizer))))
        self._group_to_param_list = [[next(places) for _ in group["params"]] for group in self.param_groups]
        self.clip, self.hooks, self.reduce = clip, hooks, reduce
        self._grad_callback = self._record_and_clip
        self.gradient: list[Tensor | None] = []
        """Gradient of the last step, before clipping; None for a parameter without one."""
        self._fmodel, self._track_higher_grads = None, True

    def __call__(self, loss: Tensor | Sequence[Tensor], params: Sequence[Tensor]) -> Params:
        """Take one step on the sum of losses, accumulated bit-for-bit as by `backward` calls."""
        parts = [loss] if isinstance(loss, Tensor) else loss
        if len(parts) == 1:
            return list(self.step(parts[0], params=list(params)))
        free = [place for place, p in enumerate(params) if p.requires_grad]
        leaves = [params[place] for place in free]
        gradients_of_parts = [
            torch.autograd.grad(part, leaves, create_graph=True, allow_unused=True) for part in parts
        ]
        gradients = dict(zip(free, accumulated(gradients_of_parts), strict=True))
        return self.along([gradients.get(place) for place in range(len(params))], params)

    def along(self, gradients: Sequence[Tensor | None], params: Sequence[Tensor]) -> Params:
        """Take one step along gradients; a parameter with None is not updated."""
        clipped = self._record_and_clip(gradients)
        for group, places in zip(self.param_groups, self._group_to_param_list, strict=True):
            group["params"] = [params[place] for place in places]
        self._update([[clipped[place] for place in places] for places in self._group_to_param_list])
        return [p for group in self.param_groups for p in group["params"]]

    def _record_and_clip(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        self.gradient = self.reduce(self.hooks(gradients))
        return self.clip(self.gradient)

    def _update(self, grouped_grads: list[list[Tensor | None]], **_: Any) -> None:
        for group, states, grads in zip(self.param_groups, self.state, grouped_grads, strict=True):
            for index, gradient in enumerate(grads):
                if gradient is not None:  # a parameter without a gradient stays, whatever its decay
                    new = self.rule.update(group["params"][index], gradient, states[index], group)
                    group["params"][index], states[index] = new


def parameters_of(optimizer: torch.optim.Optimizer) -> Params:
    """All parameters of an optimizer, group by group."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def accumulated(gradients: Sequence[Sequence[Tensor | None]]) -> list[Tensor | None]:
    """Add the gradients of several losses in their order, as `backward` does; None is skipped."""
    first, *rest = gradients
    total = list(first)
    for more in rest:
        total = [a if b is None else b if a is None else a + b for a, b in zip(total, more, strict=True)]
    return total
