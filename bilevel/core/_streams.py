"""Random streams of learners: one for each random seed, purpose and outer step."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import torch
from torch import Tensor

from games.core import Streams, generators, require, stream

__all__ = ["Purpose", "first_draws", "random_seeds_of", "stream", "streams_of"]


class Purpose(IntEnum):
    """The purpose of a random stream, whose name is (random seed, purpose, outer step).

    Draws for one purpose do not change those for another:

    >>> from bilevel.core import first_draws
    >>> def draw(generator):
    ...     return torch.rand(2, generator=generator)
    >>> policies, models = (first_draws(draw, range(1), each) for each in (Purpose.POLICIES, Purpose.MODELS))
    >>> torch.equal(policies, models), torch.equal(policies, first_draws(draw, range(1), Purpose.POLICIES))
    (False, True)
    """

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
    META_EPISODES = 6
    """Meta-episodes that evaluate meta-policies (`m-fos`)."""


def random_seeds_of(seed: int, seeds: int) -> Tensor:
    """List the random seeds of a batch: that of member i is `seed` + i.

    Args:
        seed: the first one, 0 or more.
        seeds: their number.

    Returns:
        int64 [seed].

    Raises:
        ValueError: `seed` is negative, or the last one is not below 2^63.

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
    """Create the random streams of a batch of seeds, for one purpose in one outer step.

    Args:
        random_seeds: int64 [seed], as from `random_seeds_of`.
        purpose: the purpose of the draws.
        outer_step: counted from 0.
        device: device of the draws.

    Returns:
        A generator that draws each seed's rows from its own stream, so that they do not depend on the others.

    >>> from bilevel.core import Purpose
    >>> from games.core import uniform
    >>> both, alone = (streams_of(torch.tensor(seeds), Purpose.TRAINING) for seeds in ([4, 5], [5]))
    >>> torch.equal(uniform((2, 3), both)[1:], uniform((1, 3), alone))
    True
    """
    name = int(purpose), int(outer_step)
    return Streams([(seed, *name) for seed in random_seeds.tolist()], device)


def first_draws(
    draw: Callable[[torch.Generator], Tensor], random_seeds: range, purpose: Purpose, outer_step: int = 0
) -> Tensor:
    """Draw once for each random seed, from its own stream.

    Args:
        draw: generator -> tensor, of one seed.
        random_seeds: the seeds.
        purpose: the purpose of the draws.
        outer_step: counted from 0.

    Returns:
        The draws, [seed, ...].

    >>> from bilevel.core import Purpose
    >>> draws = first_draws(lambda generator: torch.rand(2, generator=generator), range(3, 5), Purpose.MODELS)
    >>> draws.shape
    torch.Size([2, 2])
    """
    names = [(seed, int(purpose), outer_step) for seed in random_seeds]
    return torch.stack([draw(generator) for generator in generators(names)])
