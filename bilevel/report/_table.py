"""Results tables: one set of columns and rows, for a terminal, as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table

if TYPE_CHECKING:
    from bilevel.experiments import Interval

WIDTH = 80
"""Width of tables and wrapped sentences in characters."""
GAP = 2
"""Width between two columns in a terminal."""
MISSING = "-"
"""Text of a missing number."""


def number(value: float | np.ndarray) -> str:
    """Format a number in up to seven characters, with up to three decimals.

    Args:
        value: any finite number.
    Returns:
        The text.

    >>> [number(value) for value in (2 / 3, -1e-9, -123.456, 123456.7, -1234567.0)]
    ['0.667', '0.000', '-123.46', '123457', '-1.2e+06']
    """
    size = abs(float(value))
    if size >= 999_999.5:
        return f"{float(value):.1e}"
    places = next((places for places, limit in ((3, 100), (2, 1000), (1, 10_000)) if size < limit), 0)
    return f"{float(value):z.{places}f}"


def exact_number(value: float) -> str:
    """Format a number that is exact up to rounding, in four digits.

    >>> exact_number(2 / 3), exact_number(-1e-17), exact_number(9.0)
    ('0.6667', '0', '9')
    """
    return f"{value:.4g}" if abs(value) > 1e-12 else "0"


def with_interval(interval: Interval | None) -> str:
    """Format an estimate with its interval.

    Args:
        interval: NaN ends are left out; None: missing.
    Returns:
        The text, "-" if missing.

    >>> from bilevel.experiments import Interval
    >>> with_interval(Interval(np.array(1.0), np.array(-0.5), np.array(2.0)))
    '1.000 [-0.500, 2.000]'
    """
    if interval is None:
        return MISSING
    ends = "" if np.isnan(interval.low) else f" [{number(interval.low)}, {number(interval.high)}]"
    return f"{number(interval.estimate)}{ends}"


def percent(value: float | np.ndarray) -> str:
    """Format a share as a percentage.

    Args:
        value: a share, where 1 is the whole.
    Returns:
        The text, with one decimal.

    >>> percent(0.1234)
    '12.3 %'
    """
    return f"{100 * float(value):z.1f} %"


def estimate(form: Callable[[np.ndarray], str]) -> Callable[[Interval], str]:
    return lambda interval: form(interval.estimate)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a results table.

    >>> from bilevel.report import number
    >>> column = Column(heading="welfare", form=number)
    >>> column.text(2 / 3), column.text(None), column.cells(2 / 3)
    ('0.667', '-', {'welfare': 0.6666666666666666})
    """

    heading: str
    """Heading; its line breaks apply to terminals only."""
    name: str = ""
    """Name in CSV; "": the heading."""
    form: Callable[[Any], str] | None = None
    """Format of values, aligned right; None: words, aligned left."""
    interval: bool = False
    """Values are `Interval`s; in CSV these are three columns: NAME, NAME_low and NAME_high."""
    wrap: bool = True
    """Wrap long texts in a narrow terminal."""
    min_width: int | None = None
    """Minimum width in a terminal."""
    code: bool = False
    """Set texts as code in Markdown."""

    @property
    def one_line(self) -> str:
        """Heading without line breaks."""
        return self.heading.replace("\n", " ")

    def text(self, value: Any) -> str:
        """Format a value; a text is taken as it is, and None is missing."""
        if value is None or isinstance(value, str):
            return MISSING if value is None else value
        return str(value) if self.form is None else self.form(value)

    def cells(self, value: Any) -> dict[str, Any]:
        """Columns of a value in CSV: name -> number or text, "" if missing."""
        name = self.name or self.one_line
        if not self.interval:
            return {name: _plain(value)}
        parts = (None, None, None) if value is None else value
        return dict(zip((name, f"{name}_low", f"{name}_high"), map(_plain, parts), strict=True))


