"""`bilevel demo`: selfish, prosocial, fixed and learned sharing on two dilemmas."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bilevel import report
from bilevel.cli._progress import resumable
from bilevel.cli._settings import read_settings
from bilevel.cli._train import follow
from bilevel.experiments import (
    USUAL,
    Run,
    default_config,
    find_or_create,
    interquartile_mean,
    normalized_score,
)
from bilevel.report import percent, results_table
from games.core import require

GAMES = {"repeated-prisoners-dilemma": "Repeated prisoner's dilemma", "escape-room": "Escape Room ER(2,1)"}
METHODS = USUAL


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """Train selfish, prosocial, fixed and learned sharing on two dilemmas: a table, a sentence, figures."""

    seeds: int = 32
    """Independent repetitions of everything, 3 or more."""
    outer_steps: int = 300
    """Outer steps of every run, 1 or more."""
    seed: int = 0
    """Random seed, a nonnegative integer."""
    out: Path = Path("runs/demo")
    """Folder of the runs and figures; finished runs there are used as they are."""

    def __post_init__(self) -> None:
        require(self.seeds >= 3, f"The demo's intervals need 3 seeds or more, not {self.seeds}.")


def demo_command(arguments: list[str]) -> None:
    settings = read_settings(DemoSettings, arguments, prog="bilevel demo")
    pairs = [(game, method) for game in GAMES for method in METHODS]
    size = {name: getattr(settings, name) for name in ("seeds", "seed", "outer_steps")}
    configs = {pair: dataclasses.replace(default_config(*pair), **size) for pair in pairs}
    folders = {key: find_or_create(settings.out / "-".join(key), config) for key, config in configs.items()}
    with resumable("Run the same command again: what is done is kept."):
        results = {key: follow(folder) for key, folder in folders.items()}
        for key, folder in folders.items():
            report.write_run_figures(folder, results[key])
        by_game = {
            title: {method: results[game, method] for method in METHODS} for game, title in GAMES.items()
        }
        picture = report.write_overview(by_game, settings.out / "overview.png")
        Console(highlight=False).print(results_table(list(results.values())))
        for title, runs in by_game.items():
            print(f"\n{sentence(title, runs)}")
        print(f"\nOverview figure: {picture}\nFigures of each run: {settings.out}")


def sentence(title: str, runs: Mapping[str, Run]) -> str:
    """The results on one game in words, of runs by method name, `selfish` and `tos` among them."""

    def score(method: str) -> str:
        results = runs[method]
        score = normalized_score(results.config.game, interquartile_mean(results.final["welfare"]))
        assert score is not None
        return percent(score)

    given = percent(interquartile_mean(runs["tos"].final["given_away"]))
    return (
        f"{title}: between mutual defection (0 %) and the welfare optimum (100 %), selfish agents score "
        f"{score('selfish')}; agents that learn how much to share score {score('tos')} and give away {given} "
        "of their rewards."
    )
