"""Update rules of torch's optimizers as pure, differentiable functions of a parameter and its state."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Group = Mapping[str, Any]  # settings of a parameter group; the learning rate may be a tensor
OptState = dict[str, Any]
"""An optimizer's state of one parameter: tensors like it, and numbers or tensors without axes."""


@dataclass(frozen=True)
class UpdateRule:
    """One of torch's optimizers."""

    update: Callable[[Tensor, Tensor, OptState, Group], tuple[Tensor, OptState]]
    """(parameter, gradient, state, group) -> the new parameter and state, without in-place changes."""
    averages: Callable[[Group], tuple[str, ...]] = lambda group: ()
    """Torch's names of the state tensors shaped like the parameter, initially zero."""
    numbers: tuple[str, ...] = ("step",)  # names of the numbers in the state
    factors: Callable[[Tensor], Mapping[str, Sequence[int]]] = lambda parameter: {}
    """Name -> shape of further state tensors, initially zero."""
    decoupled: bool = False  # weight decay is never added to the gradient

    def state_of(self, parameter: Tensor, state: Mapping[str, Any], group: Group) -> OptState:
        """Read torch's state of a parameter, empty before its first step."""
        shapes = {**dict.fromkeys(self.averages(group), parameter.shape), **self.factors(parameter)}
        stored = {name: state.get(name) for name in shapes}
        result: OptState = {
            name: parameter.new_zeros(()).expand(shapes[name]) if value is None else value.detach()
            for name, value in stored.items()
        }
        started = float(any(value is not None for value in stored.values()))
        dtype = torch.float64 if torch.get_default_dtype() is torch.float64 else torch.float32
        first = {"step": started, "eta": group["lr"], "mu_product": torch.ones((), dtype=dtype)}
        for name in self.numbers:
            if name in state:
                result[name] = state[name].detach() if name == "mu_product" else float(state[name])
            else:
                result[name] = first[name]
        return result


def _sgd(p: Tensor, g: Tensor, state: OptState, group: Group) -> tuple[Tensor, OptState]:
    g = _decayed(p, g, group)
    if group["momentum"] != 0:
        damped = g * (1 - group["dampening"]) if group["dampening"] != 0 else g
        count, before = state["step"], state["momentum_buffer"]
        if isinstance(count, Tensor):
            buffer = torch.add(torch.where(count == 0, g, damped), before, alpha=group["momentum"])
        else:
            buffer = torch.add(damped, before, alpha=group["momentum"]) if count else g
        state = {"momentum_buffer": buffer, "step": count + 1}
        g = torch.add(g, buffer, alpha=group["momentum"]) if group["nesterov"] else buffer
    return _descend(p, g, group["lr"]), state


def _moments(p: Tensor, g: Tensor, state: OptState, group: Group) -> tuple[Tensor, Tensor, OptState]:
    """Decay, and average the gradient and its square: decayed parameter, gradient, new state."""
    first_decay, second_decay = group["betas"]
    if group.get("decoupled_weight_decay", False):
        p = _shrunk(p, group)
    else:
        g = _decayed(p, g, group)
    first = torch.lerp(state["exp_avg"], g, 1 - first_decay)
    second = state["exp_avg_sq"] * second_decay + (1 - second_decay) * (g * g)
    return p, g, state | {"exp_avg": first, "exp_avg_sq": second, "step": state["step"] + 1}


def _adam(p: Tensor, g: Tensor, state: OptState, group: Group) -> tuple[Tensor, OptState]:
    p, _, state = _moments(p, g, state, group)
    count, (first_decay, second_decay) = state["step"], group["betas"]
    first, second = state["exp_avg"], state["exp_avg_sq"]
    if group["amsgrad"]:
        second = state["max_exp_avg_sq"] = torch.maximum(state["max_exp_avg_sq"], second)
    correction = _one_minus_power(second_decay, count, p) ** 0.5
    size = group["lr"] / _one_minus_power(first_decay, count, p)
    return p - size * (first / (_root(second) / correction + group["eps"])), state


def _nadam(p: Tensor, g: Tensor, state: OptState, group: Group) -> tuple[Tensor, OptState]:
    p, g, state = _moments(p, g, state, group)
    count, (first_decay, second_decay) = state["step"], group["betas"]

    def momentum(step: Any) -> Any:
        return first_decay * (1 - 0.5 * 0.96 ** (_in_dtype(step, p) * group["momentum_decay"]))

    stored = state["mu_product"] * momentum(count)  # rounded as torch keeps it
    product = stored if isinstance(count, Tensor) else float(stored)
    size = _root(state["exp_avg_sq"] / _one_minus_power(second_decay, count, p)) + group["eps"]
    now = (1 - momentum(count)) / (1 - product)
    before = momentum(count + 1) / (1 - product * momentum(count + 1))
    move = now * (g / size) + before * (state["exp_avg"] / size)
    return p - group["lr"] * move, state | {"mu_product": stored}


