"""The files of a comparison: read back, and in the layout of marl-eval."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bilevel.experiments import _files as files
from bilevel.experiments import compare_runs
from bilevel.report import write_comparison_files
from bilevel.report._comparison_files import MOST_STEPS, marl_eval_data
from tests.bilevel.report.compared import made_up

POOR = ((-1.0, 0.5), (2.0, 2.0), (-1.0, 1.0), (0.0, 0.0))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_everything_is_read_back(tmp_path: Path) -> None:
    runs = {"selfish": made_up(returns=POOR, sharing=False), "tos": made_up()}
    rows = compare_runs(runs)
    written = write_comparison_files(rows, tmp_path / "new")
    assert [path.name for path in written] == ["table.csv", "seeds.csv", "marl-eval.json"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(path.name for path in written)
    table, seeds = read(written[0]), read(written[1])
    assert [row["method"] for row in table] == ["selfish", "tos"]
    better = rows[1].better
    assert better is not None
    for column, value in zip(("better", "better_low", "better_high"), better, strict=True):
        assert (table[0][column], float(table[1][column])) == ("", float(value))
    assert (table[0]["equality"], table[0]["given_away"], table[0]["outer_steps"]) == ("", "", "5")
    assert [(row["method"], row["seed"]) for row in seeds] == [
        (name, str(seed)) for name in runs for seed in range(4)
    ]
    for name in ("welfare", "return_1", "cooperation"):
        np.testing.assert_array_equal([float(row[name]) for row in seeds[4:]], runs["tos"].final[name])
    assert [row["equality"] == "" for row in seeds] == [True, False, True, True] + [False] * 4
    assert {row["share_0_1"] for row in seeds} == {"", "0.25"}


def test_the_layout_of_marl_eval() -> None:
    runs = {"selfish": made_up(sharing=False), "tos": made_up()}
    data = marl_eval_data(runs)
    assert list(data) == ["bilevel"]
    assert list(data["bilevel"]) == ["escape-room"]
    methods = data["bilevel"]["escape-room"]
    assert list(methods) == ["selfish", "tos"]
    for label, of_seeds in methods.items():
        assert list(of_seeds) == [f"seed_{seed}" for seed in range(4)]
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


@pytest.mark.parametrize(("steps", "others"), [(1000, 1000), (1000, 7), (MOST_STEPS, 1)])
def test_runs_have_the_same_number_of_steps_and_the_last_one(steps: int, others: int) -> None:
    runs = {"a": made_up(steps=steps), "b": made_up(steps=others)}
    methods = marl_eval_data(runs)["bilevel"]["escape-room"]
    count = min(steps, others, MOST_STEPS)
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
