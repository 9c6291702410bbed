"""`bilevel demo`: selfish, prosocial, fixed and learned sharing on three dilemmas."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from bilevel import report
from bilevel.cli._progress import resumable
from bilevel.cli._settings import read_settings
from bilevel.cli._train import follow
from bilevel.experiments import (
    USUAL,
    Run,
    RunConfig,
    configured,
    default_config,
    find_or_create,
    interquartile_interval,
    interquartile_mean,
    normalized_score,
    returns_after_sharing,
)
from bilevel.report import percent, results_table
from games.core import require


class Dilemma(NamedTuple):
    """A game of the demo."""

    title: str
    settings: Mapping[str, Mapping[str, Any]] = {}
    """Method -> settings other than its defaults."""
    gains: bool = False
    """Report each agent's gain from taking part, as agents have different roles, instead of cooperation."""


GAMES: Mapping[str, Dilemma] = {
    "repeated-prisoners-dilemma": Dilemma("Repeated prisoner's dilemma"),
    "escape-room": Dilemma("Escape Room ER(2,1)"),
    "irrigation": Dilemma("Irrigation", {"tos": {"objective": "own-return"}}, gains=True),
}
METHODS = USUAL


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """Train selfish, prosocial, fixed and learned sharing on three dilemmas: a table, a sentence, figures."""

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


def demo_config(game: str, method: str, **size: Any) -> RunConfig:
    """Configuration of one run of the demo."""
    config = dataclasses.replace(default_config(game, method), **size)
    return configured(config, GAMES[game].settings.get(method, {}))


def demo_command(arguments: list[str]) -> None:
    settings = read_settings(DemoSettings, arguments, prog="bilevel demo")
    pairs = [(game, method) for game in GAMES for method in METHODS]
    size = {name: getattr(settings, name) for name in ("seeds", "seed", "outer_steps")}
    configs = {pair: demo_config(*pair, **size) for pair in pairs}
    folders = {key: find_or_create(settings.out / "-".join(key), config) for key, config in configs.items()}
    with resumable("Run the same command again: what is done is kept."):
        results = {key: follow(folder) for key, folder in folders.items()}
        for key, folder in folders.items():
            report.write_run_figures(folder, results[key])
        by_game = {game: {method: results[game, method] for method in METHODS} for game in GAMES}
        picture = report.write_overview(
            {GAMES[game].title: runs for game, runs in by_game.items()},
            settings.out / "overview.png",
            gains=[dilemma.title for dilemma in GAMES.values() if dilemma.gains],
        )
        Console(highlight=False).print(results_table(list(results.values())))
        for game, runs in by_game.items():
            print(f"\n{sentence(GAMES[game].title, runs)}")
            if GAMES[game].gains:
                print(gains_sentence(runs))
        print(f"\nOverview figure: {picture}\nFigures of each run: {settings.out}")


def sentence(title: str, runs: Mapping[str, Run]) -> str:
    """The results on one game in words, of runs by method name, `selfish` and `tos` among them."""

    def score(method: str) -> str:
        results = runs[method]
        welfare, config = interquartile_mean(results.final["welfare"]), results.config
        score = normalized_score(config.game, welfare, exact=config.exact)
        assert score is not None
        return percent(score)

    given = percent(interquartile_mean(runs["tos"].final["given_away"]))
    return (
        f"{title}: between mutual defection (0 %) and the welfare optimum (100 %), selfish agents score "
        f"{score('selfish')}; agents that learn how much to share score {score('tos')} and give away {given} "
        "of their rewards."
    )


def gains_sentence(runs: Mapping[str, Run]) -> str:
    """Gain of the agent that gains least from sharing, in words, of runs by method name with `selfish`."""
    alone, seeds = returns_after_sharing(runs["selfish"]), runs["selfish"].config.seeds

    def described(method: str) -> str:
        gains = returns_after_sharing(runs[method]) - alone
        means = interquartile_mean(gains.T)
        agent = int(means.argmin())
        least = interquartile_interval(gains[:, agent])
        all_gain = int((gains > 0).all(-1).sum())
        return (
            f"with {method} {least.estimate:+.2f} [{least.low:+.2f}, {least.high:+.2f}] (agent {agent}; all "
            f"agents gain in {all_gain} of {seeds} seeds)"
        )

    *first, last = (described(method) for method in runs if method != "selfish")
    return (
        "The agent that gains least from sharing, over its return among selfish agents, gains "
        f"{', '.join(first)}, and {last}."
    )
