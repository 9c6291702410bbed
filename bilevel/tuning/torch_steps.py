"""What torch's optimisers do to a parameter, as pure functions that can be differentiated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Group = Mapping[str, Any]
"""A parameter group's settings; the learning rate may be a tensor that is learned."""
Memory = dict[str, Any]
"""What is remembered of one parameter: tensors like it, and numbers, Python's or tensors without axes."""
Move = Callable[[Tensor, Tensor, Memory, Group], tuple[Tensor, Memory]]
"""(parameter, gradient, memory, group) -> the new parameter and memory. Nothing is changed in place."""


@dataclass(frozen=True)
class Rule:
    """One optimiser of torch's."""

    move: Move
    """Its step."""
    remembers: Callable[[Group], tuple[str, ...]] = lambda group: ()
    """Names, torch's own, of the tensors that begin as zeros."""
    decides_by: tuple[str, ...] = ("step",)
    """Names of the numbers that it remembers."""

    def read(self, parameter: Tensor, state: Mapping[str, Any], group: Group) -> Memory:
        """What an optimiser remembers of a parameter as it is; nothing is copied, and zeros take no room.

        Args:
            parameter: for the form of what is not there yet.
            state: torch's, empty before the first step.
            group: of the parameter.
        """
        kept = {name: state.get(name) for name in self.remembers(group)}
        memory: Memory = {
            name: parameter.new_zeros(()).expand_as(parameter) if value is None else value.detach()
            for name, value in kept.items()
        }
        for name in self.decides_by:
            begun = float(any(value is not None for value in kept.values()))
            memory[name] = float(state[name]) if name in state else begun if name == "step" else group["lr"]
        return memory


def _sgd(p: Tensor, g: Tensor, memory: Memory, group: Group) -> tuple[Tensor, Memory]:
    g = _decayed(p, g, group)
    if group["momentum"] != 0:
        damped = g * (1 - group["dampening"]) if group["dampening"] != 0 else g
        count, before = memory["step"], memory["momentum_buffer"]
        if isinstance(count, Tensor):
            trace = torch.add(torch.where(count == 0, g, damped), before, alpha=group["momentum"])
        else:
            trace = torch.add(damped, before, alpha=group["momentum"]) if count else g
        memory = {"momentum_buffer": trace, "step": count + 1}
        g = torch.add(g, trace, alpha=group["momentum"]) if group["nesterov"] else trace
    return _down(p, g, group["lr"]), memory


def _adam(p: Tensor, g: Tensor, memory: Memory, group: Group) -> tuple[Tensor, Memory]:
    count, (first_decay, second_decay) = memory["step"] + 1, group["betas"]
    if group.get("decoupled_weight_decay", False):
        p = p * (1 - group["lr"] * group["weight_decay"]) if group["weight_decay"] != 0 else p
    else:
        g = _decayed(p, g, group)
    first = torch.lerp(memory["exp_avg"], g, 1 - first_decay)
    second = memory["exp_avg_sq"] * second_decay + (1 - second_decay) * (g * g)
    memory = memory | {"exp_avg": first, "exp_avg_sq": second, "step": count}
    if group["amsgrad"]:
        second = memory["max_exp_avg_sq"] = torch.maximum(memory["max_exp_avg_sq"], second)
    correction = _one_minus_power(second_decay, count, p) ** 0.5
    size = group["lr"] / _one_minus_power(first_decay, count, p)
    return p - size * (first / (_root(second) / correction + group["eps"])), memory


def _adamax(p: Tensor, g: Tensor, memory: Memory, group: Group) -> tuple[Tensor, Memory]:
    g, count, (first_decay, greatest_decay) = _decayed(p, g, group), memory["step"] + 1, group["betas"]
    first = torch.lerp(memory["exp_avg"], g, 1 - first_decay)
    greatest = torch.maximum(memory["exp_inf"] * greatest_decay, g.abs() + group["eps"])
    size = group["lr"] / _one_minus_power(first_decay, count, p)
    return p - size * (first / greatest), {"exp_avg": first, "exp_inf": greatest, "step": count}


