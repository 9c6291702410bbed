"""Tables of the report, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.benchmarks.experiments import EXPERIMENTS, Experiment
from tests.benchmarks.report.layout import markdown, number
from tests.benchmarks.report.results import Results
from tests.benchmarks.report.targets import Target, per_package, targets


def time_tables(results: Results, name: str) -> str:
    """Write the milliseconds of an experiment: a table for each K, or one where there is one size only."""
    experiment = EXPERIMENTS[name]
    rows = results.rows(name, "times")
    sizes, steps = (list(dict.fromkeys(row[key] for row in rows)) for key in ("size", "steps"))
    if len(sizes) == 1:
        columns = [(sizes[0], count, f"K = {count}") for count in steps]
        return _time_table(results, experiment, columns)
    blocks = []
    for count in steps:
        columns = [(size, count, _column(experiment, rows, size, count)) for size in sizes]
        blocks.append(f"K = {count}\n\n{_time_table(results, experiment, columns)}")
    return "\n\n".join(blocks)


def _column(experiment: Experiment, rows: Sequence[dict[str, Any]], size: int, steps: int) -> str:
    cores = next((row["threads"] for row in rows if (row["size"], row["steps"]) == (size, steps)), 1)
    return f"{size} {experiment.count}" + (f", {cores} cores" if cores > 1 else "")


def _time_table(results: Results, experiment: Experiment, columns: Sequence[tuple[int, int, str]]) -> str:
    """Milliseconds, in brackets as multiples of the first variant's, and the gradient's greatest error."""
    first = experiment.variants[0].name
    body = []
    for variant in experiment.variants:
        cells = []
        for size, steps, _ in columns:
            mine = results.seconds(experiment.name, size, steps, first)
            time = results.seconds(experiment.name, size, steps, variant.name)
            cells.append(_milliseconds(time, mine))
        error = results.worst_error(experiment.name, variant.name)
        if any(cell != "-" for cell in cells) or error is not None:
            body.append([variant.name, *cells, "-" if error is None else f"{error:.0e}"])
    return markdown(["ms", *(title for *_, title in columns), "error"], body)


def _milliseconds(time: float | None, base: float | None) -> str:
    if time is None:
        return "-"
    return number(1e3 * time) + (f" ({number(time / base)})" if base is not None else "")


def rate_table(results: Results, name: str) -> str:
    """Write the million agent steps per second of an experiment that plays a game."""
    body = []
    for row in results.rows(name, "times"):
        rate = results.rate(name, row["size"], row["steps"], row["variant"])
        assert rate is not None
        body.append([row["variant"], str(row["size"]), str(row["threads"]), number(rate / 1e6)])
    return markdown(["million agent steps per second", "copies", "cores", ""], body)


def memory_table(results: Results, name: str) -> str:
    """Write the megabytes of an experiment over K, above the process with the model."""
    rows = results.rows(name, "memory")
    steps = sorted({row["steps"] for row in rows})
    body = []
    for variant in EXPERIMENTS[name].variants:
        used = {row["steps"]: row["bytes"] for row in rows if row["variant"] == variant.name}
        if used:
            body.append([variant.name, *(number(used[k] / 1e6) if k in used else "-" for k in steps)])
    return markdown(["MB", *(f"K = {count}" for count in steps)], body)


def compile_table(results: Results) -> str:
    """Write the seconds of first calls."""
    body = [
        [
            f"{row['experiment']}, {row['size']} {EXPERIMENTS[row['experiment']].count}",
            number(row["cold"]),
            str(row["packages"]),
            number(row["again"]),
            number(1e3 * per_package(row)),
        ]
        for row in results.rows("compiling", "compiling")
    ]
    header = ["first call", "cold, s", "packages", "second process, s", "to find a package, ms"]
    return markdown(header, body)


def reseed_table(results: Results) -> str:
    """Write what other numbers of seeds cost after the first."""
    rows = results.rows("compiling", "reseeding")
    body = [[str(row["size"]), number(row["first_call"]), str(row["packages"])] for row in rows]
    return markdown(["seeds", "first call, s", "packages built"], body)


def target_table(results: Results) -> str:
    """Write every target and whether it was reached."""
    return markdown(
        ["target", "to reach", "measured", ""], [_target_row(target) for target in targets(results)]
    )


def _target_row(target: Target) -> list[str]:
    sign = "at most" if target.at_most else "at least"
    unit = f" {target.unit}" if target.unit else ""
    bound = f"{sign} {target.bound:g}{unit}"
    if target.measured is None:
        return [target.text, bound, "-", target.verdict]
    small = 0 < abs(target.measured) < 1e-3
    measured = f"{target.measured:.1e}" if small else number(target.measured)
    return [target.text, bound, f"{measured}{unit}", target.verdict]


def update_rule_table(results: Results) -> str:
    """Update rules: a batch of seeds against a loop over them."""
    rows = []
    for row in results.rows("update rules", "update rules"):
        seeds, batch, loop = row["seeds"], 1e3 * row["batch"], 1e3 * row["by_hand"]
        cells = number(batch), number(loop), number(loop * seeds), number(loop * seeds / batch)
        rows.append([row["rule"], str(seeds), *cells])
    header = ["rule", "seeds", "ms, in one batch", "ms, one seed by hand", "ms, all by hand", "ratio"]
    return markdown(header, rows)
