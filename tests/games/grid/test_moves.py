"""Who gets where: the rule by hand, and against a plain reading of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from games.grid._moves import resolve_moves

BY_HAND = {
    "the highest priority gets a contested cell": ([0, 2], [1, 1], [0.1, 0.9], [0, 1]),
    "the lower index wins a tie": ([0, 2], [1, 1], [0.5, 0.5], [1, 2]),
    "who stays keeps its cell": ([0, 1], [1, 1], [0.9, 0.1], [0, 1]),
    "two do not swap": ([0, 1], [1, 0], [0.1, 0.9], [0, 1]),
    "nobody slips into a swap": ([0, 1, 2], [1, 0, 1], [0.1, 0.2, 0.9], [0, 1, 2]),
    "a ring of three turns": ([0, 1, 2], [1, 2, 0], [0.1, 0.2, 0.9], [1, 2, 0]),
    "a queue moves up": ([0, 1, 2], [1, 2, 3], [0.1, 0.2, 0.9], [1, 2, 3]),
    "a queue waits for its head": ([0, 1, 2, 3], [1, 2, 3, 3], [0.1, 0.2, 0.3, 0.4], [0, 1, 2, 3]),
    "refusals run back": ([0, 1, 3], [1, 2, 2], [0.9, 0.1, 0.5], [0, 1, 2]),
    "nowhere is not contested": ([-1, 0, -1], [-1, 1, -1], [0.9, 0.1, 0.5], [-1, 1, -1]),
    "one may leave for nowhere": ([0, 1], [-1, 0], [0.9, 0.1], [-1, 0]),
    "an agent alone goes where it wants": ([4], [5], [0.5], [5]),
}


@pytest.mark.parametrize(("places", "wanted", "priority", "expected"), BY_HAND.values(), ids=BY_HAND.keys())
def test_by_hand(places: list[int], wanted: list[int], priority: list[float], expected: list[int]) -> None:
    found = resolve_moves(torch.tensor([places]), torch.tensor([wanted]), torch.tensor([priority]))
    assert found.tolist() == [expected]


def by_the_rule(places: list[int], wanted: list[int], priority: list[float]) -> list[int]:
    """The rule, one agent after the other."""
    agents = range(len(places))
    movers = {i for i in agents if wanted[i] != places[i]}
    movers -= {i for i in movers for j in agents if wanted[i] == places[j] and wanted[j] == places[i]}
    for cell in set(wanted):
        rivals = sorted((i for i in agents if wanted[i] == cell), key=lambda i: (-priority[i], i))
        movers -= set(rivals[1:])
    while held := {i for i in movers if wanted[i] in {places[j] for j in agents if j not in movers}}:
        movers -= held
    return [wanted[i] if i in movers else places[i] for i in agents]


@st.composite
def crowds(draw: st.DrawFn) -> tuple[list[int], list[int], list[float]]:
    """Up to seven agents on a ring of eight cells, who stay or take a step to either side."""
    count = draw(st.integers(1, 7))
    places = draw(st.permutations(range(8)))[:count]
    steps = draw(st.lists(st.sampled_from((-1, 0, 1)), min_size=count, max_size=count))
    ranks = draw(st.lists(st.sampled_from((0.25, 0.5, 0.75)), min_size=count, max_size=count))
    return places, [(place + step) % 8 for place, step in zip(places, steps, strict=True)], ranks


@given(crowd=crowds())
def test_against_the_rule_read_plainly(crowd: tuple[list[int], list[int], list[float]]) -> None:
    places, wanted, priority = crowd
    found = resolve_moves(torch.tensor([places]), torch.tensor([wanted]), torch.tensor([priority]))[
        0
    ].tolist()
    assert found == by_the_rule(places, wanted, priority)
    assert len(set(found)) == len(places)
