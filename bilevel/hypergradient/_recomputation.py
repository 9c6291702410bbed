"""The settings by which reverse mode trades memory for time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bilevel.hypergradient._checkpoint_schedule import Plan, cut, fewest_states, fit, keep_all
from bilevel.hypergradient._storage import DTYPES, LowPrecision, format_bytes, parse_bytes
from games.core import require, require_name

GRAPH_BYTES = 1 << 30
"""What the graph of all steps may take where nothing else is said: 1 GiB."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Checkpointing:
    """What reverse mode over n steps keeps of them, and what it computes again.

    By default the graph of all n steps is kept, as `torch.autograd` would, while it takes at most 1 GiB, and
    always at n = 1. Beyond that, or with recompute=True, only the states between the steps are kept, and the
    reverse sweep computes each step again together with its vector-Jacobian product: the same bits, in about
    a third more time. The other settings keep even fewer states, and imply recompute=True:

    | settings                  | states kept, the end included                | steps taken again |
    |---------------------------|----------------------------------------------|-------------------|
    | recompute=True            | n + 1                                        | none              |
    | segments=s                | about s + n / s                              | n at most         |
    | segments="sqrt"           | about 2 sqrt(n)                              | n at most         |
    | segments="sqrt", levels=l | about (l + 1) times the (l + 1)-th root of n | l n at most       |
    | memory="512MB"            | what fits                                    | as few as can be  |

    Every step is taken forward once besides, and once more with its vector-Jacobian product. A step that is
    taken again uses the data that it used, so the gradient is the same bit for bit (if the device computes
    alike twice). Data are not counted here: they are there for every step.

    Source:
        Chen et al., Training deep nets with sublinear memory cost, arXiv 1604.06174 (segments); Griewank and
        Walther, Algorithm 799: revolve, ACM Transactions on Mathematical Software 26, 2000 (memory).
    """

    recompute: Literal["auto"] | bool = "auto"
    """Whether steps are computed again in the reverse sweep: True; False, so that the graph of all of them is
    kept, whatever it takes; or auto, as it fits 1 GiB. Packages of compiled steps keep no graph at all."""
    segments: int | Literal["sqrt"] | None = None
    """Into how many segments the steps are cut, at least 1, of which only the starts are kept; sqrt: as many
    as makes the kept states fewest; None: every state is kept."""
    levels: int = 1
    """How often segments are cut again into as many, at least 1; with sqrt, the (levels + 1)-th root of the
    steps. Each level takes every step forward once more."""
    memory: str | None = None
    """What the kept states may take, the last one included, such as 512MB or 1.5GiB: the schedule with the
    fewest steps taken again that fits is chosen. The graph of one step and the data come on top."""
    keep_dtype: LowPrecision | None = None
    """What kept states are rounded to: float32, bfloat16 or float16; None: they are not. Learning itself goes
    on unrounded, but each step is pulled back from its rounded state (and a segment is run again from one):
    its part of the gradient is off by the rounding of 2^-24, 2^-8 or 2^-11 of the state times how fast the
    step's derivatives change with it; by nothing where they do not. float16 also loses what is below 6e-8, as
    second moments are."""
    offload: bool = False
    """Whether kept states lie in the host's memory while a GPU computes; on the CPU nothing changes."""

    def __post_init__(self) -> None:
        require(
            self.recompute == "auto" or isinstance(self.recompute, bool),
            f"recompute must be auto, True or False, not {self.recompute!r}.",
        )
        require(
            self.recompute is not False or self.keeps_states,
            "recompute=False keeps the graph of every step: segments, memory, keep_dtype and offload, which "
            "keep less than their states, do not go with it.",
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
        if self.memory is not None:
            require(
                self.segments is None,
                "segments and memory both say which states are kept: give one of the two.",
            )
            parse_bytes(self.memory)
        if self.keep_dtype is not None:
            require_name(self.keep_dtype, DTYPES, "keep_dtype")

    @property
    def keeps_states(self) -> bool:
        """Whether every state is kept, as it is."""
        return (
            self.segments is None
            and self.levels == 1
            and self.memory is None
            and self.keep_dtype is None
            and not self.offload
        )

    @property
    def may_keep_graph(self) -> bool:
        """Whether the graph of the steps is kept if it is small enough."""
        return self.keeps_states and self.recompute is not True

    def keeps_graph(self, length: int, step_bytes: Callable[[], int]) -> bool:
        """Choose between keeping the graph of the steps and computing them again.

        Args:
            length: how many steps are differentiated, at least 1.
            step_bytes: measures the graph of one; called only where the choice depends on it.
        """
        if not self.may_keep_graph or self.recompute is False:
            return self.may_keep_graph
        return length == 1 or length * step_bytes() <= GRAPH_BYTES

    def plan(self, length: int, state_bytes: int) -> Plan:
        """Choose which states are kept.

        Args:
            length: how many steps are walked back, at least 1.
            state_bytes: what one kept state takes.

        Raises:
            ValueError: they do not fit in `memory`, however few are kept.
        """
        if self.memory is not None:
            return self._fit(length, state_bytes, parse_bytes(self.memory))
        if self.segments is None:
            return keep_all(length)
        return cut(length, None if isinstance(self.segments, str) else self.segments, self.levels)

    def _fit(self, length: int, state_bytes: int, budget: int) -> Plan:
        states = budget // max(state_bytes, 1)
        needed = fewest_states(length)
        require(
            states >= needed,
            f"memory='{self.memory}' holds {states} states of {format_bytes(state_bytes)}, but {length} "
            f"steps need {needed}: give at least memory='{format_bytes(needed * state_bytes)}'.",
        )
        return fit(length, states)


STATES = Checkpointing(recompute=True)
"""Every state kept, as it is, and no graph."""
GRAPH = Checkpointing(recompute=False)
"""The graph of every step kept."""
