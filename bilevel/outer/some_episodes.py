"""A part of the episodes that happened, so that what judges all of them need not hold all at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from bilevel.outer.transfer import Happened


@dataclass(frozen=True, eq=False)
class SomeEpisodes:
    """Some of the episodes; see `Happened`."""

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    alive: Tensor
    neighbours: Tensor | None
    legal: Tensor | None


def in_parts(happened: Happened, episodes: int) -> Iterator[Happened]:
    """Take what happened apart: so many episodes at a time, and in the end the rest.

    Args:
        happened: [..., episode, ...].
        episodes: of one part, 1 or more.
    """
    total = happened.actions.shape[-1]
    for start in range(0, total, episodes):
        part = slice(start, start + episodes)
        neighbours, legal = happened.neighbours, happened.legal
        yield SomeEpisodes(
            observations=happened.observations[:, :, :, part],
            actions=happened.actions[..., part],
            rewards=happened.rewards[..., part],
            alive=happened.alive[..., part],
            neighbours=None if neighbours is None else neighbours[..., part],
            legal=None if legal is None else legal[:, :, :, part],
        )
