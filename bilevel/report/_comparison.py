"""Runs and comparisons as tables, and as files for spreadsheets, papers and marl-eval."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType

from bilevel.experiments import (
    ENVIRONMENT_STEPS,
    MEASURES,
    RESAMPLES,
    Compared,
    Run,
    final_shares,
    over_seeds,
    write_text,
)
from bilevel.report._table import (
    Column,
    ResultsTable,
    csv_text,
    estimate,
    folded,
    number,
    percent,
    with_interval,
)
from bilevel.report._theory_summary import Theory, theory_record, theory_tables
from bilevel.sharing import TERMS, edge_recovery


def _measure(name: str, heading: str, form: Callable[[Any], str]) -> Column:
    return Column(heading=heading, name=name, form=form, interval=True)


COLUMNS = {
    column.name: column
    for column in (
        Column(heading="method", name="method"),
        Column(heading="seeds", name="seeds", form=str),
        _measure("welfare", "welfare\n[95 % interval]", with_interval),
        _measure("normalized_score", "normalized\nscore", estimate(percent)),
        _measure("equality", "equality", estimate(number)),
        _measure("cooperation", "cooperation", estimate(percent)),
        _measure("given_away", "share\ngiven\naway", estimate(percent)),
        _measure("edge_precision", "edge\nprecision\n[95 % interval]", with_interval),
        _measure("edge_recall", "edge\nrecall\n[95 % interval]", with_interval),
        *(_measure(f"{term}_weight", f"{term}\n[95 % interval]", with_interval) for term in TERMS),
        _measure("probability_of_improvement", "P(improvement)\n[95 % interval]", with_interval),
        _measure("difference", "difference\n[95 % interval]", with_interval),
        Column(heading="outer\nsteps", name="outer_steps", form=str),
        Column(heading="environment\nsteps", name="environment_steps", form=str),
        Column(heading="seconds", name="seconds", form=lambda seconds: f"{seconds:.1f}"),
    )
}
"""All columns, in the order of table.csv."""
RUN = ("method", "welfare", "normalized_score", "cooperation", "given_away", "seconds")
REACHED = ("method", "welfare", "normalized_score", "equality", "cooperation", "given_away")
STRUCTURE = ("method", "edge_precision", "edge_recall")
LEARNED = ("method", *(f"{term}_weight" for term in TERMS))
AGAINST = ("method", "probability_of_improvement", "difference", "outer_steps", "seconds")

RUN_NOTES = (
    "Interquartile means over seeds, with 95 % bootstrap intervals.",
    "Welfare: the sum over all agents.",
    "Normalized score: 0 % is the welfare of mutual defection, 100 % the optimum.",
    "Cooperation: the fraction of actions that the game defines as cooperative.",
    "Share given away: the fraction of its own reward that an agent does not keep.",
)
STRUCTURE_NOTE = (
    "Edge precision: the fraction of learned sharing edges that are useful: they lead to an agent that acts "
    "for the giver in the welfare optimum. Edge recall: the fraction of useful edges that are learned, with "
    "more than half of an equal share of what the giver gives away. Equal sharing has recall 1, and as "
    "precision the density of useful edges"
)
WEIGHTS_NOTE = (
    "Learned weights: the final coefficients of the policy, value and entropy terms times the learned "
    "factors (an entropy bonus that is annealed to 0 stays at 0)."
)

ENVIRONMENT = "bilevel"
"""marl-eval's name of a family of tasks; the tasks are the games."""
MAX_STEPS = 200
"""Steps of learning, evenly spaced, in marl-eval's file."""


def results_table(runs: Sequence[Run]) -> Group:
    """Build a table for a terminal of 80 columns: one row per run, one part per game.

    Args:
        runs: finished runs.
    Returns:
        Something that rich prints.

    >>> import rich
    >>> from bilevel.experiments import train
    >>> rich.print(results_table([train("chicken", "tos", seeds=3, outer_steps=2, out="run")]))
    chicken
    ...
    """
    games = dict.fromkeys(run.config.game_name for run in runs)
    tables: list[ResultsTable] = []
    with_structure: list[Run] = []
    for name in games:
        same = [run for run in runs if run.config.game_name == name]
        tables.append(run_table(name, same))
        structured = [run for run in same if MEASURES["edge_recall"](run) is not None]
        if structured:
            title = f"{name}: learned sharing edges"
            tables.append(run_table(title, structured, STRUCTURE))
            with_structure += structured
    below = [*RUN_NOTES, *_structure_notes(with_structure)]
    return Group(*(part for table in tables for part in (table.to_rich(), "")), folded(below))


