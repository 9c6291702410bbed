"""How time and memory of an outer step grow: which setting, of which game, from where to where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from games.networked import SmallWorld


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One setting of one game that is made larger, with all others as they are."""

    game: str
    setting: str
    """Of a run's configuration, as the command line names it: seeds, game.agents, inner.steps."""
    label: str
    """What the setting counts."""
    values: Sequence[int]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Other settings that are not the preset's."""

    @property
    def name(self) -> str:
        """For rows."""
        return f"{self.game}, {self.label}"

    @property
    def title(self) -> str:
        """For tables: with what is not the preset's."""
        others = "".join(f", {name.rpartition('.')[2]} {value}" for name, value in self.fixed.items())
        return f"{self.label}: {self.game}{others}"


FEW = {"seeds": 8}
AXES = (
    Axis(game="repeated-prisoners-dilemma", setting="seeds", label="seeds", values=(256, 1024, 4096, 16_384)),
    Axis(game="escape-room", setting="seeds", label="seeds", values=(8, 32, 128, 512)),
    Axis(game="public-goods", setting="game.agents", label="agents", values=(64, 128, 256, 512), fixed=FEW),
    Axis(game="escape-room", setting="game.agents", label="agents", values=(4, 8, 16, 32), fixed=FEW),
    Axis(
        game="repeated-prisoners-dilemma",
        setting="inner.steps",
        label="K",
        values=(4, 16, 64, 256),
        fixed={"seeds": 32},
    ),
    Axis(game="escape-room", setting="inner.steps", label="K", values=(2, 4, 8, 16), fixed=FEW),
    Axis(
        game="coin-game",
        setting="game.horizon",
        label="horizon",
        values=(20, 40, 80, 160),
        fixed={"seeds": 8, "inner.episodes": 16},
    ),
    Axis(
        game="escape-room",
        setting="inner.episodes",
        label="episodes",
        values=(64, 256, 1024, 4096),
        fixed=FEW,
    ),
)

SAMPLED = {"seeds": 8, "inner.exact": False, "inner.episodes": 32}
MANY_AGENTS = tuple(
    Axis(game=game, setting="game.agents", label=f"{sharing}, {kind}", values=values, fixed=fixed | graph)
    for game, sharing, values, graph in (
        ("aid", "graph of degree 4", (10, 100, 1000, 10_000), {"game.graph": SmallWorld(degree=4)}),
        ("aid-hidden", "all pairs", (100, 200, 500), {}),
    )
    for kind, fixed in (("sampled", SAMPLED), ("exact", FEW))
)
"""Learned sharing of many agents, on the edges of a known graph and among all pairs of a hidden one."""
