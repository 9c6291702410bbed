"""What torch's optimizers do to a parameter, as pure functions that can be differentiated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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
    """One optimizer of torch's."""

    move: Move
    """Its step."""
    remembers: Callable[[Group], tuple[str, ...]] = lambda group: ()
    """Names, torch's own, of the tensors like the parameter that begin as zeros."""
    decides_by: tuple[str, ...] = ("step",)
    """Names of the numbers that it remembers."""
    factors: Callable[[Tensor], Mapping[str, Sequence[int]]] = lambda parameter: {}
    """Name -> shape of further tensors that begin as zeros."""
    decoupled: bool = False
    """Whether weight decay is never added to the gradient."""

    def read(self, parameter: Tensor, state: Mapping[str, Any], group: Group) -> Memory:
        """What an optimizer remembers of a parameter as it is; nothing is copied, and zeros take no room.

        Args:
            parameter: for the form of what is not there yet.
            state: torch's, empty before the first step.
            group: of the parameter.
        """
        shapes = {**dict.fromkeys(self.remembers(group), parameter.shape), **self.factors(parameter)}
        kept = {name: state.get(name) for name in shapes}
        memory: Memory = {
            name: parameter.new_zeros(()).expand(shapes[name]) if value is None else value.detach()
            for name, value in kept.items()
        }
        begun = float(any(value is not None for value in kept.values()))
        kept_as = torch.float64 if torch.get_default_dtype() is torch.float64 else torch.float32
        first = {"step": begun, "eta": group["lr"], "mu_product": torch.ones((), dtype=kept_as)}
        for name in self.decides_by:
            if name in state:
                memory[name] = state[name].detach() if name == "mu_product" else float(state[name])
            else:
                memory[name] = first[name]
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


def _moments(p: Tensor, g: Tensor, memory: Memory, group: Group) -> tuple[Tensor, Tensor, Memory]:
    """Decay, and average the gradient and its square: the decayed parameter, the gradient, the new memory."""
    first_decay, second_decay = group["betas"]
    if group.get("decoupled_weight_decay", False):
        p = _shrunk(p, group)
    else:
        g = _decayed(p, g, group)
    first = torch.lerp(memory["exp_avg"], g, 1 - first_decay)
    second = memory["exp_avg_sq"] * second_decay + (1 - second_decay) * (g * g)
    return p, g, memory | {"exp_avg": first, "exp_avg_sq": second, "step": memory["step"] + 1}


def _adam(p: Tensor, g: Tensor, memory: Memory, group: Group) -> tuple[Tensor, Memory]:
    p, _, memory = _moments(p, g, memory, group)
    count, (first_decay, second_decay) = memory["step"], group["betas"]
    first, second = memory["exp_avg"], memory["exp_avg_sq"]
    if group["amsgrad"]:
        second = memory["max_exp_avg_sq"] = torch.maximum(memory["max_exp_avg_sq"], second)
    correction = _one_minus_power(second_decay, count, p) ** 0.5
    size = group["lr"] / _one_minus_power(first_decay, count, p)
    return p - size * (first / (_root(second) / correction + group["eps"])), memory


def _nadam(p: Tensor, g: Tensor, memory: Memory, group: Group) -> tuple[Tensor, Memory]:
    p, g, memory = _moments(p, g, memory, group)
    count, (first_decay, second_decay) = memory["step"], group["betas"]

    def momentum(step: Any) -> Any:
        return first_decay * (1 - 0.5 * 0.96 ** (_as(step, p) * group["momentum_decay"]))

    stored = memory["mu_product"] * momentum(count)  # rounded as torch keeps it
    product = stored if isinstance(count, Tensor) else float(stored)
    size = _root(memory["exp_avg_sq"] / _one_minus_power(second_decay, count, p)) + group["eps"]
    now = (1 - momentum(count)) / (1 - product)
    before = momentum(count + 1) / (1 - product * momentum(count + 1))
    move = now * (g / size) + before * (memory["exp_avg"] / size)
    return p - group["lr"] * move, memory | {"mu_product": stored}


def _radam(p: Tensor, g: Tensor, memory: Memory, group: Group) -> tuple[Tensor, Memory]:
    p, _, memory = _moments(p, g, memory, group)
    count, (first_decay, second_decay) = memory["step"], group["betas"]
    first = memory["exp_avg"] / _one_minus_power(first_decay, count, p)
    left = _one_minus_power(second_decay, count, p)
    longest = 2 / (1 - second_decay) - 1
    length = longest - 2 * _as(count, p) * (1 - left) / left
    if longest <= 5 or not (isinstance(count, Tensor) or length > 5):
        return p - group["lr"] * first, memory
    squared = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    rectified = squared.clamp(min=0) ** 0.5 if isinstance(squared, Tensor) else squared**0.5
    scale = rectified * left**0.5 / (_root(memory["exp_avg_sq"]) + group["eps"])
    if isinstance(count, Tensor):
        scale = torch.where(length > 5, scale, 1)
    return p - group["lr"] * (first * scale), memory