def comparison_table(
    rows: Sequence[Compared], theory: Theory | str | None = None, further_notes: Sequence[str] = ()
) -> Group:
    """Build a table for a terminal of 80 columns: results, differences, loss weights, notes and theory.

    Args:
        rows: the methods compared, the baseline first.
        theory: result of `theory_of`; None: no theory.
        further_notes: sentences after those on the columns.
    Returns:
        Something that rich prints.

    >>> import rich
    >>> from bilevel.experiments import compare
    >>> compared = compare("chicken", ["selfish", "tos"], seeds=3, outer_steps=2, out="runs")
    >>> rich.print(comparison_table(compared.rows))
    chicken, 3 seeds
    ...
    """
    below: list[RenderableType] = [] if theory is None else ["", *theory_tables(theory, rows)]
    return Group(
        *(part for table in comparison_tables(rows) for part in (table.to_rich(), "")),
        folded([*notes(rows), *further_notes]),
        *below,
    )


def comparison_tables(rows: Sequence[Compared]) -> list[ResultsTable]:
    """Build the tables of a comparison: results, differences, and, where learned, edges and loss weights.

    Args:
        rows: the methods compared, the baseline first.

    >>> from bilevel.experiments import compare
    >>> compared = compare("chicken", ["selfish", "tos"], seeds=3, outer_steps=2, out="runs")
    >>> [table.title for table in comparison_tables(compared.rows)]
    ['chicken, 3 seeds', 'Compared with selfish']
    """
    config = rows[0].results.config
    parts: dict[str, Sequence[str]] = {f"{config.game_name}, {config.seeds} seeds": REACHED}
    if len(rows) > 1:
        parts[f"Compared with {rows[0].label}"] = AGAINST
    if _structure_known(rows):
        parts["Learned sharing edges against the influence graph"] = STRUCTURE
    if _weights_learned(rows):
        parts["Learned loss weights, mean over agents"] = LEARNED
    return [_table(rows, names, title) for title, names in parts.items()]


def notes(rows: Sequence[Compared]) -> list[str]:
    """Notes that explain a comparison's headings, intervals and missing values."""
    config, first = rows[0].results.config, rows[0].label
    return [
        f"Welfare: the sum over all agents, {config.game.value_unit}. Interquartile means over "
        f"{config.seeds} seeds; brackets are 95 % percentile bootstrap intervals from {RESAMPLES} resamples "
        "of each method's seeds, without correction for multiple comparisons.",
        "Normalized score: 0 % is the welfare of mutual defection, 100 % the welfare optimum. Equality: 1 "
        "minus the Gini coefficient of the agents' mean returns. Cooperation: the fraction of actions that "
        "the game defines as cooperative. Share given away: the fraction of its own reward that an agent "
        "does not keep.",
        "P(improvement): the probability that a seed of the method has higher welfare than a seed of "
        f"{first}, with ties counted half. Difference: interquartile mean of welfare minus that of {first}.",
        *_structure_notes([row.results for row in rows if "edge_recall" in row.intervals]),
        *([WEIGHTS_NOTE] if _weights_learned(rows) else []),
        *_undefined_notes(rows),
        *_low_equality_notes(rows),
    ]


