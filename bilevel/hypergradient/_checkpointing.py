"""Checkpoint schedules of reverse mode: states to keep, and steps to recompute."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from bilevel.hypergradient._storage import DTYPES, LowPrecision, format_bytes, parse_bytes
from games.core import require, require_name

PASSES = 5
"""Bound of how often a `BinomialSchedule` of `fit` takes a step forward, the first time included."""


@dataclass(frozen=True)
class EvenSchedule:
    """Segments of one length, each cut into segments of one smaller length, and so on."""

    length: int
    """Number of steps, at least 1."""
    spans: tuple[int, ...]
    """The lengths of segments from the outermost in, decreasing to 1."""

    @property
    def starts(self) -> range:
        """The steps before which the state is kept, ascending from 0."""
        return range(0, self.length, self.spans[0])

    def segment(self, place: int) -> EvenSchedule:
        """The schedule of the steps from `starts[place]` to the next start, which are taken again."""
        return EvenSchedule(min(self.spans[0], self.length - self.starts[place]), self.spans[1:])


@dataclass(frozen=True)
class BinomialSchedule:
    """The schedule with the fewest recomputed steps for a number of kept states.

    If no step may be taken forward more than r times, c kept states reach (c + r choose c) steps; segments
    are cut where the first part comes out with r - 1 and the rest with c - 1.

    Source:
        Griewank and Walther, Algorithm 799: revolve, ACM Transactions on Mathematical Software 26, 2000.
    """

    length: int
    """Number of steps, at least 1."""
    buffers: int
    """Number of states kept at once, that of the start included and the one in hand not; at least 1,
    or 0 with a single step."""

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The steps before which the state is kept, ascending from 0."""
        found, buffers = [0], self.buffers
        while self.length - found[-1] > 1:
            found.append(found[-1] + _first_part(self.length - found[-1], buffers))
            buffers -= 1
        return tuple(found)

    def segment(self, place: int) -> BinomialSchedule:
        """The schedule of the steps from `starts[place]` to the next start, in the buffers that are left."""
        ends = (*self.starts[1:], self.length)
        return BinomialSchedule(ends[place] - self.starts[place], self.buffers - place)


CheckpointSchedule = EvenSchedule | BinomialSchedule