def _radam(p: Tensor, g: Tensor, state: OptState, group: Group) -> tuple[Tensor, OptState]:
    p, _, state = _moments(p, g, state, group)
    count, (first_decay, second_decay) = state["step"], group["betas"]
    first = state["exp_avg"] / _one_minus_power(first_decay, count, p)
    left = _one_minus_power(second_decay, count, p)
    longest = 2 / (1 - second_decay) - 1
    length = longest - 2 * _in_dtype(count, p) * (1 - left) / left
    if longest <= 5 or not (isinstance(count, Tensor) or length > 5):
        return p - group["lr"] * first, state
    squared = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    rectified = squared.clamp(min=0) ** 0.5 if isinstance(squared, Tensor) else squared**0.5
    scale = rectified * left**0.5 / (_root(state["exp_avg_sq"]) + group["eps"])
    if isinstance(count, Tensor):
        scale = torch.where(length > 5, scale, 1)
    return p - group["lr"] * (first * scale), state


def _adafactor(p: Tensor, g: Tensor, state: OptState, group: Group) -> tuple[Tensor, OptState]:
    count, rate, (min_square, min_scale) = state["step"] + 1, group["lr"], group["eps"]
    floor = torch.finfo(p.dtype).eps if min_square is None else min_square
    decay, max_rate = _in_dtype(count, p) ** group["beta2_decay"], _in_dtype(count, p) ** -0.5
    if isinstance(rate, Tensor) or isinstance(max_rate, Tensor):
        rates = (torch.as_tensor(x, dtype=p.dtype, device=p.device) for x in (rate, max_rate))
        rate_now = torch.minimum(*rates)
    else:
        rate_now = min(rate, max_rate)
    size = (_norm(p) / p.numel() ** 0.5).clamp(min=min_scale) * rate_now
    square = g * g
    if g.ndim > 1:
        row = torch.lerp(state["row_var"], square.mean(-1, keepdim=True), decay)
        column = torch.lerp(state["col_var"], square.mean(-2, keepdim=True), decay)
        variance = row @ column / row.mean(-2, keepdim=True).clamp(min=floor)
        state = {"row_var": row, "col_var": column, "step": count}
    else:
        variance = torch.lerp(state["variance"], square, decay)
        state = {"variance": variance, "step": count}
    move = variance.clamp(min=floor**2).rsqrt() * g
    clipped = (_norm(move) / (move.numel() ** 0.5 * group["d"])).clamp(min=1)
    return _shrunk(p, group) - size / clipped * move, state


def _muon(p: Tensor, g: Tensor, state: OptState, group: Group) -> tuple[Tensor, OptState]:
    """Torch iterates in bfloat16: this has the same value, and the derivative without rounding."""
    buffer = torch.lerp(state["momentum_buffer"], g, 1 - group["momentum"])
    move = torch.lerp(g, buffer, group["momentum"]) if group["nesterov"] else buffer
    if p.dtype is torch.bfloat16 and not group["nesterov"]:  # torch then divides the buffer itself
        buffer = buffer / buffer.norm().clamp(min=group["eps"])
    smooth = _orthogonal(move, group)
    rounded = _orthogonal(move.detach().bfloat16(), group)
    height, width = p.shape
    ratio = {
        "match_rms_adamw": 0.2 * math.sqrt(max(height, width)),
        "original": math.sqrt(max(1, height / width)),
    }[group["adjust_lr_fn"] or "original"]
    step = smooth + (rounded.to(smooth.dtype) - smooth).detach()
    return _shrunk(p, group) - group["lr"] * ratio * step, {"momentum_buffer": buffer}


def _orthogonal(matrix: Tensor, group: Group) -> Tensor:
    """Newton-Schulz iteration towards the nearest orthogonal matrix, as in torch's Muon."""
    a, b, c = group["ns_coefficients"]
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide


def _adamax(p: Tensor, g: Tensor, state: OptState, group: Group) -> tuple[Tensor, OptState]:
    g, count, (first_decay, max_decay) = _decayed(p, g, group), state["step"] + 1, group["betas"]
    first = torch.lerp(state["exp_avg"], g, 1 - first_decay)
    largest = torch.maximum(state["exp_inf"] * max_decay, g.abs() + group["eps"])
    size = group["lr"] / _one_minus_power(first_decay, count, p)
    return p - size * (first / largest), {"exp_avg": first, "exp_inf": largest, "step": count}


def _rmsprop(p: Tensor, g: Tensor, state: OptState, group: Group) -> tuple[Tensor, OptState]:
    g, decay = _decayed(p, g, group), group["alpha"]
    square = state["square_avg"] * decay + (1 - decay) * (g * g)
    state, variance = state | {"square_avg": square}, square
    if group["centered"]:
        state["grad_avg"] = torch.lerp(state["grad_avg"], g, 1 - decay)
        variance = square - state["grad_avg"].square()
    move = g / (_root(variance) + group["eps"])
    if group["momentum"] > 0:
        move = state["momentum_buffer"] = state["momentum_buffer"] * group["momentum"] + move
    return p - group["lr"] * move, state


