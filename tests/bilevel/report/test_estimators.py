"""A comparison as a table, a figure and a file."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from bilevel.hypergradient import (
    COLUMNS,
    REFERENCES,
    EstimatorMeasured,
    EstimatorRefused,
    HypergradientCheck,
    HypergradientComparison,
)
from bilevel.report import estimators_table, write_comparison
from bilevel.report._estimators import three_digits
from bilevel.report._estimators_figure import PANELS, draw_comparison
from tests.bilevel.report.compared import printed

FRESH = "evolution(members=True, fresh_data=True)"


def measured(
    name: str, error: float, variance: float = 0.0, inside: float | None = None
) -> EstimatorMeasured:
    """A row with this relative error."""
    check = HypergradientCheck(
        name, ("a",), torch.tensor([1 - error]), torch.tensor([1.0]), noise=0.0, tolerance=1e-6
    )
    return EstimatorMeasured(name, check, inside, variance, seconds=0.0123, peak_bytes=45_600, step_calls=17)


COMPARISON = HypergradientComparison(
    rows=(
        measured("unrolled", 0.0),
        EstimatorRefused("implicit", "It is too far from the fixed point."),
        measured(FRESH, 0.25, 0.5, 0.9),
    ),
    steps=4,
    resamples=8,
    reference="unrolled",
)


def test_the_table_fits_eighty_columns_and_says_everything() -> None:
    lines = printed(estimators_table(COMPARISON, "tos on chicken")).splitlines()
    assert lines[0].strip() == "tos on chicken"
    assert lines[1].split() == [
        "estimator",
        "error",
        "in",
        "CI",
        "cosine",
        "variance",
        "time",
        "memory",
        "calls",
    ]
    rows = [line.split() for line in lines[3:8]]
    assert rows[0] == ["unrolled", "0", "-", "1.000", "0", "12.3", "ms", "45.6", "kB", "17"]
    assert rows[1] == ["implicit", "refused"]
    assert rows[2] == ["evolution(", "0.25", "90", "%", "1.000", "0.5", "12.3", "ms", "45.6", "kB", "17"]
    assert rows[3:] == [["members=True,"], ["fresh_data=True)"]]
    text = " ".join(" ".join(lines).split())
    assert "implicit does not apply: It is too far from the fixed point." in text
    assert REFERENCES["unrolled"] in text
    assert "over 8 independent draws" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (three_digits(0.9999, "s"), "1.00 s"),
        (three_digits(2.5e-7, "s"), "250 ns"),
        (three_digits(754.0, "s"), "754 s"),
        (three_digits(999_960, "B"), "1.00 MB"),
        (three_digits(512, "B"), "512 B"),
        (three_digits(0, "B"), "0 B"),
        (three_digits(1.5e9, "B"), "1.50 GB"),
    ],
)
def test_prefixes(text: str, expected: str) -> None:
    assert text == expected


def test_a_panel_marks_values_zeros_and_refusals() -> None:
    axes = Figure().subplots()
    draw_comparison(axes, COMPARISON, PANELS[0])
    zero, refused, quarter = axes.lines
    left, right = axes.get_xlim()
    assert [line.get_marker() for line in axes.lines] == ["o", "x", "o"]
    assert zero.get_markerfacecolor() == "white"
    assert (zero.get_xdata()[0], refused.get_xdata()[0]) == (left, left)  # type: ignore[index]
    np.testing.assert_allclose(quarter.get_data(), [[0.25], [2]], rtol=1e-6)
    assert left < 0.25 < right
    assert [text.get_text() for text in axes.texts] == ["0", "does not apply", "0.25"]
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "ratio of norms (log scale)"
    assert axes.yaxis_inverted()  # the first row is on top


@pytest.mark.parametrize("value", [0.0, math.inf, math.nan])
def test_a_panel_of_nothing_that_a_log_scale_can_hold(value: float) -> None:
    axes = Figure().subplots()
    rows = (measured("unrolled", 0.0, value), EstimatorRefused("implicit", "no"))
    draw_comparison(axes, HypergradientComparison(rows, 1, 2, "supplied"), PANELS[1])
    assert [text.get_text() for text in axes.texts] == [f"{value:g}", "does not apply"]


def test_figure_and_file(tmp_path: Path) -> None:
    picture, numbers = write_comparison(COMPARISON, tmp_path / "deep" / "er", "tos on chicken")
    with Image.open(picture) as image:
        assert image.size[0] == 2100
        assert np.asarray(image.convert("L")).std() > 5  # something is drawn
    with numbers.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["estimator"] for row in rows] == ["unrolled", "implicit", FRESH]
    assert float(rows[2]["relative_error"]) == pytest.approx(0.25)
    assert (rows[2]["peak_bytes"], rows[2]["inside_interval"]) == ("45600", "0.9")
    assert (rows[1]["relative_error"], rows[1]["reason"]) == ("", "It is too far from the fixed point.")