@dataclass(frozen=True, kw_only=True)
class ResultsTable:
    """Results as a table.

    >>> from bilevel.report import Column, percent
    >>> columns = Column(heading="method", code=True), Column(heading="share", form=percent)
    >>> table = ResultsTable(columns=columns, rows=[("tos", 0.5), ("lio", None)], notes=["Of all rewards."])
    >>> print(table.to_markdown(), end="")
    | method | share |
    |---|---:|
    | `tos` | 50.0 % |
    | `lio` | - |
    <BLANKLINE>
    Of all rewards.
    >>> print(table.to_csv(), end="")
    method,share
    tos,0.5
    lio,
    """

    title: str = ""
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    """Values of each row, by column; trailing ones may be omitted."""
    notes: Sequence[str] = ()
    """Sentences below the table."""

    def texts(self) -> list[list[str]]:
        return [
            [column.text(value) for column, value in zip(self.columns, row, strict=False)]
            for row in self.rows
        ]

    def to_rich(self) -> Group:
        """Format the table for a terminal, with its notes below, wrapped at 80 columns."""
        table = Table(
            title=self.title or None,
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        for column in self.columns:
            table.add_column(
                column.heading,
                justify="left" if column.form is None else "right",
                no_wrap=not column.wrap,
                overflow="fold" if column.wrap else "ellipsis",
                min_width=column.min_width,
            )
        for row in self._fitted():
            table.add_row(*row)
        return Group(table, *(["", folded(self.notes)] if self.notes else []))

    def _fitted(self) -> list[list[str]]:
        """Texts, in tables with intervals broken into lines that fit 80 columns.

        Labels are broken at spaces and hyphens; where that is not enough, intervals before their brackets.
        """
        rows = self.texts()
        if not any(column.interval for column in self.columns):
            return rows
        fitted = self._with_broken_labels(rows)
        if fitted is not None:
            return fitted
        broken = [
            [
                text.replace(" [", "\n[") if column.interval else text
                for column, text in zip(self.columns, row, strict=False)
            ]
            for row in rows
        ]
        return self._with_broken_labels(broken) or broken

    def _with_broken_labels(self, rows: list[list[str]]) -> list[list[str]] | None:
        """Texts with labels, the first column, in lines as short as 80 columns require; None: too long."""

        def width(texts: Iterable[str]) -> int:
            return max(len(line) for text in texts for line in text.split("\n"))

        others = [
            width([column.heading, *(row[place] for row in rows if place < len(row))])
            for place, column in enumerate(self.columns[1:], 1)
        ]
        room = WIDTH - sum(others) - GAP * len(others)
        labels = ["\n".join(textwrap.wrap(row[0], max(1, room), break_long_words=False)) for row in rows]
        if width([self.columns[0].heading, *labels]) > room:
            return None
        return [[label, *row[1:]] for label, row in zip(labels, rows, strict=True)]

    def to_csv(self) -> str:
        """Format the unrounded numbers as CSV; lines end in a line feed alone."""
        records = []
        for row in self.rows:
            values = [*row, *[None] * (len(self.columns) - len(row))]
            cells = (column.cells(value) for column, value in zip(self.columns, values, strict=True))
            records.append({name: value for cell in cells for name, value in cell.items()})
        return csv_text(records, [name for column in self.columns for name in column.cells(None)])

    def to_latex(self) -> str:
        """Format the table for LaTeX with the package booktabs, with its title as the caption.

        >>> table = ResultsTable(columns=[Column(heading="method"), Column(heading="share", form=percent)],
        ...     rows=[("tos", 0.5)], title="Shares")
        >>> print(table.to_latex(), end="")
        \\begin{table}
        \\caption{Shares}
        \\begin{tabular}{lr}
        \\toprule
        method & share \\\\
        \\midrule
        tos & 50.0 \\% \\\\
        \\bottomrule
        \\end{tabular}
        \\end{table}
        """

        def line(texts: Sequence[str]) -> str:
            return f"{' & '.join(map(latex_text, texts))} \\\\"

        places = "".join("l" if column.form is None else "r" for column in self.columns)
        lines = [
            r"\begin{table}",
            *([f"\\caption{{{latex_text(self.title)}}}"] if self.title else []),
            f"\\begin{{tabular}}{{{places}}}",
            r"\toprule",
            line([column.one_line for column in self.columns]),
            r"\midrule",
            *map(line, self.texts()),
            r"\bottomrule",
            r"\end{tabular}",
            *(latex_text(note) for note in self.notes),
            r"\end{table}",
        ]
        return "".join(f"{text}\n" for text in lines)

    def to_markdown(self) -> str:
        """Format the table as Markdown, with its notes as paragraphs below, without its title."""

        def line(texts: Sequence[str]) -> str:
            return f"| {' | '.join(text.replace('|', chr(92) + '|') for text in texts)} |"

        marked = [
            [f"`{text}`" if column.code else text for column, text in zip(self.columns, row, strict=False)]
            for row in self.texts()
        ]
        rule = f"|{'|'.join('---' if column.form is None else '---:' for column in self.columns)}|"
        lines = [line([column.one_line for column in self.columns]), rule, *map(line, marked)]
        paragraphs = (text for note in self.notes for text in ("", note))
        return "".join(f"{text}\n" for text in (*lines, *paragraphs))


def latex_text(text: str) -> str:
    """Escape a text for LaTeX.

    >>> print(latex_text("a_b: 50 % of {x}"))
    a\\_b: 50 \\% of \\{x\\}
    """
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {character: f"\\{character}" for character in "&%$#_{}"}
    return "".join(special.get(character, character) for character in text)


def csv_text(records: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Format records as CSV, with lines that end in a line feed alone.

    Args:
        records: column -> value, the same columns in each; one or more, unless there are `columns`.
        columns: their order; None: that of the first record.

    Raises:
        ValueError: a record has a column that is not among them.

    >>> csv_text([{"method": "tos", "welfare": 8.5}, {"method": "a, b", "welfare": None}])
    'method,welfare\\ntos,8.5\\n"a, b",\\n'
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]) if columns is None else columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def folded(sentences: Sequence[str]) -> str:
    """Wrap sentences at 80 characters, each beginning on a new line.

    Args:
        sentences: one or more.
    Returns:
        Their lines, joined by line feeds.

    >>> folded(["One.", "Two."])
    'One.\\nTwo.'
    """
    return "\n".join(textwrap.fill(sentence, WIDTH) for sentence in sentences)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.item()
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value
