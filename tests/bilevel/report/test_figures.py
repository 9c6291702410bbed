"""Figures are written for every size of run, without a warning, and say what they should."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from bilevel.experiments import Run, RunFolder, default_config
from bilevel.report import colors, draw_curves, draw_welfare, save, style, write_overview, write_run_figures
from bilevel.report._curves import draw_cooperation
from bilevel.report._figures import draw_gains
from bilevel.report._levels import LevelLabel, draw_levels


def made_up(
    game: str = "chicken",
    method: str = "tos",
    seeds: int = 4,
    steps: int = 5,
    cooperation: bool = True,
    **settings: Any,
) -> Run:
    """Run of a run that never was: welfare rises, shares are equal."""
    config = default_config(game, method)
    config = dataclasses.replace(
        config,
        game=dataclasses.replace(config.game, **settings),
        seeds=seeds,
        outer_steps=steps,  # type: ignore[type-var]
    )
    agents = config.game.num_agents
    values = np.linspace(-1, 0, steps)[:, None] + np.linspace(0, 0.1, seeds)
    curves = {"welfare": values, "given_away": np.full_like(values, 0.5)}
    curves |= {f"return_{agent}": values / agents for agent in range(agents)}
    if cooperation:
        curves["cooperation"] = values + 1
    for giver in range(agents):
        curves |= {f"share_{giver}_{taker}": np.full_like(values, 1 / agents) for taker in range(agents)}
    return Run(config, curves, {name: curve[-1] for name, curve in curves.items()}, 1.0)


@pytest.mark.parametrize(
    ("results", "names"),
    [
        (made_up(seeds=1, steps=1), ["welfare", "sharing", "cooperation"]),
        (made_up(seeds=2), ["welfare", "sharing", "cooperation"]),
        (made_up(seeds=3, steps=1), ["welfare", "sharing", "cooperation"]),
        (made_up("escape-room", seeds=32, steps=300), ["welfare", "sharing", "cooperation"]),
        (made_up("rock-paper-scissors", cooperation=False), ["welfare", "sharing"]),
        (made_up("public-goods", agents=12), ["welfare", "sharing", "cooperation"]),
        (made_up("escape-room", agents=40), ["welfare", "sharing", "cooperation"]),
    ],
    ids=lambda value: f"{value.config.game_name}-{value.config.seeds}" if isinstance(value, Run) else "",
)
def test_every_run_has_its_figures(results: Run, names: list[str], tmp_path: Path) -> None:
    written = write_run_figures(RunFolder(tmp_path), results)
    assert written == [tmp_path / "figures" / f"{name}.png" for name in names]
    for path in written:
        with Image.open(path) as picture:
            assert min(picture.size) > 500
            assert np.asarray(picture.convert("L")).std() > 5  # something is drawn


def test_the_welfare_figure_says_unit_optimum_and_interval() -> None:
    axes = Figure().subplots()
    draw_welfare(axes, {"tos": made_up("chicken-100")})
    assert axes.get_ylabel() == "welfare (reward per episode, all agents)"
    assert axes.get_xlabel() == "outer step (log scale)"
    assert [text.get_text() for text in axes.texts] == ["welfare optimum 0", "mutual defection -200"]
    assert len(axes.collections) == 1  # the band
    x, y = axes.lines[0].get_data()
    np.testing.assert_array_equal(x, [1, 2, 3, 4, 5])
    np.testing.assert_allclose(y, np.linspace(-1, 0, 5) + 0.05)  # the interquartile mean of 4 seeds


@pytest.mark.parametrize(
    ("game", "labels"),
    [
        ("escape-room", ["welfare optimum 50 %"]),
        ("public-goods", ["welfare optimum 100 %"]),
        ("chicken", []),
    ],
)
def test_the_cooperation_figure_marks_the_rate_of_the_optimum(game: str, labels: list[str]) -> None:
    axes = Figure().subplots()
    draw_cooperation(axes, {"tos": made_up(game)})
    assert [text.get_text() for text in axes.texts] == labels
    assert axes.get_ylabel() == "cooperation rate"


def test_environment_steps_as_the_x_axis_are_those_of_each_seed() -> None:
    results = made_up("escape-room", seeds=2, steps=4)
    results.curves["environment_steps"] = np.array([[10.0, 12], [20, 24], [30, 36], [40, 48]])
    results.curves["welfare"] = np.array([[0.0, 10], [1, 11], [2, 12], [3, 13]])
    axes = Figure().subplots()
    draw_curves(axes, {"tos": results}, "welfare", log=False, x_axis="environment-steps")
    x, y = axes.lines[0].get_data()
    # from where both seeds have ended an outer step, 12, to the end of the one that plays fewer steps, 40
    np.testing.assert_array_equal(x, [12, 21, 31, 40])
    np.testing.assert_allclose(y, [(0 + 10) / 2, (1 + 10) / 2, (2 + 11) / 2, (3 + 12) / 2])
    assert axes.get_xlabel() == "environment steps per seed"


@pytest.mark.parametrize("steps", [1, 2])
def test_a_run_too_short_for_a_common_range_is_a_point(steps: int) -> None:
    results = made_up("escape-room", seeds=2, steps=steps)
    results.curves["environment_steps"] = np.array([[10.0, 40], [20, 50]])[:steps]
    axes = Figure().subplots()
    draw_welfare(axes, {"tos": results}, x_axis="environment-steps")
    assert axes.lines[0].get_xdata()[0] == 40  # type: ignore[index]


def test_runs_without_environment_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="tos learns chicken from exact values"):
        draw_welfare(Figure().subplots(), {"tos": made_up()}, x_axis="environment-steps")
    with pytest.raises(ValueError, match="on escape-room were not counted"):
        draw_welfare(Figure().subplots(), {"tos": made_up("escape-room")}, x_axis="environment-steps")
    with pytest.raises(ValueError, match="There is no x axis 'steps'"):
        draw_welfare(Figure().subplots(), {"tos": made_up()}, x_axis="steps")  # type: ignore[arg-type]


@pytest.mark.parametrize(("seeds", "bands"), [(1, 0), (2, 0), (3, 1)])
def test_a_band_needs_three_seeds(seeds: int, bands: int) -> None:
    axes = Figure().subplots()
    draw_cooperation(axes, {"tos": made_up(seeds=seeds)})
    assert len(axes.collections) == bands


def test_a_single_step_is_a_visible_point() -> None:
    axes = Figure().subplots()
    draw_welfare(axes, {"tos": made_up(steps=1)})
    assert axes.lines[0].get_marker() == "o"


def test_rounding_errors_are_not_drawn_as_a_landscape() -> None:
    results = made_up("matching-pennies", cooperation=False)
    results.curves["welfare"][:] = 1e-17
    axes = Figure().subplots()
    draw_welfare(axes, {"tos": results})
    low, high = axes.get_ylim()
    assert high - low > 1


def labels_of(levels: list[tuple[str, float]], curve: list[float]) -> dict[str, str]:
    """Words -> whether they stand above or below their line."""
    axes = Figure().subplots()
    axes.plot(range(len(curve)), curve)
    axes.margins(y=0.2)
    draw_levels(axes, levels)
    FigureCanvasAgg(axes.figure).draw()
    return {text.get_text(): {"bottom": "above", "top": "below"}[text.get_va()] for text in axes.texts}


def test_levels_of_the_same_height_share_a_line_and_their_words() -> None:
    levels = [("group optimum", 9.0), ("all defect", 3.0), ("worst", 3.0 - 1e-12), ("group optimum", 9.0)]
    assert labels_of(levels, [5.0]) == {"group optimum 9": "above", "all defect, worst 3": "above"}
    assert labels_of([], [5.0]) == {}


def test_words_keep_out_of_the_way_of_curves_and_of_each_other() -> None:
    assert labels_of([("top", 9.0), ("all defect", 3.0)], [5.0, 3.2, 3.1]) == {
        "top 9": "above",
        "all defect 3": "below",
    }
    assert labels_of([("top", 9.0), ("next", 8.8), ("low", 0.0)], [5.0]) == {
        "top 9": "above",
        "next 8.8": "below",
        "low 0": "above",
    }


@pytest.mark.parametrize("seed", range(5))
def test_a_label_moves_along_its_level_to_where_no_curve_is(seed: int) -> None:
    random = np.random.default_rng(seed)
    axes = Figure(figsize=(6, 4)).subplots()
    x = np.linspace(0, 1, 40)
    free = random.uniform(0, 0.4)  # left end of the only place between the curves
    for side in (-1, 1):
        axes.plot(x, np.where((x > free) & (x < free + 0.55), side, 0.05 * side))
    draw_levels(axes, [("optimum", 0.0)])
    figure = axes.figure
    for limits in ((-1.1, 1.1), (-1.5, 1.2)):
        axes.set_ylim(*limits)
        FigureCanvasAgg(figure).draw()
        (label,) = axes.texts
        assert isinstance(label, LevelLabel)
        box = label.get_window_extent()
        for line in axes.lines:
            path = line.get_transform().transform_path(line.get_path())
            assert not path.intersects_bbox(box, filled=False)
        left, right = axes.transData.transform([(free, 0), (free + 0.55, 0)])[:, 0]
        assert left < box.x0 < box.x1 < right


def test_the_overview_of_two_games(tmp_path: Path) -> None:
    methods = ("selfish", "prosocial", "fixed", "tos")
    rows = {game: {name: made_up(game, name) for name in methods} for game in ("chicken", "escape-room")}
    path = write_overview(rows, tmp_path / "overview.png")
    with Image.open(path) as picture:
        assert picture.size == (2100, 1260)


def test_gains_are_over_the_selfish_agents_of_the_same_seed() -> None:
    runs = {name: made_up("irrigation", name) for name in ("selfish", "prosocial", "tos")}
    runs["selfish"].final.update({"return_0": np.arange(4.0), "return_1": np.zeros(4)})
    runs["prosocial"].final.update({f"return_{agent}": np.arange(4.0) + 1 for agent in range(4)})
    axes = Figure().subplots()
    draw_gains(axes, runs)
    drawn = {bars.get_label(): bars.lines[0].get_ydata() for bars in axes.containers}
    assert set(drawn) == {"prosocial", "tos"}  # selfish is the line at 0
    np.testing.assert_allclose(np.asarray(drawn["prosocial"])[:2], [1, 2.5])
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [0, 0])
    assert axes.get_ylabel() == "gain over selfish agents (reward per episode)"


def test_an_overview_with_gains(tmp_path: Path) -> None:
    rows = {"Canal": {name: made_up("irrigation", name) for name in ("selfish", "prosocial", "fixed", "tos")}}
    path = write_overview(rows, tmp_path / "overview.png", gains=["Canal"])
    with Image.open(path) as picture:
        assert picture.size == (2100, 630)


def test_known_methods_keep_their_colors_and_others_get_spare_ones() -> None:
    found = colors(["a", "tos", "b", "selfish"])
    assert len(set(found.values())) == 4
    assert found["tos"] == colors(["tos"])["tos"]


def test_style_changes_nobody_elses_figures(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    with style():
        assert mpl.rcParams["axes.grid"] is True
    save(Figure(), tmp_path / "empty.svg")
    assert tmp_path.joinpath("empty.svg").read_text().startswith("<?xml")
    assert dict(mpl.rcParams) == before
