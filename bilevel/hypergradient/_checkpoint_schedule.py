"""Which states a walk back keeps, and which it computes again: schedules of checkpoints.

A walk back over n steps needs the state at the start of each, the last one first. A plan says at which of
them a state is kept on the way forward. What lies between two kept states is a segment: when the walk comes
to it, it is run again from its start, by a plan of its own for fewer steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from games.core import require

PASSES = 5
"""How often a `Binomial` plan that `fit` chooses may take a step forward, the first time included."""


class Plan(Protocol):
    """Where states are kept in a run of steps, counted from its start."""

    @property
    def length(self) -> int:
        """How many steps."""

    @property
    def starts(self) -> Sequence[int]:
        """The steps before which the state is kept, ascending; the first is 0."""

    def inside(self, place: int) -> Plan:
        """Plan the segment that begins at `starts[place]`; one of a single step needs no further state."""


@dataclass(frozen=True)
class Even:
    """Segments of one length, each cut into segments of one smaller length, and so on.

    >>> list(Even(10, (4, 1)).starts), Even(10, (4, 1)).inside(2)
    ([0, 4, 8], Even(length=2, spans=(1,)))
    """

    length: int
    """How many steps, at least 1."""
    spans: tuple[int, ...]
    """The lengths of segments from the outermost in, decreasing to 1."""

    @property
    def starts(self) -> range:
        """See `Plan`, as for `inside`."""
        return range(0, self.length, self.spans[0])

    def inside(self, place: int) -> Even:
        """The segment, cut by the smaller lengths."""
        return Even(min(self.spans[0], self.length - self.starts[place]), self.spans[1:])


@dataclass(frozen=True)
class Binomial:
    """The fewest steps taken again with a given number of states kept.

    If no step may be taken forward more than r times, c kept states reach (c + r choose c) steps; segments
    are cut where the first part comes out with r - 1 and the rest with c - 1.

    Source:
        Griewank and Walther, Algorithm 799: revolve, ACM Transactions on Mathematical Software 26, 2000.

    >>> Binomial(6, 2).starts  # two kept, the last one in hand; each step is taken once or twice
    (0, 3, 5)
    """

    length: int
    """How many steps, at least 1."""
    slots: int
    """How many states may be kept at once, that of the start included and the one in hand not; at least 1,
    or 0 with a single step."""

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """See `Plan`, as for `inside`."""
        found, slots = [0], self.slots
        while self.length - found[-1] > 1:
            found.append(found[-1] + _first_part(self.length - found[-1], slots))
            slots -= 1
        return tuple(found)

    def inside(self, place: int) -> Binomial:
        """The segment, with the slots that the states before it leave."""
        ends = (*self.starts[1:], self.length)
        return Binomial(ends[place] - self.starts[place], self.slots - place)


def keep_all(length: int) -> Even:
    """Keep every state: nothing is taken again."""
    return Even(length, (1,))


def cut(length: int, segments: int | None, levels: int = 1) -> Even:
    """Cut a run into segments, and those again.

    Keeps at most segments x levels + length / segments^levels states, rounded up at each level; each level
    takes every step again, once.

    Args:
        length: how many steps, at least 1.
        segments: how many at each level, at least 1; None: the (levels + 1)-th root of the length, upwards.
        levels: how often they are cut, at least 1.

    >>> cut(100, None), cut(1000, None, levels=2), cut(7, 3)
    (Even(length=100, spans=(10, 1)), Even(length=1000, spans=(100, 10, 1)), Even(length=7, spans=(3, 1)))
    """
    count = _root(length, levels + 1) if segments is None else segments
    spans = [length]
    for _ in range(levels):
        spans.append(-(-spans[-1] // count))
    return Even(length, tuple(sorted({*spans[1:], 1}, reverse=True)))


def fit(length: int, states: int) -> Binomial:
    """Plan for a number of states, with as few steps taken again as can be.

    Args:
        length: how many steps, at least 1.
        states: how many there may be at once: those kept, the one in hand and the end.

    Raises:
        ValueError: some step would have to be taken forward more than `PASSES` times.

    >>> fit(1000, 1001).slots, fit(1000, 12).slots
    (999, 10)
    """
    needed = fewest_states(length)
    require(
        states >= needed,
        f"{length} steps cannot be walked back with {states} states: {needed} are needed, for no step to be "
        f"taken more than {PASSES} times.",
    )
    return Binomial(length, min(states - 2, length - 1))


def fewest_states(length: int) -> int:
    """The smallest number of states that `fit` accepts.

    >>> fewest_states(1), fewest_states(1000)
    (2, 10)
    """
    slots = 0
    while math.comb(slots + PASSES, slots) < length:
        slots += 1
    return slots + 2


def most_kept(plan: Plan) -> int:
    """Count the states that a walk by this plan holds at once, at most, the end included.

    >>> most_kept(keep_all(100)), most_kept(cut(100, None)), most_kept(fit(100, 12))
    (101, 20, 12)
    """
    return 1 + _most_inside(plan)


def steps_again(plan: Plan) -> int:
    """Count the steps that a walk by this plan takes forward again, those of the pull-backs aside.

    >>> steps_again(keep_all(100)), steps_again(cut(100, None)), steps_again(fit(100, 20))
    (0, 90, 81)
    """
    segments = [plan.inside(place) for place in range(len(plan.starts))]
    return sum(part.starts[-1] + steps_again(part) for part in segments if part.length > 1)


def _most_inside(plan: Plan) -> int:
    """Where the walk stands in segment number `place`, the starts up to that one are still there."""
    segments = [plan.inside(place) for place in range(len(plan.starts))]
    inside = [_most_inside(part) - 1 if part.length > 1 else 0 for part in segments]
    return max(len(segments), *(place + 1 + more for place, more in enumerate(inside)))


def _first_part(length: int, slots: int) -> int:
    """How long the first segment is where the rest has one slot less."""
    passes = 1
    while math.comb(slots + passes, slots) < length:
        passes += 1
    longest = math.comb(slots + passes - 1, slots)
    return min(longest, length - math.comb(slots + passes - 2, slots - 1))


def _root(number: int, degree: int) -> int:
    """The smallest whole number whose power is not below `number`."""
    root = int(number ** (1 / degree))
    while root**degree < number:
        root += 1
    return root