def _adagrad(p: Tensor, g: Tensor, state: OptState, group: Group) -> tuple[Tensor, OptState]:
    g, count = _decayed(p, g, group), state["step"] + 1
    total = state["sum"] + g * g
    size = group["lr"] / (1 + (_in_dtype(count, p) - 1) * group["lr_decay"])
    return p - size * (g / (_root(total) + group["eps"])), {"sum": total, "step": count}


def _adadelta(p: Tensor, g: Tensor, state: OptState, group: Group) -> tuple[Tensor, OptState]:
    g, decay, epsilon = _decayed(p, g, group), group["rho"], group["eps"]
    square = state["square_avg"] * decay + (1 - decay) * (g * g)
    move = (state["acc_delta"] + epsilon).sqrt() / (square + epsilon).sqrt() * g
    moved = state["acc_delta"] * decay + (1 - decay) * (move * move)
    return p - group["lr"] * move, {"square_avg": square, "acc_delta": moved}


def _asgd(p: Tensor, g: Tensor, state: OptState, group: Group) -> tuple[Tensor, OptState]:
    """ASGD without the averages, on which no step depends."""
    g, count, size = _decayed(p, g, group), state["step"] + 1, _in_dtype(state["eta"], p)
    eta = group["lr"] / (1 + group["lambd"] * group["lr"] * _in_dtype(count, p)) ** group["alpha"]
    return p * (1 - group["lambd"] * size) - size * g, {"step": count, "eta": _in_dtype(eta, p)}


RULES: dict[type[torch.optim.Optimizer], UpdateRule] = {
    torch.optim.SGD: UpdateRule(_sgd, lambda group: ("momentum_buffer",) if group["momentum"] != 0 else ()),
    torch.optim.Adam: UpdateRule(
        _adam, lambda group: ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if group["amsgrad"] else ()))
    ),
    torch.optim.Adamax: UpdateRule(_adamax, lambda group: ("exp_avg", "exp_inf")),
    torch.optim.RMSprop: UpdateRule(
        _rmsprop,
        lambda group: (
            "square_avg",
            *(("grad_avg",) if group["centered"] else ()),
            *(("momentum_buffer",) if group["momentum"] > 0 else ()),
        ),
        numbers=(),
    ),
    torch.optim.Adagrad: UpdateRule(_adagrad, lambda group: ("sum",)),
    torch.optim.Adadelta: UpdateRule(_adadelta, lambda group: ("square_avg", "acc_delta"), numbers=()),
    torch.optim.ASGD: UpdateRule(_asgd, numbers=("step", "eta")),
    torch.optim.NAdam: UpdateRule(_nadam, lambda _: ("exp_avg", "exp_avg_sq"), ("step", "mu_product")),
    torch.optim.RAdam: UpdateRule(_radam, lambda group: ("exp_avg", "exp_avg_sq")),
    torch.optim.Adafactor: UpdateRule(
        _adafactor,
        factors=lambda p: (
            {"row_var": [*p.shape[:-1], 1], "col_var": [*p.shape[:-2], 1, p.shape[-1]]}
            if p.ndim > 1
            else {"variance": p.shape}
        ),
        decoupled=True,
    ),
}
"""Torch's optimizer -> its rule; a group's setting decouples Adam's weight decay."""
RULES[torch.optim.AdamW] = RULES[torch.optim.Adam]
if hasattr(torch.optim, "Muon"):  # since torch 2.9
    RULES[torch.optim.Muon] = UpdateRule(
        _muon, lambda group: ("momentum_buffer",), numbers=(), decoupled=True
    )


def _decayed(p: Tensor, g: Tensor, group: Group) -> Tensor:
    return g + group["weight_decay"] * p if group["weight_decay"] != 0 else g


def _shrunk(p: Tensor, group: Group) -> Tensor:
    """Decoupled weight decay."""
    return p * (1 - group["lr"] * group["weight_decay"]) if group["weight_decay"] != 0 else p


def _norm(values: Tensor) -> Tensor:
    return _root(values.square().sum())


def _root(square: Tensor) -> Tensor:
    """Square root with derivative 0 at 0."""
    return square.clamp(min=torch.finfo(square.dtype).tiny).sqrt()


def _descend(p: Tensor, move: Tensor, rate: float | Tensor) -> Tensor:
    """Descend, without a temporary product if the rate is a number."""
    return p - rate * move if isinstance(rate, Tensor) else torch.sub(p, move, alpha=rate)


def _in_dtype(number: Any, p: Tensor) -> Any:
    """A number, in a parameter's precision if it is a tensor."""
    return number.to(p.dtype) if isinstance(number, Tensor) else number


def _one_minus_power(decay: float, count: Any, p: Tensor) -> Any:
    if isinstance(count, Tensor):
        return -torch.expm1(count.to(p.dtype) * (math.log(decay) if decay > 0 else -math.inf))
    return 1 - decay**count
