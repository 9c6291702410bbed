"""A comparison as a table to print: what each method reaches, and how it stands against the first."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence

from rich.console import Group
from rich.table import Table

from bilevel.experiments import RESAMPLES, Compared, Interval
from bilevel.report._table import MISSING, WIDTH, empty_table, number, percent, with_interval
from bilevel.report._theory_numbers import Theory, theory_parts
from bilevel.sharing import TERMS

Columns = Mapping[str, Callable[[Compared], str]]


def _measure(name: str, form: Callable[[Interval], str]) -> Callable[[Compared], str]:
    def cell(row: Compared) -> str:
        return form(row.intervals[name]) if name in row.intervals else MISSING

    return cell


REACHED: Columns = {
    "welfare [95 % interval]": _measure("welfare", with_interval),
    "optimum": _measure("optimum", lambda interval: percent(interval.estimate)),
    "equality": _measure("equality", lambda interval: number(interval.estimate)),
    "cooperation": _measure("cooperation", lambda interval: percent(interval.estimate)),
    "given": _measure("given_away", lambda interval: percent(interval.estimate)),
}
LEARNED: Columns = {f"{term} [95 % interval]": _measure(f"{term}_weight", with_interval) for term in TERMS}
WEIGHTS = (
    "Learned weights: at the end, what the settings then say of the policy's, the value's and the entropy's "
    "term, times what was learned (of a bonus that is annealed to 0 nothing is left)."
)
AGAINST: Columns = {
    "better [95 % interval]": lambda row: with_interval(row.better),
    "difference [95 % interval]": lambda row: with_interval(row.difference),
    "steps": lambda row: str(row.results.config.outer_steps),
    "seconds": lambda row: f"{row.results.seconds:.1f}",
}


def comparison_table(rows: Sequence[Compared], theory: Theory | str | None = None) -> Group:
    """A table to print in two parts, with what its words mean below; it fits a terminal of 80 columns.

    There is a third part where a method learned the weights of its losses.

    Args:
        rows: of `compare_runs`.
        theory: of the game, or why there is none, to stand below; None: nothing is said of it.
    """
    config = rows[0].results.config
    learned: list[Table | str] = (
        [_table("Learned weights of losses, mean over agents", LEARNED, rows), ""] if _weighed(rows) else []
    )
    return Group(
        _table(f"{config.game_name}, {config.seeds} seeds", REACHED, rows),
        "",
        _table(f"Against {rows[0].label}", AGAINST, rows),
        "",
        *learned,
        caption(rows),
        *([] if theory is None else ["", *theory_parts(theory, rows)]),
    )


def caption(rows: Sequence[Compared]) -> str:
    """What the table's words and intervals mean, and why it has dashes."""
    config, first = rows[0].results.config, rows[0].label
    sentences = [
        f"Welfare: of all agents, {config.game.value_unit}. Interquartile means over {config.seeds} seeds; "
        f"brackets are 95 % percentile bootstrap intervals, seeds drawn again {RESAMPLES} times, each "
        "method's by themselves, with no correction for looking at several.",
        "Optimum: 0 % is what everybody defecting earns, 100 % the best the group can do. Equality: 1 less "
        "the Gini coefficient of the agents' mean returns. Given: the part of its reward that an agent does "
        "not keep.",
        f"Better: the chance that a seed of the method has more welfare than one of {first}, ties counting "
        f"half. Difference: of the interquartile means, method less {first}. Steps: outer steps.",
        *([WEIGHTS] if _weighed(rows) else []),
        *undefined_notes(rows),
        *low_equality_notes(rows),
    ]
    return "\n".join(textwrap.fill(sentence, WIDTH) for sentence in sentences)


def undefined_notes(rows: Sequence[Compared]) -> list[str]:
    """A sentence for each measure that some seeds leave undefined: for which methods, in how many seeds."""
    counts: dict[str, list[str]] = {}
    for row in rows:
        for name, count in row.undefined.items():
            counts.setdefault(name, []).append(f"{row.label} ({count} of {row.results.config.seeds} seeds)")
    everybody = {name: ["all methods"] for name, labels in counts.items() if len(labels) == len(rows)}
    reasons = {"equality": " (returns that sum to 0 or less have none)"}
    return [
        f"A dash: {name} is not defined{reasons.get(name, '')} for {', '.join(labels)}."
        for name, labels in (counts | everybody).items()
    ]


def _weighed(rows: Sequence[Compared]) -> bool:
    """Whether some method learned the weights of its losses."""
    return any("policy_weight" in row.intervals for row in rows)


def low_equality_notes(rows: Sequence[Compared]) -> list[str]:
    """A sentence for the methods whose equality lies below 0, which it does not for returns of 0 or more."""
    labels = [
        row.label for row in rows if "equality" in row.intervals and row.intervals["equality"].estimate < 0
    ]
    if not labels:
        return []
    return [
        "Equality is from 1 over the number of agents to 1 where no return is negative. It is below 0 for "
        f"{', '.join(labels)}: there agents end below 0 whose group does not."
    ]


def _table(title: str, columns: Columns, rows: Sequence[Compared]) -> Table:
    table = empty_table(title)
    table.add_column("method", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    for row in rows:
        table.add_row(row.label, *(cell(row) for cell in columns.values()))
    return table
