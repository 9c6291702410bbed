"""The replay buffer: the latest items of each seed, in their order, and draws of what is there alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bilevel.agents import ReplayBuffer, add, draw, empty_replay_buffer, split
from bilevel.agents._q_learning import capacity_of


def kept(buffer: ReplayBuffer) -> list[list[float]]:
    """What each seed's buffer holds, oldest first."""
    capacity, found = capacity_of(buffer), []
    for items, written in zip(buffer.items.tolist(), buffer.written.tolist(), strict=True):
        first = max(0, written - capacity)
        found.append([items[number % capacity] for number in range(first, written)])
    return found


@given(
    rounds=st.lists(st.lists(st.booleans(), min_size=2, max_size=8), max_size=6), capacity=st.integers(4, 9)
)
def test_a_ring_holds_the_latest_of_each_seed(rounds: list[list[bool]], capacity: int) -> None:
    """Against lists: two seeds take turns in what they keep; numbers name the items."""
    buffer = empty_replay_buffer(torch.zeros(2, 1, dtype=torch.float64), capacity)
    expected: list[list[float]] = [[], []]
    number = 0.0
    for wanted in rounds:
        keep = torch.tensor([wanted, [not each for each in wanted]])[:, :capacity]
        items = number + 1 + torch.arange(keep.numel(), dtype=torch.float64).reshape(keep.shape)
        number += keep.numel()
        before = buffer.items.clone(), buffer.written.clone()
        after = add(buffer, items, keep)
        assert torch.equal(buffer.items, before[0])  # a new buffer
        assert torch.equal(buffer.written, before[1])
        buffer = after
        for seed in range(2):
            expected[seed] += items[seed][keep[seed]].tolist()
    assert kept(buffer) == [each[-capacity:] for each in expected]
    assert buffer.written.tolist() == [len(each) for each in expected]
    assert not buffer.items[:, -1].any()  # what was not kept left nothing, whatever it was


def test_items_of_any_shape_stay_together() -> None:
    items = {"a": torch.arange(6).reshape(1, 3, 2), "b": torch.tensor([[0.5, 1.5, 2.5]]), "none": None}
    buffer = add(empty_replay_buffer(items, 5), items, torch.tensor([[True, False, True]]))
    drawn = draw(buffer, 50, torch.Generator().manual_seed(0))
    assert drawn["a"].dtype == torch.int64
    pairs = {(tuple(a.tolist()), float(b)) for a, b in zip(drawn["a"][0], drawn["b"][0], strict=True)}
    assert pairs == {((0, 1), 0.5), ((4, 5), 2.5)}


def test_all_that_is_there_is_drawn_alike() -> None:
    keep = torch.tensor([[True] * 4, [True, True, False, False]])
    items = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]])
    drawn = draw(add(empty_replay_buffer(items, 10), items, keep), 40_000, torch.Generator().manual_seed(0))
    for seed, numbers in enumerate(([0, 1, 2, 3], [4, 5])):
        found, counts = drawn[seed].unique(return_counts=True)
        assert found.tolist() == numbers
        part = 1 / len(numbers)
        deviation = (part * (1 - part) / 40_000) ** 0.5
        assert (counts / 40_000 - part).abs().max() < 4 * deviation


def test_batches_are_all_of_what_was_drawn() -> None:
    items = torch.arange(12).reshape(1, 6, 2)
    assert torch.equal(torch.cat(list(split(items, 2)), 1), items)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="holds 1 item or more, not 0"):
        empty_replay_buffer(torch.zeros(1, 1), 0)
    with pytest.raises(ValueError, match="A replay buffer of 2 items cannot take 3 at once"):
        add(empty_replay_buffer(torch.zeros(1, 1), 2), torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool))
