"""Results tables: formats of numbers, and the same rows in a terminal, as CSV and as Markdown."""

from __future__ import annotations

import csv
import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bilevel.experiments import Interval
from bilevel.report import Column, ResultsTable, number, percent, with_interval
from tests.bilevel.report.compared import printed

COLUMNS = (
    Column(heading="method", code=True),
    Column(heading="mean [95 %]", name="mean", form=with_interval, interval=True),
    Column(heading="share", form=percent),
)
NAN = np.array(np.nan)
TABLE = ResultsTable(
    title="A title",
    columns=COLUMNS,
    rows=[
        ("a|b", Interval(np.array(1.5), np.array(-0.25), np.array(2 / 3)), np.float64(0.5)),
        ("few", Interval(np.array(1.5), NAN, NAN), None),
        ("none", None, None),
        ("ended",),
    ],
    notes=["First.", "Second."],
)


@given(st.floats(-1e12, 1e12))
def test_numbers_are_short_and_near(value: float) -> None:
    text = number(value)
    assert len(text) <= 8
    assert abs(float(text) - value) <= max(5.1e-4, 0.051 * abs(value))
    assert not (float(text) == 0 and text.startswith("-"))


def test_in_a_terminal() -> None:
    lines = [line.split() for line in printed(TABLE.to_rich()).splitlines() if "\u2500" not in line]
    assert lines == [
        ["A", "title"],
        ["method", "mean", "[95", "%]", "share"],
        ["a|b", "1.500", "[-0.250,", "0.667]", "50.0", "%"],
        ["few", "1.500", "-"],
        ["none", "-", "-"],
        ["ended"],
        [],
        ["First."],
        ["Second."],
    ]


def test_csv_has_unrounded_numbers_and_the_ends_of_intervals() -> None:
    rows = list(csv.reader(io.StringIO(TABLE.to_csv())))
    assert rows == [
        ["method", "mean", "mean_low", "mean_high", "share"],
        ["a|b", "1.5", "-0.25", repr(2 / 3), "0.5"],
        ["few", "1.5", "", "", ""],
        ["none", "", "", "", ""],
        ["ended", "", "", "", ""],
    ]


def test_markdown_escapes_bars() -> None:
    assert TABLE.to_markdown().splitlines()[:3] == [
        "| method | mean [95 %] | share |",
        "|---|---:|---:|",
        "| `a\\|b` | 1.500 [-0.250, 0.667] | 50.0 % |",
    ]
    assert TABLE.to_markdown().endswith("\n\nFirst.\n\nSecond.\n")
