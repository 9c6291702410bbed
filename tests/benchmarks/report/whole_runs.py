"""Whole runs and growth in the report: how long a run takes in all, and what its settings cost."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.benchmarks.growth import AXES, MANY_AGENTS
from tests.benchmarks.report.layout import markdown, number
from tests.benchmarks.report.results import Results
from tests.benchmarks.whole_runs import CACHED, COLUMNS, DEFAULT, FEW, WHOLE_RUNS

Row = dict[str, Any]
BY_HAND = "PyTorch by hand"
DECIDING = (DEFAULT.name, CACHED.name)
"""Commands that compile long runs alone: of these a run of few outer steps says nothing."""
LEAST_COMPUTING = 0.85
"""Of a run's time; one that computed less is left out."""

ABOUT_RUNS = """\
A run is a process of its own, bound to one core, from its start to its end: imports, configuration, training,
the evaluation of the final policies, and, of ours, figures, summary and checkpoints. Ours is the real command
line, `bilevel train --method tos`, with the game's preset (32 seeds, K = 1). The loops by hand
(`tests/benchmarks/peers/scripts/`) write the same metrics of every outer step and the same evaluation, but
no figures; in float64 they give the same hypergradient as ours on the same samples. Commands take turns in
rounds, forth and back; numbers are medians over rounds, ratios medians of the ratios within a round. Runs
that computed for less than 85 % of their time, because others used the machine, are left out.

A run that would take more than {limit} s is stopped. What it would have taken is then computed, and
marked ~: the time until it was stopped, the remaining outer steps at the mean time of those in the later half
of what was measured, and the end of a run of {short} outer steps. Whether the default compiles depends on the
number of outer steps, so it is run for each number; the longest runs of the others are extended. "Before" is
the same command at commit {before}. In brackets: times PyTorch by hand, or else the first row."""

ABOUT_GROWTH = """\
One outer step of `tos` in a fresh process on one core, eager, as one setting grows and all others stay (the
preset's, but for what is named): the median time, and the peak of resident memory above the process with the
learner. Exponents are slopes of the logarithms, by least squares over all values."""


ABOUT_MANY_AGENTS = """\
One outer step of `tos`, 8 seeds, in a fresh process on one core, eager. On a known graph (`aid`, a small
world of mean degree 4) agents share with their neighbors, and time and memory grow with the number of edges;
on a hidden one (`aid-hidden`) all share with all, and both grow with the square of the number of agents.
Sampled: 32 episodes per seed and sample. Seconds are medians of three or more steps; CPU seconds leave out
the time in which other programs had the core, and approximate a step on a quiet machine. Peak memory is that
of the whole process, with Python and PyTorch (about 280 MB).
`python -m tests.benchmarks --only "many agents"` measures this table."""


def lengths(rows: Sequence[Row]) -> list[int]:
    """List the numbers of outer steps that were asked for, in order."""
    return sorted({row["outer_steps"] for row in rows})


def seconds_by_round(rows: Sequence[Row], steps: int) -> dict[int, float]:
    """Say how long one command's run of so many outer steps takes, in each round that tells.

    Args:
        rows: the command's.
        steps: outer steps.
    """
    ends = [row["seconds"] - row["last"] for row in rows if row["seconds"] is not None]
    longer = [length for length in lengths(rows) if length >= steps]
    if not ends or not rows:
        return {}
    nearest = min(longer, default=lengths(rows)[-1])
    if rows[0]["variant"] in DECIDING and nearest <= FEW < steps:
        return {}
    found = {}
    for row in rows:
        if row["outer_steps"] != nearest:
            continue
        if row["seconds"] is not None and nearest == steps:
            found[row["round"]] = row["seconds"]
        elif str(steps) in row["marks"]:
            found[row["round"]] = row["marks"][str(steps)] + statistics.median(ends)
        elif row["steps"] < steps and steady(row):
            rest = (steps - row["steps"]) * row["step"]
            found[row["round"]] = row["last"] + rest + statistics.median(ends)
    return found


def steady(row: Row) -> bool:
    """Whether a run tells what a later step takes: it was stopped, or is not one of the short ones."""
    return row["step"] is not None and (row["seconds"] is None or row["steps"] >= COLUMNS[0])


def measured_whole(rows: Sequence[Row], steps: int) -> bool:
    """Whether runs of so many outer steps went to their end."""
    same = [row for row in rows if row["outer_steps"] == steps]
    return bool(same) and all(row["seconds"] is not None for row in same)


def step_by_round(rows: Sequence[Row]) -> dict[int, float]:
    """Seconds of a later outer step in each round, from the run that took most of them."""
    found: dict[int, tuple[int, float]] = {}
    for row in rows:
        if steady(row):
            found[row["round"]] = max(found.get(row["round"], (0, 0.0)), (row["steps"], row["step"]))
    return {turn: step for turn, (_, step) in found.items()}


