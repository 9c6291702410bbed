"""Searches of settings before a comparison: a table for a terminal, and files of all trials."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from bilevel.core import Schedule, counted
from bilevel.experiments import SearchTrial, Tuned, search_table, write_text
from bilevel.report._table import Column, ResultsTable, csv_text, number

TRIALS_FILE = "tuning"
"""Name of the files, without their endings."""
DEFAULTS = "the defaults"


def tuning_table(tuned: Tuned) -> ResultsTable:
    """Build a table of the settings that a search chose: one row per method.

    Args:
        tuned: the search's result.
    Returns:
        The table; its columns of welfare are means over the seeds of a trial.

    >>> from bilevel.experiments import Comparison, Search, Tuned, default_config
    >>> configs = {name: default_config("chicken", name) for name in ("selfish", "fixed")}
    >>> tuned = Tuned(Search(Comparison(configs), budget=2), {"selfish": (-1.5, -2.0), "fixed": (-1.5, 0.0)})
    >>> print(tuning_table(tuned).to_markdown().splitlines()[2])
    | selfish | 0 | -1.500 | -1.500 | the defaults |
    """
    rows = []
    for label, welfare in tuned.welfare.items():
        trial = tuned.chosen(label)
        rows.append(
            [
                label,
                trial.index,
                _number(welfare[0]),
                _number(welfare[trial.index]),
                "; ".join(f"{name}={value}" for name, value in _options(trial).items()) or DEFAULTS,
            ]
        )
    return ResultsTable(
        title="Tuned settings",
        columns=[
            Column(heading="method"),
            Column(heading="trial", form=str),
            Column(heading="welfare of\nthe defaults", name="default_welfare", form=str),
            Column(heading="welfare of\nthe trial", name="welfare", form=str),
            Column(heading="settings"),
        ],
        rows=rows,
        notes=tuning_notes(tuned),
    )


def tuning_notes(tuned: Tuned) -> list[str]:
    """Notes that explain a search: its budget, its seeds and its objective."""
    search, failed = tuned.search, _failures(tuned)
    first = next(iter(search.comparison.configs.values()))
    return [
        f"Tuned settings: the best of {counted(search.budget, 'trial')} for each method, by final welfare, "
        f"a mean over {counted(search.seeds, 'seed')} from {search.first_seed}; the comparison uses other "
        f"seeds, from {first.seed}. Trial 0 has the default settings; the settings of the other trials are "
        "random.",
        *([f"Failed trials, in which a number became infinite or NaN: {failed}."] if failed else []),
    ]


def write_tuning_files(tuned: Tuned | None, folder: Path) -> list[Path]:
    """Write a search: all trials, and the chosen ones.

    Args:
        tuned: the search's result; None: there was no search, and files of an earlier one are removed.
        folder: created if it does not exist.
    Returns:
        The files written: tuning.csv, a row for each trial; tuning.json, with the ranges of all settings;
        tuning.md, the table of the chosen trials.

    >>> from bilevel.experiments import Comparison, Search, Tuned, default_config
    >>> configs = {name: default_config("chicken", name) for name in ("selfish", "fixed")}
    >>> tuned = Tuned(Search(Comparison(configs), budget=2), {"selfish": (-1.5, -2.0), "fixed": (-1.5, 0.0)})
    >>> [path.name for path in write_tuning_files(tuned, Path("report"))]
    ['tuning.csv', 'tuning.json', 'tuning.md']
    """
    paths = {ending: folder / f"{TRIALS_FILE}.{ending}" for ending in ("csv", "json", "md")}
    if tuned is None:
        for path in paths.values():
            path.unlink(missing_ok=True)
        return []
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "csv": csv_text(_records(tuned)),
        "json": json.dumps(_content(tuned), allow_nan=False, indent=1) + "\n",
        "md": tuning_table(tuned).to_markdown(),
    }
    for ending, path in paths.items():
        write_text(path, texts[ending])
    return list(paths.values())


def _records(tuned: Tuned) -> list[dict[str, Any]]:
    """Records of all trials; "" for settings that a method lacks, and for the welfare of failed trials."""
    trials = tuned.search.trials
    names = dict.fromkeys(name for label in trials for name in tuned.search.space(label).ranges)
    records = []
    for label, of_method in trials.items():
        values = tuned.search.space(label).defaults
        for trial, welfare in zip(of_method, tuned.welfare[label], strict=True):
            record: dict[str, Any] = {
                "method": label,
                "trial": trial.index,
                "chosen": int(trial.index == tuned.chosen(label).index),
                "welfare": welfare if math.isfinite(welfare) else "",
                "outer_steps": trial.config.outer_steps,
            }
            own = {name: _plain(value) for name, value in (values | dict(trial.settings)).items()}
            records.append(record | {name: own.get(name, "") for name in names})
    return records


def _content(tuned: Tuned) -> dict[str, Any]:
    search = tuned.search
    return {
        "format": "bilevel-tuning/1",
        "budget": search.budget,
        "first_seed": search.first_seed,
        "seeds": search.seeds,
        "ranges": [dict(zip(("method", "setting", "range"), row, strict=True)) for row in search_table()],
        "methods": {
            label: {
                "searched": list(search.space(label).ranges),
                "chosen": tuned.chosen(label).index,
                "trials": [
                    {
                        "trial": trial.index,
                        "welfare": welfare if math.isfinite(welfare) else None,
                        "outer_steps": trial.config.outer_steps,
                        "settings": {name: _plain(value) for name, value in trial.settings.items()},
                    }
                    for trial, welfare in zip(trials, tuned.welfare[label], strict=True)
                ],
            }
            for label, trials in search.trials.items()
        },
    }


def _options(trial: SearchTrial) -> dict[str, Any]:
    """Settings of a trial by their names on the command line."""
    return {name.replace("_", "-"): _plain(value) for name, value in trial.settings.items()}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Schedule) else value


def _number(welfare: float) -> str:
    return number(welfare) if math.isfinite(welfare) else "failed"


def _failures(tuned: Tuned) -> str:
    """Methods with failed trials, and the number of these."""
    counts = {label: sum(map(math.isinf, welfare)) for label, welfare in tuned.welfare.items()}
    return ", ".join(f"{count} of {label}" for label, count in counts.items() if count)