def _adafactor(p: Tensor, g: Tensor, memory: Memory, group: Group) -> tuple[Tensor, Memory]:
    count, rate, (least, least_scale) = memory["step"] + 1, group["lr"], group["eps"]
    least = torch.finfo(p.dtype).eps if least is None else least
    part, most = _as(count, p) ** group["beta2_decay"], _as(count, p) ** -0.5
    if isinstance(rate, Tensor) or isinstance(most, Tensor):
        rate_now = torch.minimum(*(torch.as_tensor(x, dtype=p.dtype, device=p.device) for x in (rate, most)))
    else:
        rate_now = min(rate, most)
    size = (_norm(p) / p.numel() ** 0.5).clamp(min=least_scale) * rate_now
    square = g * g
    if g.ndim > 1:
        row = torch.lerp(memory["row_var"], square.mean(-1, keepdim=True), part)
        column = torch.lerp(memory["col_var"], square.mean(-2, keepdim=True), part)
        variance = row @ column / row.mean(-2, keepdim=True).clamp(min=least)
        memory = {"row_var": row, "col_var": column, "step": count}
    else:
        variance = torch.lerp(memory["variance"], square, part)
        memory = {"variance": variance, "step": count}
    move = variance.clamp(min=least**2).rsqrt() * g
    clipped = (_norm(move) / (move.numel() ** 0.5 * group["d"])).clamp(min=1)
    return _shrunk(p, group) - size / clipped * move, memory


def _muon(p: Tensor, g: Tensor, memory: Memory, group: Group) -> tuple[Tensor, Memory]:
    """Torch iterates in bfloat16: the value is that, the derivative that of the same without rounding."""
    trace = torch.lerp(memory["momentum_buffer"], g, 1 - group["momentum"])
    move = torch.lerp(g, trace, group["momentum"]) if group["nesterov"] else trace
    if p.dtype is torch.bfloat16 and not group["nesterov"]:  # torch then divides the trace itself
        trace = trace / trace.norm().clamp(min=group["eps"])
    smooth = _orthogonal(move, group)
    rounded = _orthogonal(move.detach().bfloat16(), group)
    height, width = p.shape
    ratio = {
        "match_rms_adamw": 0.2 * math.sqrt(max(height, width)),
        "original": math.sqrt(max(1, height / width)),
    }[group["adjust_lr_fn"] or "original"]
    step = smooth + (rounded.to(smooth.dtype) - smooth).detach()
    return _shrunk(p, group) - group["lr"] * ratio * step, {"momentum_buffer": trace}


def _orthogonal(matrix: Tensor, group: Group) -> Tensor:
    """Newton and Schulz's iteration towards the nearest orthogonal matrix, as torch's Muon has it."""
    a, b, c = group["ns_coefficients"]
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide


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
    torch.optim.NAdam: Rule(
        _nadam, lambda group: ("exp_avg", "exp_avg_sq"), decides_by=("step", "mu_product")
    ),
    torch.optim.RAdam: Rule(_radam, lambda group: ("exp_avg", "exp_avg_sq")),
    torch.optim.Adafactor: Rule(
        _adafactor,
        factors=lambda p: (
            {"row_var": [*p.shape[:-1], 1], "col_var": [*p.shape[:-2], 1, p.shape[-1]]}
            if p.ndim > 1
            else {"variance": p.shape}
        ),
        decoupled=True,
    ),
}
RULES[torch.optim.AdamW] = RULES[torch.optim.Adam]
"""Torch's optimizer -> its rule; a group says whether Adam's weight decay is decoupled."""
if hasattr(torch.optim, "Muon"):  # since torch 2.9
    RULES[torch.optim.Muon] = Rule(_muon, lambda group: ("momentum_buffer",), decides_by=(), decoupled=True)


def _decayed(p: Tensor, g: Tensor, group: Group) -> Tensor:
    return g + group["weight_decay"] * p if group["weight_decay"] != 0 else g


def _shrunk(p: Tensor, group: Group) -> Tensor:
    """Decoupled weight decay."""
    return p * (1 - group["lr"] * group["weight_decay"]) if group["weight_decay"] != 0 else p


def _norm(values: Tensor) -> Tensor:
    return _root(values.square().sum())


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