def ratio(ours: dict[int, float], theirs: dict[int, float]) -> float | None:
    """Median over rounds of ours / theirs; None without a common round."""
    ratios = [ours[turn] / theirs[turn] for turn in ours if turn in theirs]
    return statistics.median(ratios) if ratios else None


def of_command(results: Results, name: str, command: str) -> list[Row]:
    """The runs of one command of one game, without those that had to wait for their core."""
    return [row for row in results.rows(name, "runs") if row["variant"] == command and undisturbed(row)]


def undisturbed(row: Row) -> bool:
    """Whether a run computed for most of its time: a process on one core that waits is held up by others."""
    elapsed = row["last"] if row["seconds"] is None else row["seconds"]
    return elapsed is None or bool(row["cpu"] >= LEAST_COMPUTING * elapsed)


def run_table(results: Results, name: str) -> str:
    """Write one game's runs: start, a step, and whole runs by their number of outer steps."""
    commands = [
        command.name for command in WHOLE_RUNS[name].commands if of_command(results, name, command.name)
    ]
    base = of_command(results, name, BY_HAND if BY_HAND in commands else commands[0])
    body = []
    for command in commands:
        rows = of_command(results, name, command)
        ends = [row["seconds"] - row["last"] for row in rows if row["seconds"] is not None]
        step = {turn: 1e3 * value for turn, value in step_by_round(rows).items()}
        body.append(
            [
                command,
                _median([row["marks"]["1"] for row in rows if "1" in row["marks"]]),
                _beside(step, {turn: 1e3 * value for turn, value in step_by_round(base).items()}),
                _median(ends),
                *(_whole(rows, base, steps) for steps in COLUMNS),
                _median([row["peak"] / 1e6 for row in rows if row["seconds"] is not None]),
            ]
        )
    header = ["seconds", "to the first step", "ms per outer step", "after the last"]
    return markdown([*header, *(f"{steps} steps" for steps in COLUMNS), "peak, MB"], body)


def _whole(rows: Sequence[Row], base: Sequence[Row], steps: int) -> str:
    if max(lengths(rows)) < min(COLUMNS) and not any(row["step"] for row in rows):
        return "-"
    text = _beside(seconds_by_round(rows, steps), seconds_by_round(base, steps))
    return text if measured_whole(rows, steps) or text == "-" else f"~{text}"


def _beside(values: dict[int, float], base: dict[int, float]) -> str:
    if not values:
        return "-"
    times = ratio(values, base)
    return number(statistics.median(values.values())) + (f" ({number(times)})" if times is not None else "")


def _median(values: Sequence[float]) -> str:
    return number(statistics.median(values)) if values else "-"


def fit_power(points: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """Fit log y = a + b log x by least squares; None with fewer than three positive points.

    Returns:
        b, and R^2.

    >>> [round(number, 6) for number in fit_power([(1, 3), (10, 300), (100, 30_000)])]
    [2.0, 1.0]
    """
    logs = np.log([(x, y) for x, y in points if x > 0 and y > 0])
    if len(logs) < 3:
        return None
    slope, constant = np.polyfit(logs[:, 0], logs[:, 1], 1)
    rest = float(np.square(logs[:, 1] - constant - slope * logs[:, 0]).sum())
    spread = float(np.square(logs[:, 1] - logs[:, 1].mean()).sum())
    return float(slope), 1 - rest / spread if spread else 1.0


def growth_table(results: Results) -> str:
    """Write time and memory along every axis, with the exponents."""
    body = []
    for axis in AXES:
        rows = [row for row in results.rows("growth", "growth") if row["axis"] == axis.name]
        if rows:
            values = ", ".join(str(row["value"]) for row in rows)
            body.append(
                [
                    axis.title,
                    values,
                    *_growth(rows, lambda row: 1e3 * row["seconds"]),
                    *_growth(rows, lambda row: row["bytes"] / 1e6),
                ]
            )
    header = ["setting", "values", "ms", "exponent", "R^2", "MB", "exponent", "R^2"]
    return markdown(header, body)


def many_agents_table(results: Results) -> str:
    """Write seconds and peak memory of an outer step of many agents."""
    found = results.rows("many agents", "growth")
    body = [
        [axis.label, str(row["value"]), *map(number, (row["seconds"], row["cpu"], row["resident"] / 1e6))]
        for axis in MANY_AGENTS
        for row in found
        if row["axis"] == axis.name
    ]
    return markdown(["sharing", "agents", "s of an outer step", "CPU s", "peak memory, MB"], body)


def _growth(rows: Sequence[Row], value: Callable[[Row], float]) -> list[str]:
    fit = fit_power([(row["value"], value(row)) for row in rows])
    shown = ", ".join(number(value(row)) for row in rows)
    return [shown, *(["-", "-"] if fit is None else [f"{fit[0]:.2f}", f"{fit[1]:.3f}"])]
