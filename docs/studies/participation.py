"""The study behind regimes.md, on individual rationality: the agents' gains from taking part in sharing.

python -m docs.studies.participation --help
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tyro

import bilevel
from bilevel.experiments import Interval, Run, interquartile_interval, returns_after_sharing
from games.core import require

METHODS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "prosocial": ("prosocial", {}),
    **{
        f"fixed, {given:.0%} given away".replace("%", " %"): ("fixed", {"self_interest": 1 - given})
        for given in (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    },
    "tos, welfare": ("tos", {}),
    "tos, maximin": ("tos", {"objective": "maximin"}),
    "tos, own-return": ("tos", {"objective": "own-return"}),
}
"""Label -> method, and its settings other than the defaults; all share by one matrix in all states."""


class Participation(NamedTuple):
    """Gains of the agents from taking part in sharing, over seeds."""

    welfare: Interval
    """Sum of all returns."""
    gains: Interval
    """Gain of each agent, [agent]."""
    all_gain: int
    """Number of seeds in which all agents gain."""
    seeds: int
    """Number of seeds."""

    @property
    def least(self) -> int:
        """The agent that gains least."""
        return int(self.gains.estimate.argmin())


@dataclass(frozen=True, kw_only=True)
class Study:
    """Gains over selfish play of each agent, whose return is what it has after rewards are shared.

    Raises:
        ValueError: a method or game is unknown, or there are fewer than 3 seeds.
    """

    game: str = "irrigation"
    """Name of a game whose sharing is learned from exact values."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Labels of the compared methods."""
    seeds: int = 20
    """Number of seeds, 3 or more."""
    outer_steps: int = 300
    """Outer steps of every run."""

    def __post_init__(self) -> None:
        unknown = [label for label in self.methods if label not in METHODS]
        require(not unknown, f"methods are some of {', '.join(METHODS)}, not {', '.join(unknown)}.")


def run_study(study: Study) -> Iterator[tuple[str, Participation]]:
    """Train each method, and compare its agents' returns with those of selfish agents of the same seed."""

    def trained(method: str, settings: dict[str, Any]) -> Run:
        with tempfile.TemporaryDirectory() as folder:
            size = {"seeds": study.seeds, "outer_steps": study.outer_steps, "out": Path(folder, "run")}
            return bilevel.train(study.game, method, **size, **settings)

    alone = returns_after_sharing(trained("selfish", {}))
    for label in study.methods:
        run = trained(*METHODS[label])
        gains = returns_after_sharing(run) - alone
        yield (
            label,
            Participation(
                interquartile_interval(run.final["welfare"]),
                interquartile_interval(gains.T),
                int((gains > 0).all(-1).sum()),
                study.seeds,
            ),
        )


TABLE_HEAD = """\
| method | welfare [95 % interval] | gains least | its gain [95 % interval] | seeds in which all gain |
|---|---|---|---|---|"""


def table_row(label: str, found: Participation) -> str:
    """A line of the table, in Markdown."""
    welfare, gains, agent = found.welfare, found.gains, found.least
    gain = f"{gains.estimate[agent]:+.2f} [{gains.low[agent]:+.2f}, {gains.high[agent]:+.2f}]"
    cells = [
        label,
        f"{welfare.estimate:.2f} [{welfare.low:.2f}, {welfare.high:.2f}]",
        str(agent),
        gain,
        f"{found.all_gain} of {found.seeds}",
    ]
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study, printing the table line by line."""
    study = tyro.cli(Study, prog="python -m docs.studies.participation", args=arguments)
    try:
        print(TABLE_HEAD, flush=True)
        for label, found in run_study(study):
            print(table_row(label, found), flush=True)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
