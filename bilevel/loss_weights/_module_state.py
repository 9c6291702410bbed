"""Snapshots of state besides parameters and buffers: random streams, plain attributes."""

from __future__ import annotations

import functools
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MAX_ENTRIES = 2**20  # tensors and containers with more entries than this are saved by reference alone
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))  # attributes that torch gives every module

Place = tuple[nn.Module, str]  # A module and the name of its parameter, buffer or attribute
AttributeValues = dict[Place, Any]  # comparable copies of attributes
Restore = Callable[[], None]


class Attributes:
    """A snapshot of modules' plain attributes.

    Tensors, arrays, numbers, strings, and lists, dictionaries, sets and deques of these are saved by value,
    random generators by their state, everything else by reference. For torch's own modules, without such
    state, only the mode is saved, and the lists of recurrent ones.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._modes: list[tuple[nn.Module, bool]] = []
        self._plain: list[tuple[nn.Module, dict[str, Any], list[Restore]]] = []
        for module in modules:
            self._modes.append((module, module.training))
            if _keeps_attributes(module):
                saved = {name: value for name, value in vars(module).items() if name not in _OF_EVERY_MODULE}
                self._plain.append((module, saved, _contents(saved.values())))

    def restore(self) -> None:
        """Restore the attributes; can be called again."""
        for module, mode in self._modes:
            if module.training is not mode:
                module.training = mode
        for module, saved, contents in self._plain:
            now = vars(module)
            for name in [name for name in now if name not in saved and name not in _OF_EVERY_MODULE]:
                del now[name]
            now.update(saved)
            for restore in contents:
                restore()

    def now(self) -> AttributeValues:
        """Copy the same modules' current attributes, as far as they can be compared."""
        values: AttributeValues = {(module, "training"): module.training for module, _ in self._modes}
        for module, *_ in self._plain:
            for name, value in vars(module).items():
                if name not in _OF_EVERY_MODULE:
                    values[module, name] = _comparable(value)
        return values


def differing(one: AttributeValues, other: AttributeValues) -> list[Place]:
    """The attributes whose values differ."""
    return [place for place in {**one, **other} if not same(one.get(place), other.get(place))]


def optimizer_snapshot(optimizer: torch.optim.Optimizer) -> Restore:
    """Save an optimizer's parameters and state; the returned function restores them."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    values = [p.detach().clone() for p in parameters]
    states = {
        p: {name: each.clone() if isinstance(each, Tensor) else each for name, each in state.items()}
        for p, state in optimizer.state.items()
    }

    def restore() -> None:
        with torch.no_grad():
            for p, value in zip(parameters, values, strict=True):
                p.copy_(value)
                p.grad = None
        optimizer.state.clear()
        optimizer.state.update(states)

    return restore


def _keeps_attributes(module: nn.Module) -> bool:
    """True if a module may have state of its own: any but torch's own, and recurrent ones."""
    return (
        not type(module).__module__.startswith("torch.nn.")
        or isinstance(module, nn.RNNBase)
        or bool(module._forward_pre_hooks)
    )


def _contents(values: Iterable[Any]) -> list[Restore]:
    """Functions that restore the contents of mutable objects of known types."""
    return [restore for value in values if (restore := _content(value)) is not None]


def _content(value: Any) -> Restore | None:
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, np.ndarray) and value.size <= MAX_ENTRIES:
        return functools.partial(np.copyto, value, value.copy())
    if isinstance(value, list | dict | set | deque) and len(value) <= MAX_ENTRIES:
        return _container(value)
    if isinstance(value, tuple) and (contents := _contents(value)):

        def restore() -> None:
            for each in contents:
                each()

        return restore
    if isinstance(value, torch.Generator):
        return functools.partial(value.set_state, value.get_state())  # type: ignore[return-value]
    if isinstance(value, np.random.Generator):
        return functools.partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    if isinstance(value, random.Random):
        return functools.partial(value.setstate, value.getstate())
    return None


def _tensor(value: Tensor) -> Restore | None:
    if value.numel() > MAX_ENTRIES or value.is_inference() or isinstance(value, nn.Parameter):
        return None
    version, copied = value._version, value.detach().clone()

    def restore() -> None:
        if value._version != version:
            with torch.no_grad():
                value.copy_(copied)

    return restore


def _container(value: Any) -> Restore:
    copied = value.copy()
    contents = _contents(copied.values() if isinstance(copied, dict) else copied)

    def restore() -> None:
        value.clear()
        if isinstance(value, dict | set):
            value.update(copied)
        else:
            value.extend(copied)
        for each in contents:
            each()

    return restore


def _comparable(value: Any) -> Any:
    """A comparable copy; None where there is none."""
    if isinstance(value, Tensor):
        return None if value.numel() > MAX_ENTRIES else value.detach().clone()
    if isinstance(value, dict) and len(value) <= MAX_ENTRIES:
        return {key: _comparable(each) for key, each in value.items()}
    if isinstance(value, list | tuple | deque) and len(value) <= MAX_ENTRIES:
        return [_comparable(each) for each in value]
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy()) if value.dtype.kind in "fiub" else None
    return value if isinstance(value, bool | int | float | str | bytes | set) else None


def same(one: Any, other: Any) -> bool:
    """True if two values have the same type, and all their tensors and other leaves are equal."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


@dataclass(frozen=True, eq=False)
class RandomState:
    """State of torch's, NumPy's and Python's global random streams; a single leaf of a tree."""

    cpu: Tensor
    devices: dict[torch.device, Tensor]
    numpy: dict[str, Any]
    python: tuple[Any, ...]


def random_state(devices: Iterable[torch.device] = ()) -> RandomState:
    """Save the state of the random streams, also of accelerators."""
    on_devices = {device: torch.get_device_module(device).get_rng_state(device) for device in devices}
    numpy: Any = np.random.get_state(legacy=False)
    return RandomState(torch.get_rng_state(), on_devices, numpy, random.getstate())


def set_random_state(state: RandomState) -> None:
    """Restore the random streams."""
    torch.set_rng_state(state.cpu)
    for device, on_device in state.devices.items():
        torch.get_device_module(device).set_rng_state(on_device, device)
    np.random.set_state(state.numpy)
    random.setstate(state.python)


@contextmanager
def fork_random_state(start: RandomState) -> Iterator[None]:
    """Draw from a saved state in this context, and restore the streams afterwards."""
    before = random_state(start.devices)
    set_random_state(start)
    try:
        yield
    finally:
        set_random_state(before)


def validation_seed() -> int:
    """Derive a seed below 2^32 from torch's CPU stream, without advancing it."""
    return int(torch.randint(2**32, (), generator=torch.default_generator.clone_state()))


def seed_validation(seed: int, step: int, devices: Iterable[torch.device] = ()) -> None:
    """Seed the random streams for the validation loss of an outer step, differently for every step.

    Drawing from the training stream, it would get the same minibatch in every step if training draws nothing.
    """
    mixed = (seed + 0x9E3779B9 * step) % 2**32  # 2^32 / golden ratio, odd: all multiples mod 2^32 differ
    torch.default_generator.manual_seed(mixed)
    for device in devices:
        state = torch.Generator(device).manual_seed(mixed).get_state()
        torch.get_device_module(device).set_rng_state(state, device)
    np.random.seed(mixed)
    random.seed(mixed)