def write_comparison_files(
    rows: Sequence[Compared], folder: Path, theory: Theory | str | None = None
) -> list[Path]:
    """Write the numbers of a comparison; an earlier theory.json is removed if there is no theory.

    Args:
        rows: the methods compared, the baseline first.
        folder: created if it does not exist.
        theory: result of `theory_of`; None: no theory.
    Returns:
        The files written: table.csv, a row for each method; seeds.csv, one for each method and seed;
        marl-eval.json; theory.json, if there is any.

    >>> from pathlib import Path
    >>> from bilevel.experiments import compare
    >>> compared = compare("chicken", ["selfish", "tos"], seeds=3, outer_steps=2, out="runs")
    >>> [path.name for path in write_comparison_files(compared.rows, Path("report"))]
    ['table.csv', 'seeds.csv', 'marl-eval.json']
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = marl_eval_data({row.label: row.results for row in rows})
    texts = {
        "table.csv": _table(rows, list(COLUMNS)).to_csv(),
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


def seed_records(rows: Sequence[Compared]) -> list[dict[str, Any]]:
    """Records of each method and seed: `MEASURES`, then all other metrics except arrays; "" if undefined."""
    metrics = (name for row in rows for name, values in row.results.final.items() if values.ndim == 1)
    names = list(dict.fromkeys([*MEASURES, *metrics]))

    def value(row: Compared, name: str, index: int) -> float | str:
        values = row.measures.get(name, row.results.final.get(name))
        return "" if values is None or np.isnan(values[index]) else float(values[index])

    return [
        {"method": row.label, "seed": row.results.config.seed + index}
        | {name: value(row, name, index) for name in names}
        for row in rows
        for index in range(row.results.config.seeds)
    ]


def marl_eval_data(runs: Mapping[str, Run]) -> dict[str, Any]:
    """Convert runs to marl-eval's raw experiment data (id-marl-eval 0.0.4).

    {environment: {task: {algorithm: {run: {step_k: {step_count, metric: [..]}, .., absolute_metrics:
    {metric: [..]}}}}}}, every list with one number, which is a mean over episodes already. Here `step_count`
    counts outer steps, and `absolute_metrics` are the final policies on fresh episodes (the protocol takes
    the best ones instead). All methods have the same number of steps and the same metrics, as required: those
    that are finite in all of them, without shares and arrays.

    Source:
        Gorsane et al., Towards a standardized performance evaluation protocol for cooperative MARL, arXiv
        2209.10485.
    """
    first = next(iter(runs.values()))
    names = [
        name
        for name in first.final
        if not name.startswith("share_") and all(_finite(run, name) for run in runs.values())
    ]
    count = min(MAX_STEPS, *(len(run.curves["welfare"]) for run in runs.values()))
    algorithms = {
        label: {
            f"seed_{run.config.seed + index}": _marl_eval_run(run, names, index, count)
            for index in range(run.config.seeds)
        }
        for label, run in runs.items()
    }
    return {ENVIRONMENT: {first.config.game_name: algorithms}}


def _table(rows: Sequence[Compared], names: Sequence[str], title: str = "") -> ResultsTable:
    values = []
    for row in rows:
        run = row.results
        counts = run.curves.get(ENVIRONMENT_STEPS)
        known = {"method": row.label, "seeds": run.config.seeds, **row.intervals, "seconds": run.seconds}
        known |= {
            "probability_of_improvement": row.probability_of_improvement,
            "difference": row.difference,
            "outer_steps": run.config.outer_steps,
            "environment_steps": None if counts is None else float(counts[-1].mean()),
        }
        values.append([known.get(name) for name in names])
    return ResultsTable(title=title, columns=[COLUMNS[name] for name in names], rows=values)


def run_table(title: str, runs: Sequence[Run], columns: Sequence[str] = RUN) -> ResultsTable:
    """Build a table of runs: a row for each.

    >>> from bilevel.experiments import train
    >>> run = train("chicken", "tos", seeds=3, outer_steps=2, out="run")
    >>> run_table("chicken", [run], ["method", "welfare"]).texts()
    [['tos', '-0.659 [-0.940, -0.508]']]
    """
    rows = []
    for run in runs:
        known: dict[str, Any] = {"method": run.config.method_name, "seconds": run.seconds}
        for name in set(columns) - known.keys():
            values = MEASURES[name](run)
            known[name] = None if values is None else over_seeds(values)
        rows.append([known[name] for name in columns])
    return ResultsTable(title=title, columns=[COLUMNS[name] for name in columns], rows=rows)


def _structure_notes(runs: Sequence[Run]) -> list[str]:
    """Note on precision and recall, with the density of useful edges in each game."""
    densities: dict[str, None] = {}
    for run in runs:
        shares, game = final_shares(run), run.config.game
        if shares is not None:
            density = percent(edge_recovery(shares, game).density)
            densities[f"{run.config.game_name} with {game.num_agents} agents {density}"] = None
    return [f"{STRUCTURE_NOTE}: {', '.join(densities)}."] if densities else []


def _undefined_notes(rows: Sequence[Compared]) -> list[str]:
    """Notes on measures that are undefined in some seeds: methods, and numbers of seeds."""
    counts: dict[str, list[str]] = {}
    for row in rows:
        for name, count in row.undefined.items():
            counts.setdefault(name, []).append(f"{row.label} ({count} of {row.results.config.seeds} seeds)")
    reasons = {
        "equality": " (the returns sum to 0 or less)",
        "edge_precision": " (no agent gives away more than 1 %)",
    }
    return [
        f"A dash: {name} is undefined{reasons.get(name, '')} for "
        f"{'all methods' if len(labels) == len(rows) else ', '.join(labels)}."
        for name, labels in counts.items()
    ]


def _low_equality_notes(rows: Sequence[Compared]) -> list[str]:
    """Note on the methods whose equality is below 0, as it can be with negative returns."""
    known = ((row.label, row.intervals["equality"]) for row in rows if "equality" in row.intervals)
    labels = [label for label, equality in known if equality.estimate < 0]
    if not labels:
        return []
    return [
        "Equality lies between 1/N and 1, for N agents, where no return is negative. It is below 0 for "
        f"{', '.join(labels)}: some agents have negative returns, although the sum is positive."
    ]


def _structure_known(rows: Sequence[Compared]) -> bool:
    return any("edge_recall" in row.intervals for row in rows)


def _weights_learned(rows: Sequence[Compared]) -> bool:
    return any("policy_weight" in row.intervals for row in rows)


def _finite(run: Run, name: str) -> bool:
    known = name in run.curves and name in run.final and run.final[name].ndim == 1
    return known and bool(np.isfinite(run.curves[name]).all() and np.isfinite(run.final[name]).all())


def _marl_eval_run(run: Run, names: Sequence[str], index: int, count: int) -> dict[str, Any]:
    """Convert a seed, by index, to one of marl-eval's runs: `count` of its steps, then final metrics."""
    total = len(run.curves["welfare"])
    indices = np.linspace(total / count - 1, total - 1, count).round().astype(int)
    steps: dict[str, Any] = {
        f"step_{place}": {
            "step_count": int(step) + 1,
            **{name: [float(run.curves[name][step, index])] for name in names},
        }
        for place, step in enumerate(indices)
    }
    return steps | {"absolute_metrics": {name: [float(run.final[name][index])] for name in names}}
