"""The table of a task: in the terminal, as CSV and as Markdown."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Group

from bilevel.core import counted
from bilevel.experiments import FEWEST_SEEDS, RESAMPLES, Interval, write_text
from bilevel.report import MISSING, WIDTH, csv_text, empty_table, number, with_interval
from bilevel.tasks._study import Finished
from bilevel.tasks._summary import Row
from bilevel.tasks._task import Measure

COLUMNS: Mapping[str, Callable[[Row], str]] = {
    "mean [95 %]": lambda row: _text(row.interval),
    "difference [95 %]": lambda row: _text(row.difference),
    "seconds": lambda row: f"{row.seconds:.1f}",
}
"""What a row says beside the way to set the weights."""


def task_table(title: str, rows: Sequence[Row]) -> Group:
    """A table to print, a part for each measure, with what its words mean below; it fits 80 columns.

    Args:
        title: what the trials are of.
        rows: of `summarize`.
    """
    parts: list[Any] = []
    for measure, some in _by_measure(rows):
        table = empty_table(f"{title}, {counted(rows[0].seeds, 'seed')}: {heading(measure)}")
        table.add_column("weights", overflow="fold")
        for column in COLUMNS:
            table.add_column(column, justify="right", overflow="fold")
        for row in some:
            table.add_row(row.weighting, *(cell(row) for cell in COLUMNS.values()))
        parts += [table, ""]
    return Group(*parts, "\n".join(textwrap.fill(sentence, WIDTH) for sentence in notes(rows)))


def heading(measure: Measure) -> str:
    """A measure's name, and what is better.

    >>> heading(Measure("test accuracy (%)", "Of all.", "higher"))
    'test accuracy (%), higher is better'
    """
    return measure.name if measure.better == "neither" else f"{measure.name}, {measure.better} is better"


def notes(rows: Sequence[Row]) -> list[str]:
    """What the table's words and intervals mean, and why it has dashes."""
    seeds, first = rows[0].seeds, rows[0].weighting
    intervals = (
        f"brackets are 95 % percentile bootstrap intervals, seeds drawn again {RESAMPLES} times, with no "
        "correction for looking at several."
        if seeds >= FEWEST_SEEDS
        else f"for intervals it takes {FEWEST_SEEDS} or more."
    )
    sentences = [
        f"{measure.name[:1].upper()}{measure.name[1:]}: {measure.text}" for measure, _ in _by_measure(rows)
    ]
    sentences.append(f"Interquartile means over {counted(seeds, 'seed')}; {intervals}")
    if any(row.difference is not None for row in rows):
        sentences.append(
            f"Difference: from {first}; a seed means the same data for all, and is drawn again for both at "
            "once."
        )
    undefined: dict[str, list[str]] = {}
    for measure, some in _by_measure([row for row in rows if row.undefined]):
        listed = ", ".join(
            f"{row.weighting} ({row.undefined} of {counted(row.seeds, 'seed')})" for row in some
        )
        undefined.setdefault(listed, []).append(measure.name)
    sentences += [
        f"A dash: {' and '.join(names)} not defined for {listed}." for listed, names in undefined.items()
    ]
    return [*sentences, "Seconds: of a trial, the mean."]


def records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """A record for each row, for a spreadsheet; "" where there is no number."""
    return [
        {"measure": row.measure.name, "weights": row.weighting}
        | _ends("estimate", row.interval)
        | _ends("difference", row.difference)
        | {"seeds": row.seeds, "seconds": row.seconds}
        for row in rows
    ]


def seed_records(trials: Mapping[str, Sequence[Finished]], first_seed: int) -> list[dict[str, Any]]:
    """A record for each trial; "" where a measure makes no sense.

    Args:
        trials: way to set the weights -> its trials, seed by seed.
        first_seed: that of the first.
    """
    return [
        {"weights": weighting, "seed": seed}
        | {name: _number(value) for name, value in finished.trial.measures.items()}
        | {"seconds": finished.seconds}
        for weighting, done in trials.items()
        for seed, finished in enumerate(done, first_seed)
    ]


def markdown(rows: Sequence[Row]) -> str:
    """The table for a document: measures below each other, then what its words mean."""
    lines = [
        f"| measure | weights | {' | '.join(COLUMNS)} |",
        f"|---|---|{'---:|' * len(COLUMNS)}",
        *(
            f"| {row.measure.name} | `{row.weighting}` | "
            f"{' | '.join(cell(row) for cell in COLUMNS.values())} |"
            for row in rows
        ),
    ]
    return "\n".join([*lines, "", *(f"{sentence}\n" for sentence in notes(rows))])


def write_tables(
    rows: Sequence[Row], trials: Mapping[str, Sequence[Finished]], first_seed: int, folder: Path
) -> list[Path]:
    """Write table.csv, table.md and seeds.csv.

    Args:
        rows: of `summarize`.
        trials: way to set the weights -> its trials, seed by seed.
        first_seed: that of the first.
        folder: where; it is there.

    Raises:
        OSError: a file cannot be written.
    """
    texts = {
        "table.csv": csv_text(records(rows)),
        "table.md": markdown(rows),
        "seeds.csv": csv_text(seed_records(trials, first_seed)),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def _by_measure(rows: Sequence[Row]) -> list[tuple[Measure, list[Row]]]:
    return [(measure, list(some)) for measure, some in groupby(rows, key=lambda row: row.measure)]


def _text(interval: Interval | None) -> str:
    if interval is None:
        return MISSING
    return number(interval.estimate) if math.isnan(interval.low) else with_interval(interval)


def _ends(name: str, interval: Interval | None) -> dict[str, float | str]:
    parts = ("", "", "") if interval is None else tuple(_number(float(part)) for part in interval)
    return dict(zip((name, f"{name}_low", f"{name}_high"), parts, strict=True))


def _number(value: float) -> float | str:
    return "" if math.isnan(value) else value
