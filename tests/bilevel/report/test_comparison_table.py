"""Measures of a comparison and the table of them: numbers by hand, dashes and their reasons, 80 columns."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from bilevel.experiments import compare_runs, equality_of_returns
from bilevel.report import comparison_table
from bilevel.report._comparison_table import AGAINST, REACHED, caption
from tests.bilevel.report.compared import made_up

POOR = ((-1.0, 0.5), (2.0, 2.0), (-1.0, 1.0), (0.0, 0.0))


def printed(rows: object, width: int = 80) -> str:
    text = io.StringIO()
    Console(file=text, width=width, highlight=False).print(comparison_table(rows))  # type: ignore[arg-type]
    return text.getvalue()


def test_measures_by_hand() -> None:
    first, second = compare_runs({"a": made_up(), "b": made_up(returns=((9.0, 0.0),) * 4)})
    # derived: sums 8, 9, 9, 9; the optimum of ER(2,1) is 9 and defecting earns 0
    np.testing.assert_allclose(first.measures["optimum"], [8 / 9, 1, 1, 1])
    assert first.intervals["welfare"].estimate == 9
    # derived: 1 - |x - y| / (x + y) for two agents, up to the factor 2 / (2 * 2)
    np.testing.assert_allclose(first.measures["equality"], [1 - 4 / 16, 1 - 3 / 18, 1 - 5 / 18, 1 - 7 / 18])
    np.testing.assert_allclose(second.measures["equality"], 0.5)
    assert (first.better, first.difference) == (None, None)
    assert second.better is not None
    assert second.better.estimate == (4 * 1 + 12 * 0.5) / 16
    assert second.difference is not None
    assert second.difference.estimate == 0


def test_equality_is_undefined_rather_than_zero() -> None:
    results = made_up(returns=POOR)
    found = equality_of_returns(results)
    assert found is not None
    np.testing.assert_array_equal(np.isnan(found), [True, False, True, True])
    (row, _) = compare_runs({"a": results, "b": made_up()})
    assert row.undefined == {"equality": 3}
    assert "equality" not in row.intervals
    assert REACHED["equality"](row) == "-"


def test_what_a_method_does_not_know_is_a_dash() -> None:
    results = made_up(sharing=False, cooperation=False)
    del results.final["return_0"]
    (row, _) = compare_runs({"a": results, "b": made_up()})
    assert {name for name, cell in REACHED.items() if cell(row) == "-"} == {
        "equality",
        "cooperation",
        "given",
    }
    assert {name for name, cell in AGAINST.items() if cell(row) == "-"} == {
        "better [95 % interval]",
        "difference [95 % interval]",
    }
    assert row.undefined == {}


def test_fewer_than_three_seeds_are_refused() -> None:
    runs = {name: made_up(returns=((1.0, 2.0),) * 2) for name in ("a", "b")}
    with pytest.raises(ValueError, match="needs 3 seeds or more, but there are 2"):
        compare_runs(runs)


def test_the_caption_says_what_the_intervals_are_and_why_there_are_dashes() -> None:
    text = " ".join(caption(compare_runs({"a": made_up(returns=POOR), "b": made_up()})).split())
    assert "Interquartile means over 4 seeds; brackets are 95 % percentile bootstrap intervals" in text
    assert "more welfare than one of a, ties counting half" in text
    assert "method less a." in text
    assert (
        "A dash: equality is not defined (returns that sum to 0 or less have none) for a (3 of 4 seeds)."
        in text
    )
    everybody = caption(compare_runs({"a": made_up(returns=POOR), "b": made_up(returns=POOR)}))
    assert "for all methods." in " ".join(everybody.split())
    assert "A dash" not in caption(compare_runs({"a": made_up(), "b": made_up()}))


def test_equality_below_0_is_explained() -> None:
    rows = compare_runs({"a": made_up(returns=((-1.0, 1.5),) * 4), "b": made_up()})
    assert rows[0].intervals["equality"].estimate == 1 - 2 * 2.5 / (2 * 2 * 0.5)  # derived: the sum is 0.5
    text = " ".join(caption(rows).split())
    assert "It is below 0 for a: there agents end below 0 whose group does not." in text
    assert "below 0" not in caption(compare_runs({"a": made_up(), "b": made_up()}))


def test_it_fits_80_columns_and_nothing_is_cut() -> None:
    high, low = ((499.99, 499.99),) * 3, ((-499.99, -499.99), (-499.98, -499.99), (-499.97, -499.99))
    rows = compare_runs({"prosocial": made_up(returns=high), "generous": made_up(returns=low)})
    text = printed(rows)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for row in rows:
        for columns in (REACHED, AGAINST):
            for name, cell in columns.items():
                assert name in text
                assert cell(row) in text
    assert "escape-room, 3 seeds" in text
    assert "Against prosocial" in text


@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_terminal_folds_but_cuts_nothing(width: int) -> None:
    assert "…" not in printed(compare_runs({"a": made_up(), "b": made_up()}), width)
