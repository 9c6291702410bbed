"""The numbers of a comparison as files: for a spreadsheet, for a paper's table, for marl-eval."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bilevel.experiments import MEASURES, Compared, Interval, Run, write_text
from bilevel.report._table import csv_text
from bilevel.report._theory_numbers import Theory, theory_record

ENVIRONMENT = "bilevel"
"""What marl-eval calls a family of tasks; the tasks are the games."""
MOST_STEPS = 200
"""So many steps of learning, evenly spaced, go into marl-eval's file."""


def seed_records(rows: Sequence[Compared]) -> list[dict[str, Any]]:
    """A record for each method and seed: `MEASURES`, then all other metrics; "" where there is none.

    Matrices of many agents are left out: they are in the files of each run.

    Args:
        rows: of `compare_runs`.
    """
    numbers = (name for row in rows for name, values in row.results.final.items() if values.ndim == 1)
    names = list(dict.fromkeys([*MEASURES, *numbers]))

    def value(row: Compared, name: str, seed: int) -> float | str:
        values = row.measures.get(name, row.results.final.get(name))
        return "" if values is None or np.isnan(values[seed]) else float(values[seed])

    return [
        {"method": row.label, "seed": seed} | {name: value(row, name, seed) for name in names}
        for row in rows
        for seed in range(row.results.config.seeds)
    ]


def table_records(rows: Sequence[Compared]) -> list[dict[str, Any]]:
    """A record for each method: what the table shows, each number with the ends of its interval.

    Args:
        rows: of `compare_runs`.
    """
    return [
        {"method": row.label, "seeds": row.results.config.seeds}
        | {
            column: value
            for name, interval in (
                *((name, row.intervals.get(name)) for name in MEASURES),
                ("better", row.better),
                ("difference", row.difference),
            )
            for column, value in _columns(name, interval).items()
        }
        | {"outer_steps": row.results.config.outer_steps, "seconds": row.results.seconds}
        for row in rows
    ]


def marl_eval_data(runs: Mapping[str, Run]) -> dict[str, Any]:
    """The layout of marl-eval's raw experiment data (id-marl-eval 0.0.4).

    {environment: {task: {algorithm: {run: {step_k: {step_count, metric: [..]}, .., absolute_metrics:
    {metric: [..]}}}}}}, every list with one number, which is a mean over episodes already. Here `step_count`
    counts outer steps, and `absolute_metrics` are the final policies on fresh episodes (the protocol takes
    the best ones instead). As marl-eval asks, all methods have the same metrics, those that all of them know
    and that are finite throughout (shares and matrices are left out), and the same number of steps.

    Args:
        runs: label -> run of one game.

    Source:
        Gorsane et al., Towards a standardized performance evaluation protocol for cooperative MARL, arXiv
        2209.10485.
    """
    every = list(runs.values())
    names = [
        name
        for name in every[0].final
        if not name.startswith("share_") and all(_finite(results, name) for results in every)
    ]
    count = min(MOST_STEPS, *(len(results.curves["welfare"]) for results in every))
    return {
        ENVIRONMENT: {
            every[0].config.game_name: {
                label: {
                    f"seed_{seed}": _steps(results, names, seed, count)
                    for seed in range(results.config.seeds)
                }
                for label, results in runs.items()
            }
        }
    }


def write_comparison_files(
    rows: Sequence[Compared], folder: Path, theory: Theory | str | None = None
) -> list[Path]:
    """Write the numbers of a comparison; a file of an earlier one that this has not is removed.

    Args:
        rows: of `compare_runs`.
        folder: where; made if it is not there.
        theory: of the game.

    Returns:
        the files written: table.csv, a row for each method; seeds.csv, one for each method and seed;
        marl-eval.json; theory.json, if there is any.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = marl_eval_data({row.label: row.results for row in rows})
    texts = {
        "table.csv": csv_text(table_records(rows)),
        "seeds.csv": csv_text(seed_records(rows)),
        "marl-eval.json": json.dumps(data, allow_nan=False) + "\n",
    }
    if isinstance(theory, Theory):
        texts["theory.json"] = json.dumps(theory_record(theory, rows), allow_nan=False, indent=1) + "\n"
    else:
        (folder / "theory.json").unlink(missing_ok=True)
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def _columns(name: str, interval: Interval | None) -> dict[str, float | str]:
    parts = ("", "", "") if interval is None else tuple(map(float, interval))
    return dict(zip((name, f"{name}_low", f"{name}_high"), parts, strict=True))


def _finite(results: Run, name: str) -> bool:
    known = name in results.curves and name in results.final and results.final[name].ndim == 1
    return known and bool(np.isfinite(results.curves[name]).all() and np.isfinite(results.final[name]).all())


def _steps(results: Run, names: Sequence[str], seed: int, count: int) -> dict[str, Any]:
    """One run of marl-eval's: `count` steps of a seed, the last among them, then its final metrics."""
    total = len(results.curves["welfare"])
    places = np.linspace(total / count - 1, total - 1, count).round().astype(int)
    steps: dict[str, Any] = {
        f"step_{index}": {
            "step_count": int(place) + 1,
            **{name: [float(results.curves[name][place, seed])] for name in names},
        }
        for index, place in enumerate(places)
    }
    return steps | {"absolute_metrics": {name: [float(results.final[name][seed])] for name in names}}