def _rmsprop(p: Tensor, g: Tensor, memory: Memory, group: Group) -> tuple[Tensor, Memory]:
    g, decay = _decayed(p, g, group), group["alpha"]
    square = memory["square_avg"] * decay + (1 - decay) * (g * g)
    memory, variance = memory | {"square_avg": square}, square
    if group["centered"]:
        memory["grad_avg"] = torch.lerp(memory["grad_avg"], g, 1 - decay)
        variance = square - memory["grad_avg"].square()
    move = g / (_root(variance) + group["eps"])
    if group["momentum"] > 0:
        move = memory["momentum_buffer"] = memory["momentum_buffer"] * group["momentum"] + move
    return p - group["lr"] * move, memory


def _adagrad(p: Tensor, g: Tensor, memory: Memory, group: Group) -> tuple[Tensor, Memory]:
    g, count = _decayed(p, g, group), memory["step"] + 1
    total = memory["sum"] + g * g
    size = group["lr"] / (1 + (_as(count, p) - 1) * group["lr_decay"])
    return p - size * (g / (_root(total) + group["eps"])), {"sum": total, "step": count}


def _adadelta(p: Tensor, g: Tensor, memory: Memory, group: Group) -> tuple[Tensor, Memory]:
    g, decay, epsilon = _decayed(p, g, group), group["rho"], group["eps"]
    square = memory["square_avg"] * decay + (1 - decay) * (g * g)
    move = (memory["acc_delta"] + epsilon).sqrt() / (square + epsilon).sqrt() * g
    moved = memory["acc_delta"] * decay + (1 - decay) * (move * move)
    return p - group["lr"] * move, {"square_avg": square, "acc_delta": moved}


def _asgd(p: Tensor, g: Tensor, memory: Memory, group: Group) -> tuple[Tensor, Memory]:
    """The averages are left out: no step depends on them."""
    g, count, size = _decayed(p, g, group), memory["step"] + 1, _as(memory["eta"], p)
    eta = group["lr"] / (1 + group["lambd"] * group["lr"] * _as(count, p)) ** group["alpha"]
    return p * (1 - group["lambd"] * size) - size * g, {"step": count, "eta": _as(eta, p)}


RULES: dict[type[torch.optim.Optimizer], Rule] = {
    torch.optim.SGD: Rule(_sgd, lambda group: ("momentum_buffer",) if group["momentum"] != 0 else ()),
    torch.optim.Adam: Rule(
        _adam,
        lambda group: ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if group["amsgrad"] else ())),
    ),
    torch.optim.Adamax: Rule(_adamax, lambda group: ("exp_avg", "exp_inf")),
    torch.optim.RMSprop: Rule(
        _rmsprop,
        lambda group: (
            "square_avg",
            *(("grad_avg",) if group["centered"] else ()),
            *(("momentum_buffer",) if group["momentum"] > 0 else ()),
        ),
        decides_by=(),
    ),
    torch.optim.Adagrad: Rule(_adagrad, lambda group: ("sum",)),
    torch.optim.Adadelta: Rule(_adadelta, lambda group: ("square_avg", "acc_delta"), decides_by=()),
    torch.optim.ASGD: Rule(_asgd, decides_by=("step", "eta")),
}
RULES[torch.optim.AdamW] = RULES[torch.optim.Adam]
"""Torch's optimiser -> its rule; a group says whether Adam's weight decay is decoupled."""


def _decayed(p: Tensor, g: Tensor, group: Group) -> Tensor:
    return g + group["weight_decay"] * p if group["weight_decay"] != 0 else g


def _root(square: Tensor) -> Tensor:
    """The square root; where nothing was ever descended it is next to 0, with the derivative 0."""
    return square.clamp(min=torch.finfo(square.dtype).tiny).sqrt()


def _down(p: Tensor, move: Tensor, rate: float | Tensor) -> Tensor:
    """Without room for the product, where the rate is a number."""
    return p - rate * move if isinstance(rate, Tensor) else torch.sub(p, move, alpha=rate)


def _as(number: Any, p: Tensor) -> Any:
    """A number, in the precision of a parameter if it is a tensor."""
    return number.to(p.dtype) if isinstance(number, Tensor) else number


def _one_minus_power(decay: float, count: Any, p: Tensor) -> Any:
    if isinstance(count, Tensor):
        return -torch.expm1(count.to(p.dtype) * (math.log(decay) if decay > 0 else -math.inf))
    return 1 - decay**count
