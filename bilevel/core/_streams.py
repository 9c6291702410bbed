"""Random streams of learners: each random seed has one for each purpose and each outer step."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import torch
from torch import Tensor

from games.core import Streams, generators, require, stream

__all__ = ["Purpose", "first_draws", "random_seeds_of", "stream", "streams_of"]


class Purpose(IntEnum):
    """What a stream is for; its name is (random seed, purpose, outer step)."""

    POLICIES = 0
    """Policies, or values, that are new."""
    OUTER_VARIABLES = 1
    """The first outer variables."""
    MODELS = 2
    """The first models of other agents."""
    TRAINING = 3
    """Everything that an outer step draws."""
    BEGINNING = 4
    """What is drawn before the first outer step, by estimators that remember."""
    EVALUATION = 5
    """Episodes on which policies are measured beside their training."""


def random_seeds_of(seed: int, seeds: int) -> Tensor:
    """The random seeds of a batch: member i is `seed` + i. int64 [seed].

    Raises:
        ValueError: one of them would be below 0, or not fit into 64 bits.

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
    """The streams of some random seeds, for one purpose in one outer step.

    Args:
        random_seeds: int64 [seed].
        purpose: what they are for.
        outer_step: counted from 0.
        device: where they draw.
    """
    name = int(purpose), int(outer_step)
    return Streams([(seed, *name) for seed in random_seeds.tolist()], device)


def first_draws(
    draw: Callable[[torch.Generator], Tensor], random_seeds: range, purpose: Purpose, outer_step: int = 0
) -> Tensor:
    """Draw something for each random seed from its own stream, and stack it: [seed, ...].

    >>> draws = first_draws(lambda generator: torch.rand(2, generator=generator), range(3, 5), Purpose.MODELS)
    >>> draws.shape
    torch.Size([2, 2])
    """
    names = [(seed, int(purpose), outer_step) for seed in random_seeds]
    return torch.stack([draw(generator) for generator in generators(names)])
