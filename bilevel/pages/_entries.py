"""Content of a page: finished runs by game, with labels, and the state of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bilevel.experiments import (
    Run,
    RunConfig,
    RunFolder,
    StudyRuns,
    group_joinable,
    join_runs,
    load_run,
    load_study,
    read_metrics_so_far,
)
from games.core import Game, require, require_name


@dataclass(frozen=True)
class Entry:
    """One row of a game: a finished run, perhaps joined of several that differ in seeds alone.

    >>> from bilevel.experiments import train
    >>> run = train("chicken", "tos", seeds=3, outer_steps=2, out="run")
    >>> Entry("tos", run, [Path("run")]).label
    'tos'
    """

    label: str
    """Name of the row, unique in its game."""
    run: Run
    folders: Sequence[Path]
    """Folders of its runs."""


@dataclass(frozen=True)
class GameEntries:
    """All rows of one game with the same settings.

    >>> import games
    >>> GameEntries("chicken", games.make("chicken"), []).title
    'chicken'
    """

    title: str
    """Name of the game; with a number where its settings differ."""
    game: Game
    entries: Sequence[Entry]
    progress: Sequence[Entry] = ()
    """Runs that are not finished, with the curves so far, in a live page."""


@dataclass(frozen=True)
class Content:
    """All that a page shows.

    >>> from bilevel.experiments import train
    >>> _ = train("chicken", "tos", seeds=3, outer_steps=2, out="study/tos")
    >>> content = collect([Path("study")])
    >>> content.games[0].title, [entry.label for entry in content.games[0].entries]
    ('chicken', ['tos'])
    """

    games: Sequence[GameEntries]
    unfinished: Sequence[RunFolder]
    """Runs that are not finished."""
    damaged: Mapping[str, str]
    """Folder of a run that cannot be read -> the reason."""


def collect(paths: Sequence[Path], *, baseline: str | None = None, lenient: bool = False) -> Content:
    """Collect the runs of some folders, and of the folders within them, by game.

    Args:
        paths: folders of runs, comparisons or sweeps.
        baseline: label of the row with which others are compared; None: selfish where it is there, else the
            first by name.
        lenient: report runs that cannot be read as damaged, and accept that there is none yet.

    Raises:
        ValueError: a folder does not exist; or, unless lenient, it has no run, a run is damaged, or no game
            has a row of the baseline's label (names the nearest).

    >>> import bilevel
    >>> _ = bilevel.compare("chicken", ["prosocial", "selfish"], seeds=3, outer_steps=2, out="study")
    >>> [entry.label for entry in collect([Path("study")]).games[0].entries]
    ['selfish', 'prosocial']
    """
    studies = [load_study(path, lenient=lenient) for path in paths]
    damaged = {name: reason for study in studies for name, reason in study.damaged.items()}
    unfinished: list[RunFolder] = []
    runs: dict[str, list[tuple[str, Run]]] = {}
    seen: set[Path] = set()
    for study in studies:
        for name in study.configs:
            folder = study.folder(name)
            if folder.path.resolve() in seen:
                continue
            seen.add(folder.path.resolve())
            if folder.finished:
                run = _finished(folder, damaged if lenient else None)
            else:
                unfinished.append(folder)
                run = _begun(folder, study.configs[name]) if lenient else None
            if run is not None:
                runs.setdefault(_key(run.config), []).append((_place(study, name, run), run))
    require(lenient or bool(runs), "There is no finished run to report on.")
    found = _games(runs)
    labels = {entry.label: None for game in found for entry in game.entries}
    if baseline is not None and not lenient:
        require_name(baseline, labels, "row")
    first = "selfish" if baseline is None else baseline
    ordered = [
        replace(game, entries=sorted(game.entries, key=lambda entry: entry.label != first)) for game in found
    ]
    return Content(ordered, unfinished, damaged)


def _finished(folder: RunFolder, damaged: dict[str, str] | None) -> Run | None:
    """Load a finished run; if it cannot be read, note the reason, or raise it where it cannot be noted."""
    try:
        return load_run(folder)
    except (ValueError, OSError) as error:
        if damaged is None:
            raise
        damaged[str(folder.path)] = str(error)
        return None


def _begun(folder: RunFolder, config: RunConfig) -> Run | None:
    """Curves so far of a run that is not finished, without final measurements; None if there are none."""
    curves = read_metrics_so_far(folder.metrics)
    if "welfare" not in curves:
        return None
    return Run(replace(config, seeds=curves["welfare"].shape[1]), curves, final={}, seconds=0.0)


def _key(config: RunConfig) -> str:
    """Text that is the same for runs of the same game with the same settings."""
    return f"{config.game_name} {sorted(config.plain['game'].items())}"


def _place(study: StudyRuns, name: str, run: Run) -> str:
    """Name of a run within its study, without the name of its game: in a sweep, label and settings."""
    parts = [part for part in Path(name).parts if part not in (run.config.game_name, "preset")]
    return " ".join(parts) or study.path.resolve().name


def _games(runs: Mapping[str, Sequence[tuple[str, Run]]]) -> list[GameEntries]:
    found: list[GameEntries] = []
    named: Counter[str] = Counter()
    for placed in runs.values():
        config = placed[0][1].config
        named[config.game_name] += 1
        number = named[config.game_name]
        title = config.game_name if number == 1 else f"{config.game_name} ({number})"
        finished = [(place, run) for place, run in placed if run.final]
        progress = [Entry(f"{place} (in progress)", run, []) for place, run in placed if not run.final]
        found.append(GameEntries(title, config.game, _entries(finished), progress))
    return found


def _entries(named: Sequence[tuple[str, Run]]) -> list[Entry]:
    """Join runs of further seeds; label rows by methods, or where these repeat by the runs' places."""
    groups = group_joinable([run for _, run in named])
    methods = [named[group[0]][1].config.method_name for group in groups]
    entries: dict[str, Entry] = {}
    for method, group in zip(methods, groups, strict=True):
        parts = [named[index] for index in group]
        place = parts[0][0].rpartition(" seeds-")[0] or parts[0][0]
        label = method if methods.count(method) == 1 else place
        while label in entries:
            label += "'"
        whole = parts[0][1] if len(parts) == 1 else join_runs([run for _, run in parts])
        entries[label] = Entry(label, whole, [run.path for _, run in parts if run.path is not None])
    return list(entries.values())
