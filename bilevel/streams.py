"""Streams of draws, named by numbers."""

from __future__ import annotations

import numpy as np
import torch


def stream(*numbers: int) -> torch.Generator:
    """The generator with this name, on the CPU; other numbers give independent draws.

    Args:
        numbers: whole numbers from 0, for instance a run's seed and a repetition.

    >>> bool(torch.equal(torch.rand(2, generator=stream(0, 1)), torch.rand(2, generator=stream(0, 1))))
    True
    """
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
