"""Global random streams: torch's, NumPy's and Python's, saved, restored, and seeded for validation losses."""

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
class Draws:
    """The state of every global random stream; one leaf of a tree, not a nest of tensors."""

    cpu: Tensor
    """Of torch on the CPU."""
    devices: dict[torch.device, Tensor]
    """Of torch on each accelerator that is watched."""
    numpy: dict[str, Any]
    """Of `np.random`."""
    python: tuple[Any, ...]
    """Of the module `random`."""


def draws_now(devices: Iterable[torch.device] = ()) -> Draws:
    """Save the state of the random streams.

    Args:
        devices: accelerators whose streams are watched, beside the CPU's.

    >>> start = draws_now()
    >>> first = torch.rand(()), np.random.rand(), random.random()
    >>> draw_from(start)
    >>> (torch.rand(()), np.random.rand(), random.random()) == first
    True
    """
    on_devices = {device: torch.get_device_module(device).get_rng_state(device) for device in devices}
    numpy: Any = np.random.get_state(legacy=False)
    return Draws(torch.get_rng_state(), on_devices, numpy, random.getstate())


def draw_from(draws: Draws) -> None:
    """Put the random streams back to where they were."""
    torch.set_rng_state(draws.cpu)
    for device, state in draws.devices.items():
        torch.get_device_module(device).set_rng_state(state, device)
    np.random.set_state(draws.numpy)
    random.setstate(draws.python)


@contextmanager
def drawing_from(start: Draws) -> Iterator[None]:
    """Draw from a saved state inside, and leave the streams where they were."""
    before = draws_now(start.devices)
    draw_from(start)
    try:
        yield
    finally:
        draw_from(before)


def validation_seed() -> int:
    """Derive a seed, below 2^32, from torch's stream on the CPU, which stays where it is."""
    copied = torch.Generator()
    copied.set_state(torch.get_rng_state())
    return int(torch.randint(2**32, (), generator=copied))


def seed_validation(seed: int, step: int, devices: Iterable[torch.device] = ()) -> None:
    """Seed the random streams for the validation loss of an outer step: another place for every step.

    Training draws what it draws in a plain loop if the streams are put back to where it left them. A
    validation loss that drew from there, too, would see the same minibatch in every step of a loop whose
    training draws nothing. So validation draws from a stream of its own, which a seed and the number of the
    step name: every evaluation within an outer step draws the same, and those of another step differ.

    Args:
        seed: of the run, as `validation_seed` gives it.
        step: number of the outer step.
        devices: accelerators whose streams are seeded, beside the CPU's.
    """
    mixed = (seed + _GOLDEN * step) % 2**32
    torch.default_generator.manual_seed(mixed)
    for device in devices:
        state = torch.Generator(device).manual_seed(mixed).get_state()
        torch.get_device_module(device).set_rng_state(state, device)
    np.random.seed(mixed)
    random.seed(mixed)
