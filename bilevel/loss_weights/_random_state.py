"""Global random streams (torch's, NumPy's, Python's): saved, restored, and seeded for validation losses."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

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
