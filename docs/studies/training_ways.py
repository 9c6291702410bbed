"""The study behind training-modes.md: ways to train both levels, in one table and figure.

python -m docs.studies.training_ways --help
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from matplotlib.figure import Figure

from bilevel.experiments import Run, RunFolder, interquartile_interval, load_run, require_comparable
from bilevel.report import draw_curves, draw_welfare, save, style
from games.core import require, require_name

FORMATS = (".png", ".pdf", ".svg")
Runs = Mapping[str, Run]


@dataclass(frozen=True, kw_only=True)
class Study:
    """Folders that `bilevel compare` filled with the same methods, one for each game.

    Raises:
        ValueError: there is no folder, or no such kind of figure.
    """

    games: tuple[Path, ...]
    """The folders, in order; a game is called by its folder's name."""
    drawn: tuple[str, ...] = ()
    """Methods of the figure; none: all."""
    figure: Path | None = None
    """Where to write the figure, a name that ends in .png, .pdf or .svg; None: the table alone."""

    def __post_init__(self) -> None:
        require(bool(self.games), "games must name at least one folder of a comparison.")
        require(
            self.figure is None or self.figure.suffix in FORMATS,
            f"figure must be a name that ends in {', '.join(FORMATS)}, not {self.figure}.",
        )


def load_games(folders: Sequence[Path]) -> dict[str, Runs]:
    """Read comparisons of several games.

    Args:
        folders: where `bilevel compare` wrote, a game each.

    Returns:
        game's folder's name -> label -> run.

    Raises:
        ValueError: a folder holds no comparison, its runs cannot be compared or share nothing, or games have
            other methods.
    """
    found: dict[str, Runs] = {}
    for folder in folders:
        table = folder / "table.csv"
        require(table.exists(), f"{folder} is not the folder of a comparison: it has no table.csv.")
        with table.open(newline="", encoding="utf-8") as file:
            labels = [row["method"] for row in csv.DictReader(file)]
        runs = {label: load_run(RunFolder(folder / label)) for label in labels}
        require_comparable({label: results.config for label, results in runs.items()})
        for label, results in runs.items():
            require("given_away" in results.final, f"{folder / label} has no shares that are given away.")
        first = next(iter(found.values()), runs)
        require(
            list(runs) == list(first),
            f"{folder} compares {', '.join(runs)}, but the first game has {', '.join(first)}.",
        )
        found[folder.name] = runs
    return found


def ways_table(games: Mapping[str, Runs]) -> str:
    """Write a row for each method, a column for each game: welfare with its interval, and share given away.

    Args:
        games: game -> label -> run.

    Returns:
        Markdown.
    """
    labels = list(next(iter(games.values())))
    head = [
        f"| | {' | '.join(f'{name} ({_optimum(runs)})' for name, runs in games.items())} |",
        f"|---|{'---|' * len(games)}",
    ]
    rows = [f"| {label} | {' | '.join(_cell(runs[label]) for runs in games.values())} |" for label in labels]
    return "\n".join([*head, *rows])


def write_ways(games: Mapping[str, Runs], drawn: Sequence[str], path: Path) -> Path:
    """Draw welfare (above) and the share given away (below) over outer steps, a column for each game.

    Args:
        games: game -> label -> run.
        drawn: which labels; none: all.
        path: the picture.

    Raises:
        ValueError: a label is unknown.
    """
    labels = list(next(iter(games.values())))
    for label in drawn:
        require_name(label, labels, "method of these comparisons")
    with style():
        figure = Figure(figsize=(1 + 4.1 * len(games), 7.4))
        above, below = figure.subplots(2, len(games), squeeze=False, sharex="col")
        for (name, runs), top, bottom in zip(games.items(), above, below, strict=True):
            chosen = {label: results for label, results in runs.items() if not drawn or label in drawn}
            draw_welfare(top, chosen, log=False)
            draw_curves(bottom, chosen, "given_away", log=False)
            top.set_xlabel("")
            bottom.set_ylim(-0.03, 1.03)
            bottom.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
            top.set_title(f"{name}\n({next(iter(runs.values())).config.game.value_unit})")
        for axes in above:  # units differ: they stand above
            axes.set_ylabel("")
        above[0].set_ylabel("welfare of all agents")
        below[0].set_ylabel("reward given away")
        handles, names = above[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    return save(figure, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and write the figure; what cannot be read ends it with one sentence.

    Args:
        arguments: arguments of the command line; None: those of this process.
    """
    study = tyro.cli(Study, prog="python -m docs.studies.training_ways", args=arguments)
    try:
        games = load_games(study.games)
        print(ways_table(games))
        if study.figure is not None:
            write_ways(games, study.drawn, study.figure)
    except ValueError as error:
        sys.exit(str(error))


def _cell(results: Run) -> str:
    welfare = interquartile_interval(results.final["welfare"])
    given = interquartile_interval(results.final["given_away"]).estimate
    numbers = f"{welfare.estimate:.3f} [{welfare.low:.3f}, {welfare.high:.3f}]"
    return f"{numbers}, {100 * given:.{0 if given >= 0.02 else 1}f} %"


def _optimum(runs: Runs) -> str:
    best = next(iter(runs.values())).config.game.best_welfare
    return "no known optimum" if best is None else f"{best:g}"


if __name__ == "__main__":
    main()