def cut(length: int, segments: int | None, levels: int = 1) -> EvenSchedule:
    """Cut a run into segments, as many at each of the levels; None: the (levels + 1)-th root of the length.

    Keeps at most segments x levels + length / segments^levels states, rounded up at each level; each level
    takes every step again, once.
    """
    count = _root(length, levels + 1) if segments is None else segments
    spans = [length]
    for _ in range(levels):
        spans.append(-(-spans[-1] // count))
    return EvenSchedule(length, tuple(sorted({*spans[1:], 1}, reverse=True)))


def fit(length: int, states: int) -> BinomialSchedule:
    """The schedule with the fewest steps taken again.

    `states` are kept at once, those in hand and at the end included: `fewest_states(length)` or more.
    """
    return BinomialSchedule(length, min(states - 2, length - 1))


def fewest_states(length: int) -> int:
    """The smallest number of states with which no step is taken forward more than `PASSES` times."""
    buffers = 0
    while math.comb(buffers + PASSES, buffers) < length:
        buffers += 1
    return buffers + 2


def max_states(schedule: CheckpointSchedule) -> int:
    """The largest number of states kept at once, the end included."""
    parts = [schedule.segment(place) for place in range(len(schedule.starts))]
    # In segment number `place` the starts up to that one are still kept.
    inside = [max_states(part) - 2 if part.length > 1 else 0 for part in parts]
    return 1 + max(len(parts), *(place + 1 + more for place, more in enumerate(inside)))


def _first_part(length: int, buffers: int) -> int:
    """Length of the first segment if the rest has one buffer less."""
    passes = 1
    while math.comb(buffers + passes, buffers) < length:
        passes += 1
    longest = math.comb(buffers + passes - 1, buffers)
    return min(longest, length - math.comb(buffers + passes - 2, buffers - 1))


def _root(number: int, degree: int) -> int:
    """The `degree`-th root, rounded up."""
    root = int(number ** (1 / degree))
    while root**degree < number:
        root += 1
    return root


@dataclass(frozen=True, kw_only=True, repr=False)
class Checkpointing:
    """Settings by which reverse mode over n steps trades memory for time.

    By default the graph of all n steps is kept, as `torch.autograd` would, while it takes at most 1 GiB, and
    always at n = 1. Beyond that, or with recompute=True, only the states between the steps are kept, and the
    reverse sweep computes each step again together with its vector-Jacobian product: the same bits, in about
    a third more time. The other settings keep even fewer states, and imply recompute=True:

        settings                   states kept, the end included                 steps taken again
        recompute=True             n + 1                                         none
        segments=s                 about s + n / s                               n at most
        segments="sqrt"            about 2 sqrt(n)                               n at most
        segments="sqrt", levels=l  about (l + 1) times the (l + 1)-th root of n  l n at most
        memory_budget="512MB"      as many as fit                                as few as can be

    In addition, every step is taken forward once, and once more with its vector-Jacobian product. A step that
    is taken again uses the same data, so the gradient is the same bit for bit (if the device computes alike
    twice). Data are not counted here: they are kept for every step.

    Raises:
        ValueError: a setting is out of range, or two of them do not go together.

    Source:
        Chen et al., Training deep nets with sublinear memory cost, arXiv 1604.06174 (segments); Griewank and
        Walther, Algorithm 799: revolve, ACM Transactions on Mathematical Software 26, 2000 (memory_budget).

    >>> from bilevel.hypergradient import BilevelProblem, Unrolled, measure_peak
    >>> step = lambda theta, opt_state, phi, data: (torch.sin(theta + phi), opt_state)
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> start = torch.zeros(100), None, torch.ones(100)
    >>> def peak(**settings):  # of 100 steps, in units of theta
    ...     estimate = lambda: Unrolled(**settings)(problem, *start, steps=100)
    ...     return round(measure_peak(estimate, torch.device("cpu"))[1] / 400)
    >>> peak(), peak(segments="sqrt")
    (205, 27)
    """

    recompute: Literal["auto"] | bool = "auto"
    """True: compute steps again in the reverse sweep; False: keep the graph of all of them, whatever it
    takes; auto: keep it if it fits 1 GiB. Packages of compiled steps keep no graph at all."""
    segments: int | Literal["sqrt"] | None = None
    """Number of segments of which only the starts are kept, at least 1; sqrt: the number that makes the kept
    states fewest; None: every state is kept."""
    levels: int = 1
    """Number of times that segments are cut again into as many, at least 1; with sqrt, the (levels + 1)-th
    root of the steps. Each level takes every step forward once more."""
    memory_budget: str | None = None
    """Bound of the kept states, the last one included, such as 512MB or 1.5GiB: the schedule with the fewest
    steps taken again that fits is chosen. The graph of one step and the data come on top."""
    keep_dtype: LowPrecision | None = None
    """dtype of kept states: float32, bfloat16 or float16; None: their own. Learning itself goes on unrounded,
    but each step is differentiated at its rounded state (and a segment is run again from one): its part of
    the gradient is off by the rounding of 2^-24, 2^-8 or 2^-11 of the state times how fast the step's
    derivatives change with it. float16 also loses what is below 6e-8, as second moments are."""
    offload: bool = False
    """Keep states in the host's memory while a GPU computes; on the CPU nothing changes."""

    def __post_init__(self) -> None:
        require(
            self.recompute == "auto" or isinstance(self.recompute, bool),
            f"recompute must be auto, True or False, not {self.recompute!r}.",
        )
        require(
            self.recompute is not False or self.keeps_states,
            "recompute=False keeps the graph of every step, so it excludes segments, memory_budget, "
            "keep_dtype and offload, which keep states only.",
        )
        if isinstance(self.segments, str):
            require_name(self.segments, ("sqrt",), "choice of segments")
        elif self.segments is not None:
            require(self.segments >= 1, f"segments must be at least 1, sqrt or None, not {self.segments}.")
        require(self.levels >= 1, f"levels must be at least 1, not {self.levels}.")
        require(
            self.levels == 1 or self.segments is not None,
            f"levels={self.levels} says how often segments are cut: give segments as well.",
        )
        if self.memory_budget is not None:
            require(
                self.segments is None,
                "segments and memory_budget both determine which states are kept: set one of them.",
            )
            parse_bytes(self.memory_budget)
        if self.keep_dtype is not None:
            require_name(self.keep_dtype, DTYPES, "keep_dtype")

    @property
    def keeps_states(self) -> bool:
        """True if every state is kept, as it is."""
        bounds = self.segments, self.levels, self.memory_budget, self.keep_dtype, self.offload
        return bounds == (None, 1, None, None, False)

    def schedule(self, length: int, state_bytes: int) -> CheckpointSchedule:
        """Choose the states to keep, of this size; ValueError if the fewest exceed `memory_budget`."""
        if self.memory_budget is not None:
            states, needed = parse_bytes(self.memory_budget) // max(state_bytes, 1), fewest_states(length)
            require(
                states >= needed,
                f"memory_budget='{self.memory_budget}' holds {states} states of {format_bytes(state_bytes)}, "
                f"but {length} steps need {needed}: give at least "
                f"memory_budget='{format_bytes(needed * state_bytes)}'.",
            )
            return fit(length, states)
        if self.segments is None:
            return cut(length, length)
        return cut(length, None if isinstance(self.segments, str) else self.segments, self.levels)


STATES = Checkpointing(recompute=True)
GRAPH = Checkpointing(recompute=False)
