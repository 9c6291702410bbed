"""Random streams of learners: one for each random seed, purpose and outer step."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import torch
from torch import Tensor

from games.core import Streams, generators, require, stream

__all__ = ["Purpose", "first_draws", "random_seeds_of", "stream", "streams_of"]


class Purpose(IntEnum):
    """The purpose of a stream, whose name is (random seed, purpose, outer step)."""

    POLICIES = 0
    """New policies or value functions."""
    OUTER_VARIABLES = 1
    """The first outer variables."""
    MODELS = 2
    """The first models of other agents."""
    TRAINING = 3
    """All draws of an outer step."""
    BEGINNING = 4
    """Draws before the first outer step, for the state of an estimator."""
    EVALUATION = 5
    """Episodes that evaluate policies."""


def random_seeds_of(seed: int, seeds: int) -> Tensor:
    """The random seeds of a batch, int64 [seed]: member i is `seed` + i; ValueError beyond 0 to 2^63 - 1.

    >>> random_seeds_of(4, 3)
    tensor([4, 5, 6])
    """
    require(seed >= 0, f"seed must be 0 or more, not {seed}.")
    last = 2**63 - seeds
    require(
        seed <= last, f"{seeds} seeds can begin at {last} or below, not at {seed}: the last is below 2**63."
    )
    return torch.tensor(range(seed, seed + seeds), dtype=torch.int64)


def streams_of(
    random_seeds: Tensor, purpose: Purpose, outer_step: int | Tensor = 0, device: str | torch.device = "cpu"
) -> Streams:
    """The streams of random seeds, int64 [seed], for one purpose in one outer step, counted from 0."""
    name = int(purpose), int(outer_step)
    return Streams([(seed, *name) for seed in random_seeds.tolist()], device)


def first_draws(
    draw: Callable[[torch.Generator], Tensor], random_seeds: range, purpose: Purpose, outer_step: int = 0
) -> Tensor:
    """Draw once for each random seed from its own stream: [seed, ...].

    >>> draws = first_draws(lambda generator: torch.rand(2, generator=generator), range(3, 5), Purpose.MODELS)
    >>> draws.shape
    torch.Size([2, 2])
    """
    names = [(seed, int(purpose), outer_step) for seed in random_seeds]
    return torch.stack([draw(generator) for generator in generators(names)])
