"""Tables and files of runs and comparisons: numbers by hand, dashes and their reasons, marl-eval's layout."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bilevel.experiments import MEASURES, Compared, compare_runs
from bilevel.experiments import _files as files
from bilevel.report import comparison_table, results_table, write_comparison_files
from bilevel.report._comparison import (
    AGAINST,
    COLUMNS,
    MAX_STEPS,
    REACHED,
    RUN,
    RUN_NOTES,
    _table,
    marl_eval_data,
    notes,
)
from tests.bilevel.report.compared import made_up, printed

POOR = ((-1.0, 0.5), (2.0, 2.0), (-1.0, 1.0), (0.0, 0.0))


def texts(rows: list[Compared], names: tuple[str, ...]) -> list[dict[str, str]]:
    """Each row's texts by its columns' names."""
    return [dict(zip(names, row, strict=True)) for row in _table(rows, names).texts()]


def test_the_table_of_runs_by_hand() -> None:
    known = made_up(returns=((1.0, 2.0),) * 3)
    few = made_up("rock-paper-scissors", "fixed", returns=((1.0, 1.0), (0.0, 1.0)), cooperation=False)
    lines = [line.split() for line in printed(results_table([known, few])).splitlines()]
    # derived: of the 9 that ER(2,1) has at best and the 0 of defecting, 3 is a third
    assert ["tos", "3.000", "[3.000,", "3.000]", "33.3", "%", "35.0", "%", "25.0", "%", "12.3"] in lines
    assert ["fixed", "1.500", "-", "-", "25.0", "%", "12.3"] in lines


def test_measures_by_hand() -> None:
    first, second = compare_runs({"a": made_up(), "b": made_up(returns=((9.0, 0.0),) * 4)})
    # derived: sums 8, 9, 9, 9; the optimum of ER(2,1) is 9 and defecting earns 0
    np.testing.assert_allclose(first.measures["normalized_score"], [8 / 9, 1, 1, 1])
    assert first.intervals["welfare"].estimate == 9
    # derived: 1 - |x - y| / (x + y) for two agents, up to the factor 2 / (2 * 2)
    np.testing.assert_allclose(first.measures["equality"], [1 - 4 / 16, 1 - 3 / 18, 1 - 5 / 18, 1 - 7 / 18])
    np.testing.assert_allclose(second.measures["equality"], 0.5)
    assert (first.probability_of_improvement, first.difference) == (None, None)
    assert second.probability_of_improvement is not None
    assert second.probability_of_improvement.estimate == (4 * 1 + 12 * 0.5) / 16
    assert second.difference is not None
    assert second.difference.estimate == 0


def test_equality_is_undefined_rather_than_zero() -> None:
    results = made_up(returns=POOR)
    found = MEASURES["equality"](results)
    assert found is not None
    np.testing.assert_array_equal(np.isnan(found), [True, False, True, True])
    (row, _) = compare_runs({"a": results, "b": made_up()})
    assert row.undefined == {"equality": 3}
    assert "equality" not in row.intervals
    assert texts([row], REACHED)[0]["equality"] == "-"


def test_what_a_method_does_not_know_is_a_dash() -> None:
    results = made_up(sharing=False, cooperation=False)
    del results.final["return_0"]
    (row, _) = compare_runs({"a": results, "b": made_up()})
    (found,) = texts([row], REACHED + AGAINST)
    missing = {"equality", "cooperation", "given_away", "probability_of_improvement", "difference"}
    assert {name for name, text in found.items() if text == "-"} == missing
    assert row.undefined == {}


def test_fewer_than_three_seeds_are_refused() -> None:
    runs = {name: made_up(returns=((1.0, 2.0),) * 2) for name in ("a", "b")}
    with pytest.raises(ValueError, match="needs 3 seeds or more, not 2"):
        compare_runs(runs)


def test_the_notes_say_what_the_intervals_are_and_why_there_are_dashes() -> None:
    text = " ".join(notes(compare_runs({"a": made_up(returns=POOR), "b": made_up()})))
    assert "Interquartile means over 4 seeds; brackets are 95 % percentile bootstrap intervals" in text
    assert "higher welfare than a seed of a, with ties counted half" in text
    assert "interquartile mean of welfare minus that of a." in text
    assert "A dash: equality is undefined (the returns sum to 0 or less) for a (3 of 4 seeds)." in text
    everybody = notes(compare_runs({"a": made_up(returns=POOR), "b": made_up(returns=POOR)}))
    assert "for all methods." in " ".join(everybody)
    assert "A dash" not in " ".join(notes(compare_runs({"a": made_up(), "b": made_up()})))


def test_equality_below_0_is_explained() -> None:
    rows = compare_runs({"a": made_up(returns=((-1.0, 1.5),) * 4), "b": made_up()})
    assert rows[0].intervals["equality"].estimate == 1 - 2 * 2.5 / (2 * 2 * 0.5)  # derived: the sum is 0.5
    text = " ".join(notes(rows))
    assert "It is below 0 for a: some agents have negative returns, although the sum is positive." in text
    assert "below 0" not in " ".join(notes(compare_runs({"a": made_up(), "b": made_up()})))


def test_it_fits_80_columns_and_nothing_is_cut() -> None:
    high, low = ((499.99, 499.99),) * 3, ((-499.99, -499.99), (-499.98, -499.99), (-499.97, -499.99))
    rows = compare_runs({"prosocial": made_up(returns=high), "generous": made_up(returns=low)})
    text = printed(comparison_table(rows))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for names in (REACHED, AGAINST):
        assert all(line in text for name in names for line in COLUMNS[name].heading.splitlines())
        assert all(cell in text for row in texts(rows, names) for cell in row.values())
    assert "escape-room, 3 seeds" in text
    assert "Compared with prosocial" in text


def test_long_labels_and_intervals_break_between_words() -> None:
    def lines(label: str, reward: float) -> list[str]:
        low = ((-reward, -reward), (-reward - 0.01, -reward), (-reward - 0.02, -reward))
        rows = compare_runs({label: made_up(returns=low), "tos": made_up(returns=low)})
        return printed(comparison_table(rows)).splitlines()

    few = lines("inequity-aversion", 49.99)
    assert max(map(len, few)) <= 80
    place = next(place for place, line in enumerate(few) if line.startswith("inequity-"))
    assert [line.split()[0] for line in few[place : place + 2]] == ["inequity-", "aversion"]
    assert "-99.990 [-100.00, -99.980]" in few[place]
    many = lines("inequity-aversion-of-advantages, large steps", 4999.0)
    assert max(map(len, many)) <= 80
    assert [line.strip() for line in many if line.startswith("aversion-of-")]
    assert not any("[" in line and "]" not in line for line in (*few, *many) if "95 %" not in line)


def test_the_table_of_runs_fits_80_columns_and_is_in_parts_by_games() -> None:
    worst = made_up("chicken-100", returns=((-499.99, -499.99), (-499.98, -499.99), (-499.97, -499.99)))
    text = printed(results_table([worst, made_up(method="prosocial"), made_up("chicken-100", "selfish")]))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    words = [line for name in RUN for line in COLUMNS[name].heading.splitlines()]
    assert all(word in text for word in (*words, *RUN_NOTES))
    assert text.index("chicken-100") < text.index("selfish") < text.index("escape-room")


@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_terminal_folds_but_cuts_nothing(width: int) -> None:
    assert "…" not in printed(comparison_table(compare_runs({"a": made_up(), "b": made_up()})), width=width)
    text = printed(results_table([made_up("chicken-100")]), width=width)
    assert "…" not in text
    assert all(part in text for part in ("chicken-100", "25.0", "12.3"))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_everything_is_read_back(tmp_path: Path) -> None:
    runs = {"selfish": made_up(returns=POOR, sharing=False, seed=100), "tos": made_up(seed=100)}
    rows = compare_runs(runs)
    written = write_comparison_files(rows, tmp_path / "new")
    assert [path.name for path in written] == ["table.csv", "seeds.csv", "marl-eval.json"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(path.name for path in written)
    table, seeds = read(written[0]), read(written[1])
    assert [row["method"] for row in table] == ["selfish", "tos"]
    improvement = rows[1].probability_of_improvement
    assert improvement is not None
    name = "probability_of_improvement"
    for column, value in zip((name, f"{name}_low", f"{name}_high"), improvement, strict=True):
        assert (table[0][column], float(table[1][column])) == ("", float(value))
    assert (table[0]["equality"], table[0]["given_away"], table[0]["outer_steps"]) == ("", "", "5")
    assert [(row["method"], row["seed"]) for row in seeds] == [
        (name, str(seed)) for name in runs for seed in range(100, 104)
    ]
    for name in ("welfare", "return_1", "cooperation"):
        np.testing.assert_array_equal([float(row[name]) for row in seeds[4:]], runs["tos"].final[name])
    assert [row["equality"] == "" for row in seeds] == [True, False, True, True] + [False] * 4
    assert {row["share_0_1"] for row in seeds} == {"", "0.25"}


def test_the_layout_of_marl_eval() -> None:
    runs = {"selfish": made_up(sharing=False, seed=7), "tos": made_up(seed=7)}
    data = marl_eval_data(runs)
    assert list(data) == ["bilevel"]
    assert list(data["bilevel"]) == ["escape-room"]
    methods = data["bilevel"]["escape-room"]
    assert list(methods) == ["selfish", "tos"]
    for label, of_seeds in methods.items():
        assert list(of_seeds) == [f"seed_{seed}" for seed in range(7, 11)]
        for seed, run in enumerate(of_seeds.values()):
            assert list(run) == [*(f"step_{step}" for step in range(5)), "absolute_metrics"]
            metrics = {"welfare", "return_0", "return_1", "cooperation"}  # those that both have
            assert run["step_4"].keys() == metrics | {"step_count"}
            assert run["absolute_metrics"].keys() == metrics
            assert [run[f"step_{step}"]["step_count"] for step in range(5)] == [1, 2, 3, 4, 5]
            for step in range(5):
                assert run[f"step_{step}"]["welfare"] == [runs[label].curves["welfare"][step, seed]]
            assert run["absolute_metrics"]["return_0"] == [runs[label].final["return_0"][seed]]


def test_metrics_that_are_not_finite_are_left_out_for_all() -> None:
    broken = made_up()
    broken.curves["cooperation"][0, 0] = np.nan
    data = marl_eval_data({"a": made_up(), "b": broken})
    for run in data["bilevel"]["escape-room"].values():
        assert "cooperation" not in run["seed_0"]["step_1"]
        assert "cooperation" not in run["seed_0"]["absolute_metrics"]
    json.dumps(data, allow_nan=False)


@pytest.mark.parametrize(("steps", "others"), [(1000, 1000), (1000, 7), (MAX_STEPS, 1)])
def test_runs_have_the_same_number_of_steps_and_the_last_one(steps: int, others: int) -> None:
    runs = {"a": made_up(steps=steps), "b": made_up(steps=others)}
    methods = marl_eval_data(runs)["bilevel"]["escape-room"]
    count = min(steps, others, MAX_STEPS)
    for label, total in (("a", steps), ("b", others)):
        run = methods[label]["seed_0"]
        counts = [run[f"step_{step}"]["step_count"] for step in range(count)]
        assert len(run) == count + 1
        assert counts[-1] == total
        assert counts == sorted(set(counts))
        assert counts[0] >= 1


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = compare_runs({"a": made_up(), "b": made_up()})
    (path, *_) = write_comparison_files(rows, tmp_path)
    before = path.read_bytes()

    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_comparison_files(compare_runs({"b": made_up(), "c": made_up(steps=9)}), tmp_path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3
