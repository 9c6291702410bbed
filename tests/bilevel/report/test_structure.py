"""Figures and tables of learned sharing beside the influence graph."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from bilevel.experiments import Run, compare_runs, default_config
from bilevel.report import (
    comparison_table,
    results_table,
    structure_figure,
    write_comparison_figures,
    write_run_figures,
)
from bilevel.report._figures import draw_giving
from bilevel.sharing import edges_of
from games import minimal_transfer_on_graph
from games.networked import Aid, Grid, ScaleFree
from tests.bilevel.report.compared import made_up, printed
from tests.bilevel.report.legibility import recorded

SEEDS = 4


def sharing_run(game: Aid, shares: torch.Tensor, name: str = "edge_share") -> Run:
    """A run of made-up numbers that ended in these shares."""
    config = dataclasses.replace(default_config("aid", "tos"), game=game, seeds=SEEDS, outer_steps=3)
    welfare, away = np.linspace(1.0, 2.0, SEEDS), np.full(SEEDS, 0.25)
    final = {"welfare": welfare, "given_away": away, name: shares.expand(SEEDS, *shares.shape).numpy()}
    curves = {"welfare": np.ones((3, 1)) * welfare, "given_away": np.ones((3, 1)) * away}
    return Run(config, curves, final, 1.0)


def test_the_figure_counts_edges_learned_missed_and_wrong() -> None:
    game = Aid(agents=4, observe_graph=False)
    shares = torch.eye(4)
    shares[0] = torch.tensor([0.0, 0.4, 0.0, 0.6])  # to 1, in vain, and to its helper 3
    figure = structure_figure(sharing_run(game, shares, "share"))
    assert figure is not None
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["useful, learned (1)", "useful, not learned (3)", "learned, not useful (1)"]
    matrix, graph = figure.axes[:2]
    assert matrix.get_title() == f"learned shares, mean over {SEEDS} seeds"
    assert [text.get_text() for text in graph.texts if text.get_text()] == ["0", "1", "2", "3"]


def test_many_agents_are_drawn_on_their_graph_alone(tmp_path: Path) -> None:
    game = Aid(agents=100, graph=Grid())
    shares = edges_of(game).softmax(torch.zeros(1, 500))[0]
    run = sharing_run(game, shares)
    figure = structure_figure(run)
    assert figure is not None
    assert len(figure.axes) == 1
    drawn = [part.get_segments() for part in figure.axes[0].collections if isinstance(part, LineCollection)]
    lines = np.array([line for part in drawn for line in part])
    assert lines.shape == (400 + 40, 2, 2)  # edges across the border of the torus are cut
    assert np.ptp(lines, axis=1).max() < 0.5


def test_runs_without_influence_or_shares_have_no_figure() -> None:
    assert structure_figure(made_up()) is None
    game = Aid(agents=4)
    assert structure_figure(dataclasses.replace(sharing_run(game, torch.eye(4), "other"))) is None
    assert structure_figure(sharing_run(Aid(agents=2001), torch.full((6003,), 1 / 3))) is None


def test_tables_have_precision_and_recall_where_the_game_states_its_influence() -> None:
    game = Aid(agents=20)
    least = minimal_transfer_on_graph(game)
    learned = torch.zeros(20, 20, dtype=torch.float64)
    learned[tuple(least.edges)] = least.shares + (least.edges[0] != least.edges[1]) * 0.2
    runs = {
        "selfish": sharing_run(game, torch.eye(20), "share"),
        "equal": sharing_run(game, torch.full((20, 20), 0.05), "share"),
        "tos": sharing_run(game, learned, "share"),
    }
    text = printed(comparison_table(compare_runs(runs)))
    assert "Learned sharing edges against the influence graph" in text
    assert "tos      1.000 [1.000, 1.000]  1.000 [1.000, 1.000]" in text
    assert "equal    0.500 [0.500, 0.500]  1.000 [1.000, 1.000]" in text
    assert "as precision the density of useful edges: aid with 20 agents 50.0 %" in " ".join(text.split())
    assert "edge_precision is undefined (no agent gives away more than 1 %) for selfish" in " ".join(
        text.split()
    )
    alone = printed(results_table([runs["tos"], made_up()]))
    assert alone.count("aid: learned sharing edges") == 1
    assert "sharing edges" not in printed(results_table([made_up()]))


@pytest.mark.parametrize("observed", [True, False])
def test_learned_sharing_recovers_a_ring(observed: bool, tmp_path: Path) -> None:
    import bilevel  # noqa: PLC0415

    settings: dict[str, Any] = {
        "game.agents": 8,
        "game.observe_graph": observed,
        "seeds": 3,
        "outer_steps": 60,
    }
    run = bilevel.train("aid", "tos", out=tmp_path / "run", **settings)
    found = bilevel.edge_recovery(bilevel.experiments.final_shares(run), run.config.game)
    assert (found.precision == 1).all()
    assert (found.recall == 1).all()
    written = write_run_figures(bilevel.RunFolder(tmp_path / "run"), run)
    assert "structure.png" in [path.name for path in written]


def test_welfare_is_drawn_against_the_share_given_away_beside_the_least(tmp_path: Path) -> None:
    shares = torch.eye(6, dtype=torch.float64)
    compared = compare_runs({name: sharing_run(Aid(agents=6), shares, "share") for name in ("fixed", "tos")})
    written = write_comparison_figures(compared, tmp_path)
    assert "giving.png" in [path.name for path in written]
    axes = Figure().subplots()
    draw_giving(axes, compared)
    labels = axes.get_legend_handles_labels()[1]
    assert set(labels) == {
        "fixed",
        "tos",
        "least share for a\ndominant optimum,\n1 - g* = 0.25",
        "welfare optimum",
    }
    assert axes.get_xlabel() == "share given away"
    without = sharing_run(Aid(agents=6), shares, "share")
    del without.final["given_away"]
    with recorded() as figures:
        write_comparison_figures(
            compare_runs({"tos": sharing_run(Aid(agents=6), shares, "share"), "lio": without}), tmp_path
        )
    titles = [figure.get_suptitle() for figure in figures]
    assert any(title.endswith("(share given away is undefined for lio)") for title in titles)
    irregular = compare_runs({"tos": sharing_run(Aid(agents=6, graph=ScaleFree()), shares, "share")})
    again = Figure().subplots()
    draw_giving(again, irregular)
    assert set(again.get_legend_handles_labels()[1]) == {"tos", "welfare optimum"}


def test_shares_between_agents_that_are_not_neighbors_have_no_number() -> None:
    game = Aid(agents=5)
    shares = torch.eye(5)
    shares[0] = torch.tensor([0.5, 0.0, 0.0, 0.0, 0.5])
    shown = structure_figure(sharing_run(game, shares, "share"))
    everywhere = structure_figure(sharing_run(game, torch.full((5, 5), 0.2), "share"))
    assert shown is not None
    assert everywhere is not None
    assert shown.axes[0].get_title().endswith("\nempty: not neighbors")
    numbers = {(text.get_position()[1], text.get_position()[0]) for text in shown.axes[0].texts}
    assert numbers == {tuple(pair) for pair in game.neighbors.nonzero().tolist()}
    assert len(everywhere.axes[0].texts) == 25  # a method that ignores the graph
