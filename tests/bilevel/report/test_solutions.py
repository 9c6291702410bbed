"""Figure and table of NashConv: powers of ten, and lines that end at rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from bilevel.report import Solution, nash_conv_table, write_nash_conv
from bilevel.report import _solutions_figure as drawing

LOW = Solution((1, 10, 100), [1.0, 1e-3, 1e-15], [1.0, 0.1, 0.01])
HIGH = Solution((1, 10, 100), [2.0, 2.0, 2.0], [2.0, 0.4, 0.14], [0.5, 0.0, 0.0])


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    figures: list[Figure] = []

    def keep(figure: Figure, path: Path) -> Path:
        figures.append(figure)
        return path

    monkeypatch.setattr(drawing, "save", keep)
    return figures


def test_the_figure(drawn: list[Figure]) -> None:
    write_nash_conv({"r-nad": LOW, "psro": HIGH}, Path("x.png"), "pennies")
    last, average = drawn[0].axes
    assert [axes.get_title() for axes in (last, average)] == ["last iterate", "average iterate"]
    assert all(axes.get_xscale() == axes.get_yscale() == "log" for axes in (last, average))
    np.testing.assert_array_equal(last.lines[0].get_ydata(), [1.0, 1e-3, np.nan])
    np.testing.assert_array_equal(average.lines[1].get_ydata(), [2.0, 0.4, 0.14])
    assert "lines end below 1e-12" in last.get_ylabel()
    assert [text.get_text() for text in drawn[0].legends[0].texts] == ["r-nad", "psro"]
    write_nash_conv({"psro": HIGH}, Path("x.png"))
    assert drawn[1].axes[0].get_ylabel() == "NashConv (units of payoff)"


def test_several_starts_are_medians_and_quartiles(drawn: list[Figure]) -> None:
    curve = np.array([[1.0, 2.0, 3.0, 4.0, 9.0], [0.5, 0.5, 0.5, 0.5, 0.5]])
    solution = Solution((1, 10), curve, curve)
    table = nash_conv_table({"psro": solution})
    assert [row[2] for row in table.rows] == [3.0, 0.5]
    assert list(table.notes) == ["NashConv and values are medians over 5 starts."]
    write_nash_conv({"psro": solution}, Path("x.png"))
    last = drawn[0].axes[0]
    np.testing.assert_array_equal(last.lines[0].get_ydata(), [3.0, 0.5])
    (band,) = last.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0.5, 4.0)


def test_the_table_has_powers_of_ten_and_the_last_step() -> None:
    steps = (1, 2, 10, 20, 100, 101, 150)
    table = nash_conv_table({"psro": Solution(steps, np.arange(7.0), np.arange(7.0))})
    assert [row[1] for row in table.rows] == [1, 10, 100, 150]
    assert [row[2] for row in table.rows] == [0.0, 2.0, 4.0, 6.0]
    assert [row[0] for row in table.rows] == ["psro", "", "", ""]
