"""Sweeps as tables, and as files."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType

from bilevel.core import counted
from bilevel.experiments import MEASURES, over_seeds, write_text
from bilevel.report._table import (
    Column,
    ResultsTable,
    csv_text,
    estimate,
    folded,
    percent,
    with_interval,
)

if TYPE_CHECKING:
    from bilevel.sweeps import SweepPoint

MEASURED = ("welfare", "normalized_score", "cooperation", "given_away")


COLUMNS = (
    Column(heading="game"),
    Column(heading="method"),
    Column(heading="settings"),
    Column(heading="welfare\n[95 % interval]", name="welfare", form=with_interval, interval=True),
    Column(heading="normalized\nscore", name="normalized_score", form=estimate(percent), interval=True),
    Column(heading="cooperation", form=estimate(percent), interval=True),
    Column(heading="share\ngiven\naway", name="given_away", form=estimate(percent), interval=True),
    Column(heading="state"),
)
IN_TERMINAL = ("method", "settings", "welfare", "normalized_score", "state")


def sweep_tables(points: Sequence[SweepPoint]) -> Group:
    """Build tables for a terminal of 80 columns: one per game, a row for each combination of values.

    Args:
        points: the combinations.
    Returns:
        Something that rich prints; rows without results are of runs that are unfinished or have failed.

    >>> import rich
    >>> from bilevel.sweeps import Sweep, points_of
    >>> sweep = Sweep(games=["chicken"], methods={"tos": "tos"}, axes={"own_share": [0.5, 0.9]})
    >>> rich.print(sweep_tables(points_of(sweep.runs, Path("sweep"))))
    chicken
    ...
    """
    parts: list[RenderableType] = []
    for game, group in itertools.groupby(points, key=lambda point: point.game):
        parts += [_table(list(group), IN_TERMINAL, game).to_rich(), ""]
    return Group(*parts, folded(_notes(points)))


def _table(points: Sequence[SweepPoint], names: Sequence[str], title: str = "") -> ResultsTable:
    columns = {column.name or column.heading: column for column in COLUMNS}
    return ResultsTable(
        title=title,
        columns=[columns[name] for name in names],
        rows=[[_value(point, name) for name in names] for point in points],
    )


def _value(point: SweepPoint, name: str) -> Any:
    if name in MEASURED:
        return None if point.run is None else _measure(point, name)
    if name == "settings":
        return ", ".join(f"{setting}={_text(value)}" for setting, value in point.values.items()) or "preset"
    return {"game": point.game, "method": point.label, "state": _state(point)}[name]


def write_sweep_files(points: Sequence[SweepPoint], folder: Path) -> list[Path]:
    """Write a sweep's numbers.

    Args:
        points: the combinations.
        folder: folder of the sweep.
    Returns:
        The files written: table.csv and table.md, a row for each combination; seeds.csv, a row for each
        combination and seed, with a column for each varied setting.

    >>> from bilevel.sweeps import Sweep, points_of
    >>> points = points_of(Sweep(games=["chicken"], methods={"tos": "tos"}).runs, Path("sweep"))
    >>> [path.name for path in write_sweep_files(points, Path("sweep"))]
    ['table.csv', 'table.md', 'seeds.csv']
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = _table(points, [column.name or column.heading for column in COLUMNS])
    texts = {
        "table.csv": table.to_csv(),
        "table.md": table.to_markdown(),
        "seeds.csv": csv_text(records) if (records := _seed_records(points)) else "",
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def _measure(point: SweepPoint, name: str) -> Any:
    assert point.run is not None
    values = MEASURES[name](point.run)
    return None if values is None else over_seeds(values)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _state(point: SweepPoint) -> str:
    if point.failures or point.pruned:
        return "failed" if point.failures else "pruned"
    return "finished" if point.run is not None else "waiting"


def _notes(points: Sequence[SweepPoint]) -> list[str]:
    notes = [
        "Interquartile means over seeds, with 95 % bootstrap intervals. Welfare: the sum over all agents."
    ]
    failed = [point for point in points if point.failures]
    notes += [
        f"Failed: {point.label} on {point.game}"
        f"{''.join(f', {name}={value}' for name, value in point.values.items())}: {point.failures[0]}"
        for point in failed[:5]
    ]
    if len(failed) > 5:
        notes.append(f"And {counted(len(failed) - 5, 'more failed combination')}.")
    return notes


def _seed_records(points: Sequence[SweepPoint]) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(name for point in points for name in point.values))
    records = []
    for point in points:
        if point.run is None:
            continue
        config, final = point.run.config, point.run.final
        measures = {name: MEASURES[name](point.run) for name in MEASURED}
        measures |= {name: values for name, values in final.items() if values.ndim == 1}
        for index in range(config.seeds):
            record: dict[str, Any] = {"game": point.game, "method": point.label}
            record |= {name: point.values.get(name, "") for name in names}
            record["seed"] = config.seed + index
            for name, values in measures.items():
                record[name] = "" if values is None else float(values[index])
            records.append(record)
    every = list(dict.fromkeys(name for record in records for name in record))
    return [{name: record.get(name, "") for name in every} for record in records]
