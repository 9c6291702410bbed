"""State that modules keep in plain attributes: hidden states, counters, lists, and train or eval mode."""

from __future__ import annotations

import functools
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LARGEST = 2**20
"""Tensors and containers with more entries than this are remembered by reference alone."""

_TORCHS = frozenset(vars(nn.Module()))
"""Attributes of every module; parameters and buffers are seen to elsewhere."""

Restore = Callable[[], None]


class Attributes:
    """The plain attributes of modules, as they were.

    Tensors, numbers, strings, arrays, and lists, dictionaries, sets and deques of these are remembered by
    value, generators of random numbers by their state, and whatever else an attribute may be by reference.
    Of torch's own modules, which keep no such state, the mode is remembered, and what recurrent ones list.

    Args:
        modules: each once.

    >>> layer = nn.Identity()
    >>> kept = Attributes([layer])
    >>> _ = layer.eval()
    >>> kept.restore()
    >>> layer.training
    True
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._modes: list[tuple[nn.Module, bool]] = []
        self._plain: list[tuple[nn.Module, dict[str, Any], dict[str, Restore]]] = []
        for module in modules:
            self._modes.append((module, module.training))
            if keeps_attributes(module):
                kept = {name: value for name, value in vars(module).items() if name not in _TORCHS}
                inside = {
                    name: found for name, value in kept.items() if (found := _inside(value)) is not None
                }
                self._plain.append((module, kept, inside))

    def restore(self) -> None:
        """Bring them back; this can be called again."""
        for module, mode in self._modes:
            if module.training is not mode:
                module.training = mode
        for module, kept, inside in self._plain:
            held = vars(module)
            for name in [name for name in held if name not in kept and name not in _TORCHS]:
                del held[name]
            held.update(kept)
            for each in inside.values():
                each()

    def now(self) -> dict[tuple[nn.Module, str], Any]:
        """Copies of all that the modules' attributes are now, as far as they can be compared."""
        found: dict[tuple[nn.Module, str], Any] = {
            (module, "training"): module.training for module, _ in self._modes
        }
        for module, *_ in self._plain:
            for name, value in vars(module).items():
                if name not in _TORCHS:
                    found[module, name] = _copied(value)
        return found


def differing(
    one: dict[tuple[nn.Module, str], Any], other: dict[tuple[nn.Module, str], Any]
) -> list[tuple[nn.Module, str]]:
    """The attributes whose values differ."""
    return [place for place in {**one, **other} if not _same(one.get(place), other.get(place))]


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return None if value.numel() > LARGEST else value.detach().clone()
    if isinstance(value, dict) and len(value) <= LARGEST:
        return {key: _copied(each) for key, each in value.items()}
    if isinstance(value, list | tuple | deque) and len(value) <= LARGEST:
        return [_copied(each) for each in value]
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy()) if value.dtype.kind in "fiub" else None
    return value if isinstance(value, bool | int | float | str | bytes | set) else None


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)


def outer_now(optimizer: torch.optim.Optimizer) -> Restore:
    """Remember an optimizer's parameters and its state; the function that is returned brings them back.

    >>> p = nn.Parameter(torch.ones(1))
    >>> adam = torch.optim.Adam([p])
    >>> restore = outer_now(adam)
    >>> p.grad = torch.ones(1)
    >>> adam.step()
    >>> restore()
    >>> p.item(), len(adam.state)
    (1.0, 0)
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    values = [p.detach().clone() for p in parameters]
    states = [dict(optimizer.state[p]) if p in optimizer.state else None for p in parameters]
    for state in states:
        for name, each in (state or {}).items():
            if isinstance(each, Tensor):
                state[name] = each.clone()  # type: ignore[index]

    def restore() -> None:
        with torch.no_grad():
            for p, value, state in zip(parameters, values, states, strict=True):
                p.copy_(value)
                p.grad = None
                if state is None:
                    optimizer.state.pop(p, None)
                else:
                    optimizer.state[p] = state

    return restore


def keeps_attributes(module: nn.Module) -> bool:
    """Whether a module may keep state of its own: it is not one of torch's, or it is a recurrent one."""
    return (
        not type(module).__module__.startswith("torch.nn.")
        or isinstance(module, nn.RNNBase)
        or bool(module._forward_pre_hooks)
    )


def _inside(value: Any) -> Restore | None:
    """How to bring back what an object holds; None: it cannot change, or nothing is known of it."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return None
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, list | dict | set | deque) and len(value) <= LARGEST:
        return _container(value)
    if isinstance(value, tuple):
        return _all(_found(value))
    if isinstance(value, torch.Generator):
        return functools.partial(_set_state, value, value.get_state())
    if isinstance(value, np.random.Generator):
        bits, where = value.bit_generator, value.bit_generator.state
        return lambda: setattr(bits, "state", where)
    if isinstance(value, random.Random):
        drawn = value.getstate()
        return lambda: value.setstate(drawn)
    return None


def _set_state(generator: torch.Generator, state: Tensor) -> None:
    generator.set_state(state)


def _tensor(value: Tensor) -> Restore | None:
    if value.numel() > LARGEST or value.is_inference() or isinstance(value, nn.Parameter):
        return None
    version, copied = value._version, value.detach().clone()

    def restore() -> None:
        if value._version != version:
            with torch.no_grad():
                value.copy_(copied)

    return restore


def _array(value: np.ndarray) -> Restore | None:
    if value.size > LARGEST:
        return None
    copied = value.copy()
    return lambda: np.copyto(value, copied)


def _container(value: Any) -> Restore:
    copied = value.copy()
    inside = _found(copied.values() if isinstance(copied, dict) else copied)

    def restore() -> None:
        value.clear()
        if isinstance(value, dict | set):
            value.update(copied)
        else:
            value.extend(copied)
        for each in inside:
            each()

    return restore


def _found(values: Iterable[Any]) -> list[Restore]:
    return [found for value in values if (found := _inside(value)) is not None]


def _all(inside: list[Restore]) -> Restore | None:
    def restore() -> None:
        for each in inside:
            each()

    return restore if inside else None
