"""Whole runs that are timed: which games, by which commands, over how many outer steps."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

COLUMNS = (100, 300, 3000, 30_000)
"""Outer steps of the tables."""
FEW = 300
EAGER = ("--compile", "never")
"""Options of `bilevel train` that keep steps from being compiled ..."""
COMPILED = ("--compile", "always")
"""... and those that make them be."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One way to make the same run."""

    name: str
    library: str
    """ours, before (an older commit of ours), by hand, or JAX: targets compare these."""
    script: str | None = None
    """A module of `peers.scripts`; None: `bilevel train`."""
    options: tuple[str, ...] = ()
    """Of `bilevel train` or of the script."""
    cache: Literal["empty", "filled", "fill"] = "empty"
    """The folder of compiled packages: an empty one, one that a run has filled, or this run fills it."""
    lengths: tuple[int, ...] = (300, 3000)
    """Outer steps of the runs that are made, beside a short one; other lengths are computed from these."""

    def missing(self) -> str | None:
        """Say why it cannot run here; None: it can."""
        if self.library == "JAX" and importlib.util.find_spec("jax") is None:
            return "JAX is not installed (make bench installs it)"
        return None


DEFAULT = Command(name="ours, default", library="ours", lengths=COLUMNS[1:])
"""As users start it; whether its steps are compiled depends on how many there are."""
CACHED = dataclasses.replace(DEFAULT, name="ours, default, package in the cache", cache="filled")
NEVER_COMPILED = Command(name="ours, eager", library="ours", options=EAGER)
FIRST_COMPILED = Command(
    name="ours, compiled, nothing in the cache", library="ours", options=COMPILED, cache="fill", lengths=(1,)
)
"""What compiling costs; its packages are those that `CACHED` finds."""
COMPILED_AGAIN = Command(
    name="ours, compiled, package in the cache", library="ours", options=COMPILED, cache="filled"
)
COMPILED_OR_NOT = (FIRST_COMPILED, DEFAULT, CACHED, COMPILED_AGAIN, NEVER_COMPILED)
BEFORE = Command(name="ours, before", library="before", lengths=(300,))
"""The command line of another checkout, which `--before` names."""


def by_hand(script: str) -> list[Command]:
    """Make the two scripts of a game."""
    return [
        Command(name="PyTorch by hand", library="by hand", script=f"torch_{script}"),
        Command(name="JAX by hand", library="JAX", script=f"jax_{script}"),
    ]


@dataclass(frozen=True, kw_only=True)
class WholeRuns:
    """One game, trained by all commands."""

    name: str
    title: str
    game: str
    commands: Sequence[Command]
    options: tuple[str, ...] = ()
    """More options, of `bilevel train`."""
    short_options: tuple[str, ...] = ()
    """Options that make the game small, of `bilevel train`, where only the harness is tried."""
    short_script_options: tuple[str, ...] = ()
    """The same of the scripts."""
    short: int = 10
    """Outer steps of a run that always goes to its end, once: it tells what the end of a run costs. 0: none,
    as runs of `FEW` outer steps go to their end."""
    longest: int = COLUMNS[-1]
    """Longer runs are not made, but computed."""
    limit: float = 15.0
    """Seconds after which any other run is stopped; its time is then computed from its measured steps."""
    long_limit: float = 12.0
    """The same of runs of more than `FEW` outer steps."""
    rounds: int = 3
    """Of runs of up to `FEW` outer steps; longer ones have one."""


def _public_goods(agents: int, seeds: int = 32) -> WholeRuns:
    return WholeRuns(
        name=f"run: public goods, {agents} agents",
        title=f"Public goods with {agents} agents, {seeds} seeds",
        game="public-goods",
        commands=[DEFAULT, BEFORE] if agents <= 12 else [DEFAULT],
        options=("--game.agents", str(agents), "--seeds", str(seeds)),
        short_options=("--game.agents", "3"),
        short=3,
        limit=6.0,
        rounds=1,
        longest=FEW,
    )


SAMPLED_SHORT = ("--evaluation-episodes", "8")
WHOLE_RUNS: dict[str, WholeRuns] = {
    runs.name: runs
    for runs in (
        WholeRuns(
            name="run: repeated dilemma",
            title="The repeated prisoner's dilemma, exact",
            game="repeated-prisoners-dilemma",
            commands=[*COMPILED_OR_NOT, BEFORE, *by_hand("dilemma")],
            short=0,
            limit=30.0,
            rounds=2,
        ),
        WholeRuns(
            name="run: escape room",
            title="Escape Room",
            game="escape-room",
            commands=[*COMPILED_OR_NOT, BEFORE, *by_hand("escape_room")],
            limit=11.0,
            rounds=2,
            longest=3000,
            short_options=(*SAMPLED_SHORT, "--inner.episodes", "4"),
            short_script_options=(*SAMPLED_SHORT, "--episodes", "4"),
        ),
        WholeRuns(
            name="run: coin game",
            title="The coin game",
            game="coin-game",
            commands=[DEFAULT, BEFORE, *by_hand("coin_game")],
            short=2,
            limit=14.0,
            rounds=2,
            longest=FEW,
            short_options=(*SAMPLED_SHORT, "--inner.episodes", "4", "--game.horizon", "5"),
            short_script_options=(*SAMPLED_SHORT, "--episodes", "4", "--horizon", "5"),
        ),
        WholeRuns(
            name="run: cleanup 7x7",
            title="LIO's cleanup 7x7",
            game="cleanup-lio-7x7",
            commands=[DEFAULT, BEFORE],
            short=2,
            limit=14.0,
            rounds=2,
            longest=FEW,
            short_options=(*SAMPLED_SHORT, "--inner.episodes", "4", "--game.horizon", "5"),
        ),
        *(_public_goods(agents) for agents in (8, 16, 128)),
        _public_goods(1024, seeds=2),
    )
}
"""By name, in the order of measuring."""
