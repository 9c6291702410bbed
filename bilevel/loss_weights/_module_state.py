"""State outside of parameters and buffers, saved and restored: random streams, plain attributes."""

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

MAX_ENTRIES = 2**20
"""Tensors and containers with more entries than this are saved by reference alone."""
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""Attributes that torch gives every module; parameters and buffers are seen to elsewhere."""

Place = tuple[nn.Module, str]
"""A module and the name of its parameter, buffer or attribute."""
AttributeValues = dict[Place, Any]
"""Copies of attributes that can be compared."""
Restore = Callable[[], None]


class Attributes:
    """The plain attributes of modules, as they were.

    Tensors, arrays, numbers, strings, and lists, dictionaries, sets and deques of these are saved by value,
    random generators by their state, and whatever else by reference. Of torch's own modules, which keep no
    such state, the mode is saved, and what recurrent ones list.

    Args:
        modules: each once.

    >>> layer = nn.Identity()
    >>> saved = Attributes([layer])
    >>> _ = layer.eval()
    >>> saved.restore()
    >>> layer.training
    True
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
        """Bring them back; this can be called again."""
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
        """Copies of the same modules' attributes as they are now, as far as they can be compared."""
        found: AttributeValues = {(module, "training"): module.training for module, _ in self._modes}
        for module, *_ in self._plain:
            for name, value in vars(module).items():
                if name not in _OF_EVERY_MODULE:
                    found[module, name] = _comparable(value)
        return found


def differing(one: AttributeValues, other: AttributeValues) -> list[Place]:
    """The attributes whose values differ."""
    return [place for place in {**one, **other} if not _same(one.get(place), other.get(place))]


def optimizer_snapshot(optimizer: torch.optim.Optimizer) -> Restore:
    """Save an optimizer's parameters and state; the function that is returned brings them back.

    >>> p = nn.Parameter(torch.ones(1))
    >>> adam = torch.optim.Adam([p])
    >>> restore = optimizer_snapshot(adam)
    >>> p.grad = torch.ones(1)
    >>> adam.step()
    >>> restore()
    >>> p.item(), len(adam.state)
    (1.0, 0)
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    values = [p.detach().clone() for p in parameters]
    states = [
        {
            name: each.clone() if isinstance(each, Tensor) else each
            for name, each in optimizer.state[p].items()
        }
        if p in optimizer.state
        else None
        for p in parameters
    ]

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


def _keeps_attributes(module: nn.Module) -> bool:
    """Whether a module may keep state of its own: it is not one of torch's, or it is a recurrent one."""
    return (
        not type(module).__module__.startswith("torch.nn.")
        or isinstance(module, nn.RNNBase)
        or bool(module._forward_pre_hooks)
    )


def _contents(values: Iterable[Any]) -> list[Restore]:
    """Functions that bring back what objects hold, of those that can change and are known."""
    return [restore for value in values if (restore := _content(value)) is not None]


def _content(value: Any) -> Restore | None:
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, np.ndarray) and value.size <= MAX_ENTRIES:
        copied = value.copy()
        return lambda: np.copyto(value, copied)
    if isinstance(value, list | dict | set | deque) and len(value) <= MAX_ENTRIES:
        return _container(value)
    if isinstance(value, tuple) and (inside := _contents(value)):

        def restore() -> None:
            for each in inside:
                each()

        return restore
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
    inside = _contents(copied.values() if isinstance(copied, dict) else copied)

    def restore() -> None:
        value.clear()
        if isinstance(value, dict | set):
            value.update(copied)
        else:
            value.extend(copied)
        for each in inside:
            each()

    return restore


def _comparable(value: Any) -> Any:
    """A copy that can be compared; None for what cannot."""
    if isinstance(value, Tensor):
        return None if value.numel() > MAX_ENTRIES else value.detach().clone()
    if isinstance(value, dict) and len(value) <= MAX_ENTRIES:
        return {key: _comparable(each) for key, each in value.items()}
    if isinstance(value, list | tuple | deque) and len(value) <= MAX_ENTRIES:
        return [_comparable(each) for each in value]
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


_GOLDEN = 0x9E3779B9
"""An odd number near 2^32 divided by the golden ratio: its multiples modulo 2^32 are all different."""


@dataclass(frozen=True, eq=False)
class RandomState:
    """The state of every global random stream; a single leaf of a tree."""

    cpu: Tensor
    devices: dict[torch.device, Tensor]
    """Of torch on each accelerator in use."""
    numpy: dict[str, Any]
    python: tuple[Any, ...]


def random_state(devices: Iterable[torch.device] = ()) -> RandomState:
    """Save the state of the random streams, those of accelerators too.

    >>> start = random_state()
    >>> first = torch.rand(()), np.random.rand(), random.random()
    >>> set_random_state(start)
    >>> (torch.rand(()), np.random.rand(), random.random()) == first
    True
    """
    on_devices = {device: torch.get_device_module(device).get_rng_state(device) for device in devices}
    numpy: Any = np.random.get_state(legacy=False)
    return RandomState(torch.get_rng_state(), on_devices, numpy, random.getstate())


def set_random_state(state: RandomState) -> None:
    """Put the random streams back to where they were."""
    torch.set_rng_state(state.cpu)
    for device, on_device in state.devices.items():
        torch.get_device_module(device).set_rng_state(on_device, device)
    np.random.set_state(state.numpy)
    random.setstate(state.python)


@contextmanager
def fork_random_state(start: RandomState) -> Iterator[None]:
    """Draw from a saved state inside, and leave the streams where they were."""
    before = random_state(start.devices)
    set_random_state(start)
    try:
        yield
    finally:
        set_random_state(before)


def validation_seed() -> int:
    """Derive a seed, below 2^32, from torch's stream on the CPU, which stays where it is."""
    copied = torch.Generator()
    copied.set_state(torch.get_rng_state())
    return int(torch.randint(2**32, (), generator=copied))


def seed_validation(seed: int, step: int, devices: Iterable[torch.device] = ()) -> None:
    """Seed the random streams for the validation loss of an outer step: a different place for every step.

    If validation drew from the training stream, it would see the same minibatch in every step of a loop whose
    training draws nothing. So it has a stream of its own: every evaluation within an outer step draws the
    same, and those of another step differ.
    """
    mixed = (seed + _GOLDEN * step) % 2**32
    torch.default_generator.manual_seed(mixed)
    for device in devices:
        state = torch.Generator(device).manual_seed(mixed).get_state()
        torch.get_device_module(device).set_rng_state(state, device)
    np.random.seed(mixed)
    random.seed(mixed)
