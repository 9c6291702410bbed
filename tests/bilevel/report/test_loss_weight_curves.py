"""Learned loss weights in figures and tables: which runs have them, and what is shown of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from bilevel.experiments import Run, RunFolder, compare_runs
from bilevel.report import comparison_table, write_comparison_figures, write_run_figures
from bilevel.report._comparison import LEARNED, _table
from bilevel.report._figures import agent_weight_curves, loss_weight_figure, mean_weight_curves
from bilevel.sharing import TERMS
from tests.bilevel.report.compared import made_up, printed


def with_weights() -> Run:
    """Agent 0's weights rise in a line to 2, 1 and 0.2, the same in all seeds; agent 1's are double."""
    results = made_up(steps=4)
    ends = {"policy": 2.0, "value": 1.0, "entropy": 0.2}
    final = {f"{term}_weight_{i}": np.full(4, (1 + i) * ends[term]) for term in TERMS for i in (0, 1)}
    way = np.linspace(0.25, 1, 4)[:, None]
    curves = {name: way * values for name, values in final.items()}
    return dataclasses.replace(results, curves={**results.curves, **curves}, final={**results.final, **final})


def test_a_run_shows_each_agents_and_a_comparison_their_mean() -> None:
    results = with_weights()
    for shown, heights in (
        (agent_weight_curves(results), {"agent 0": 1.0, "agent 1": 2.0}),
        (mean_weight_curves({"plain": made_up(), "learned": results}), {"learned": 1.5}),
    ):
        figure = loss_weight_figure(shown, "title")
        assert [axes.get_title() for axes in figure.axes] == [f"{term} term" for term in TERMS]
        value = figure.axes[1]
        lines = {line.get_label(): np.asarray(line.get_ydata()) for line in value.lines}
        assert set(lines) == set(heights)
        for label, height in heights.items():
            np.testing.assert_allclose(lines[label], height * np.linspace(0.25, 1, 4))
        assert value.get_ylim()[0] == 0
        assert value.get_xlabel() == "outer step"


def test_files_are_written_where_weights_were_learned_and_only_there(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.figures.mkdir(parents=True)
    for results, there in ((made_up(), False), (with_weights(), True)):
        path = folder.figures / "loss_weights.png"
        assert (path in write_run_figures(folder, results)) == there
        assert path.exists() == there
    rows = compare_runs({"plain": made_up(), "learned": with_weights()})
    written = write_comparison_figures(rows, tmp_path)
    assert written[-1] == tmp_path / "loss_weights.png"
    with Image.open(written[-1]) as picture:
        assert np.asarray(picture.convert("L")).std() > 5
    write_comparison_figures(compare_runs({"a": made_up(), "b": made_up()}), tmp_path)
    assert not written[-1].exists()


def test_tables_have_the_agents_mean() -> None:
    rows = compare_runs({"plain": made_up(), "learned": with_weights()})
    table = _table(rows, LEARNED)
    _, plain, learned = table.to_csv().splitlines()
    assert (plain, learned[:14]) == ("plain,,,,,,,,,", "learned,3.0,3.")
    assert table.texts()[1][2] == "1.500 [1.500, 1.500]"
    text = printed(comparison_table(rows))
    assert "Learned loss weights, mean over agents" in text
    assert "Learned weights: the final coefficients" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "Learned weights" not in printed(comparison_table(compare_runs({"a": made_up(), "b": made_up()})))
