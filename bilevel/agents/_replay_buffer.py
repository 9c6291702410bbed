"""Replay buffers: the latest items of each seed, in a ring of fixed size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.core import Tree, leaves, tree_map
from games.core import require, uniform


class ReplayBuffer(NamedTuple):
    """The latest items of each seed; the oldest make room for new ones."""

    items: Tree
    """A nest of tensors [seed, capacity + 1, ...]; what is not kept is laid, as 0, on the last place."""
    written: Tensor
    """How many items were ever kept, int64 [seed]."""


def empty_replay_buffer(example: Tree, capacity: int) -> ReplayBuffer:
    """A buffer that holds nothing yet.

    Args:
        example: a nest of tensors [seed, sample, ...] of the kind that will be kept.
        capacity: items for each seed, 1 or more.

    Raises:
        ValueError: the capacity is below 1.

    >>> empty_replay_buffer(torch.zeros(2, 5, 3), capacity=4).items.shape
    torch.Size([2, 5, 3])
    """
    require(capacity >= 1, f"A replay buffer holds 1 item or more, not {capacity}.")

    def room(leaf: Tensor) -> Tensor:
        return leaf.new_zeros(leaf.shape[0], capacity + 1, *leaf.shape[2:])

    seeds = leaves(example)[0]
    return ReplayBuffer(
        tree_map(room, example), torch.zeros(len(seeds), dtype=torch.int64, device=seeds.device)
    )


def capacity_of(buffer: ReplayBuffer) -> int:
    """How many items a buffer holds of each seed when it is full."""
    return int(leaves(buffer.items)[0].shape[1]) - 1


def add(buffer: ReplayBuffer, items: Tree, keep: Tensor) -> ReplayBuffer:
    """Keep items, in their order, each seed its own number of them; the buffer passed in is not changed.

    Args:
        buffer: where.
        items: a nest of tensors [seed, sample, ...].
        keep: which of them, boolean [seed, sample].

    Raises:
        ValueError: there are more samples than the buffer holds.

    >>> keep = torch.tensor([[True, False, True], [True, True, True]])
    >>> items = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    >>> buffer = add(empty_replay_buffer(torch.zeros(2, 1), 3), items, keep)
    >>> buffer.items[:, :-1].tolist(), buffer.written.tolist()
    ([[1.0, 3.0, 0.0], [4.0, 5.0, 6.0]], [2, 3])
    """
    capacity, samples = capacity_of(buffer), keep.shape[1]
    require(samples <= capacity, f"A replay buffer of {capacity} items cannot take {samples} at once.")
    place = (buffer.written[:, None] + keep.long().cumsum(1) - 1) % capacity
    place = torch.where(keep, place, capacity)
    seed = torch.arange(len(keep), device=keep.device)[:, None]

    def put(old: Tensor, new: Tensor) -> Tensor:
        kept = keep.reshape(*keep.shape, *[1] * (new.ndim - 2))
        return old.index_put((seed, place), torch.where(kept, new, torch.zeros_like(new)))

    return ReplayBuffer(tree_map(put, buffer.items, items), buffer.written + keep.sum(1))


def draw(buffer: ReplayBuffer, samples: int, generator: torch.Generator) -> Tree:
    """Draw items at random, all that are there alike, with replacement: a nest of [seed, sample, ...].

    Args:
        buffer: holds an item of each seed at least.
        samples: how many for each seed.
        generator: the source of the draws, on the buffer's device.

    >>> buffer = add(empty_replay_buffer(torch.zeros(1, 1), 8), torch.tensor([[7.0]]), torch.tensor([[True]]))
    >>> draw(buffer, 3, torch.Generator())
    tensor([[7., 7., 7.]])
    """
    there = buffer.written.clamp(max=capacity_of(buffer))[:, None]
    size = (len(buffer.written), samples)
    place = (uniform(size, generator, torch.float64) * there).long().minimum(there - 1)
    seed = torch.arange(size[0], device=there.device)[:, None]
    return tree_map(lambda leaf: leaf[seed, place], buffer.items)


def split(items: Tree, size: int) -> Iterator[Tree]:
    """Cut a nest of [seed, sample, ...] into batches of so many samples.

    >>> [batch.tolist() for batch in split(torch.arange(4)[None], 2)]
    [[[0, 1]], [[2, 3]]]
    """
    for start in range(0, leaves(items)[0].shape[1], size):
        yield tree_map(lambda leaf, start=start: leaf[:, start : start + size], items)
