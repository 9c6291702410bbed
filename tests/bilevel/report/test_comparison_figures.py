"""The figures of a comparison: which there are, and what they show."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from bilevel.experiments import Run, compare_runs
from bilevel.methods import METHODS
from bilevel.report import _figures as figures
from bilevel.report import looks, theory_of, write_comparison_figures
from bilevel.report._figures import draw_equality, draw_profiles
from bilevel.report._heat_maps import final_transfers, transfer_figure
from bilevel.report._style import LOOKS, wrapped
from tests.bilevel.report.compared import made_up
from tests.bilevel.report.legibility import contrast

POOR = ((-1.0, 0.5), (2.0, 2.0), (-1.0, 1.0), (0.0, 0.0))


@pytest.mark.parametrize(
    ("runs", "names"),
    [
        ({"selfish": made_up(), "tos": made_up()}, ["curves", "profile", "sharing", "equality"]),
        (
            {"a": made_up(returns=POOR), "b": made_up(sharing=False)},
            ["curves", "profile", "sharing", "equality"],
        ),
        (
            {name: made_up(returns=POOR, sharing=False, cooperation=False) for name in "abc"},
            ["curves", "profile"],
        ),
        ({f"m{i}": made_up(steps=1 + i) for i in range(9)}, ["curves", "profile", "sharing", "equality"]),
        (
            {name: made_up(returns=((1.0, 1.0),) * 3) for name in "ab"},
            ["curves", "profile", "sharing", "equality"],
        ),
    ],
)
def test_which_figures_there_are(runs: dict[str, Run], names: list[str], tmp_path: Path) -> None:
    (tmp_path / "equality.png").write_bytes(b"of another comparison")
    written = write_comparison_figures(compare_runs(runs), tmp_path)
    assert written == [tmp_path / f"{name}.png" for name in names]
    assert sorted(tmp_path.iterdir()) == sorted(written)
    for path in written:
        with Image.open(path) as picture:
            assert min(picture.size) > 500
            assert np.asarray(picture.convert("L")).std() > 5  # something is drawn


def test_what_is_given_by_other_than_a_matrix_stands_side_by_side(tmp_path: Path) -> None:
    lio, planner = made_up(sharing=False), made_up(method="planner", sharing=False)
    repeated = {name: made_up("repeated-chicken", name, sharing=False) for name in ("lio", "gifting")}
    for one in (lio, *repeated.values()):
        one.final.update({f"incentive_{i}_{1 - i}": np.full(4, 1.0 + i) for i in (0, 1)})
    planner.final.update({f"paid_{i}": np.full(4, 2.0 * i - 1) for i in (0, 1)})
    runs = {"lio": lio, "planner": planner, "tos": made_up()}
    written = [path.name for path in write_comparison_figures(compare_runs(runs), tmp_path)]
    assert written == ["curves.png", "profile.png", "sharing.png", "incentives.png", "equality.png"]
    one_scale, of_its_own = (
        transfer_figure({label: found for label, run in some.items() if (found := final_transfers(run))}, "")
        for some in ({"lio": lio, "planner": planner}, repeated)
    )
    assert [axes.images[0].get_clim() for axes in one_scale.axes if axes.images] == [(-2, 2), (-2, 2)]
    assert [axes.get_ylabel() for axes in one_scale.axes][-1] == "reward per episode (mean)"
    assert [axes.get_ylabel() for axes in of_its_own.axes][-2:] == ["reward per episode", "reward per step"]


def test_theory_is_marked_among_the_curves() -> None:
    runs = {"tos": made_up("prisoners-dilemma"), "selfish": made_up("prisoners-dilemma", sharing=False)}
    theory = theory_of(runs["tos"].config.game)
    welfare, _, kept = figures._curves(runs, "", theory).axes
    assert [text.get_text() for text in welfare.texts] == [
        "welfare optimum -2",
        "mutual defection, only pure equilibrium -4",
    ]
    assert [text.get_text() for text in kept.texts] == ["s*, g* 0.6667"]
    (learned, _) = kept.lines  # who does not share has no curve
    np.testing.assert_allclose(learned.get_ydata(), 1 - 0.25 * np.linspace(0.1, 1, 5))
    welfare, _, kept = figures._curves(runs, "", None).axes
    assert (len(welfare.texts), len(kept.texts)) == (2, 0)


def test_a_label_has_the_same_look_in_every_panel() -> None:
    runs = {"generous": made_up(), "lio": made_up(sharing=False, cooperation=False), "tos": made_up()}
    for axes in figures._curves(runs, "", None).axes:
        drawn = {line.get_label(): (line.get_color(), line.get_marker()) for line in axes.lines}
        assert drawn["generous"] == tuple(looks(list(runs))["generous"][part] for part in ("color", "marker"))


def test_a_profile_steps_down_at_every_score() -> None:
    axes = Figure().subplots()
    draw_profiles(axes, {"a": made_up(), "tos": made_up(returns=((1.0, 1.0),) * 4)})
    taus, shares = axes.lines[0].get_data()
    np.testing.assert_allclose(taus, [2 - 0.35, 2, 8, 9, 9 + 0.35])
    np.testing.assert_allclose(shares, [1, 1, 0.75, 0, 0])
    assert axes.lines[0].get_drawstyle() == "steps-post"
    assert axes.get_xlabel() == "threshold tau of welfare (reward per episode, all agents)"
    assert axes.lines[1].get_color() == LOOKS["tos"][0]


def test_a_comparison_of_many_methods_has_rows_of_panels_with_the_baseline_in_each() -> None:
    names = [f"m{place}" for place in range(12)]
    runs = {
        name: made_up(sharing=place == 0, returns=((place, place),) * 3) for place, name in enumerate(names)
    }
    few = dict(itertools.islice(runs.items(), figures.MAX_TOGETHER))
    assert figures._groups(few) == [few]
    groups = [list(group) for group in figures._groups(runs)]
    assert all(group[0] == "m0" for group in groups)
    assert [name for group in groups for name in group[1:]] == names[1:]
    assert max(map(len, groups)) <= 1 + figures.MAX_WITH_FIRST
    drawn = figures._curves(runs, "", None)
    assert len(drawn.axes) == 3 * len(groups)
    assert [
        [text.get_text() for text in axes.get_legend().get_texts()] for axes in drawn.axes[2::3]
    ] == groups  # type: ignore[union-attr]
    assert len({axes.get_ylim() for axes in drawn.axes[::3]}) == 1
    assert len({axes.get_xlim() for axes in drawn.axes[::3]}) == 1
    one_look = {
        (line.get_label(), line.get_color(), line.get_marker()) for axes in drawn.axes for line in axes.lines
    }
    assert len([label for label, *_ in one_look if label in names]) == 12
    del runs["m0"]  # no method that shares remains in some rows
    runs["m12"] = made_up(sharing=True)
    *blank, kept = figures._curves(runs, "", None).axes[2::3]
    assert [axes.axison for axes in blank] == [False] * len(blank)
    assert [line.get_label() for line in kept.lines] == ["m12"]


def test_equality_and_welfare_of_many_methods_stand_in_rows_of_their_own() -> None:
    runs = {f"m{place}": made_up() for place in range(figures.MAX_TOGETHER)} | {"poor": made_up(returns=POOR)}
    rows = compare_runs(runs)
    welfare, equality = figures._equality(rows, "").axes
    assert [label.get_text() for label in welfare.get_yticklabels()] == list(runs)
    for axes, measure in ((welfare, "welfare"), (equality, "equality")):
        known = [
            (place, row.intervals[measure]) for place, row in enumerate(rows) if measure in row.intervals
        ]
        assert [container.lines[0].get_data() for container in axes.containers] == [
            (interval.estimate, place) for place, interval in known
        ]
    assert len(welfare.containers) == len(equality.containers) + 1


def test_equality_against_welfare_with_intervals_and_without_who_has_none() -> None:
    axes = Figure().subplots()
    rows = compare_runs({"a": made_up(), "b": made_up(returns=POOR)})
    draw_equality(axes, rows)
    (drawn,) = axes.containers
    interval = rows[0].intervals["equality"]
    point, _, (_, upright) = drawn.lines
    assert point.get_data() == (rows[0].intervals["welfare"].estimate, interval.estimate)
    (segment,) = upright.get_segments()
    np.testing.assert_allclose(segment[:, 1], [interval.low, interval.high])


def test_twelve_methods_without_colors_of_their_own_look_different() -> None:
    found = looks([*LOOKS, *(f"mine-{i}" for i in range(12))])
    assert len({(look["marker"], str(look["linestyle"])) for look in found.values()}) == len(found)


def test_every_method_has_a_color_that_shows_on_white_and_a_marker_of_its_own() -> None:
    assert LOOKS.keys() == METHODS.keys()
    found = looks(list(LOOKS))
    for name, look in found.items():
        assert contrast(look["color"]) >= 3, name
        own = {key: value for key, value in look.items() if key != "markevery"}
        assert own.items() <= looks([name, "mine"])[name].items()
    for parts in (("color",), ("marker",), ("linestyle", "marker"), ("color", "linestyle", "marker")):
        assert len({tuple(str(look[part]) for part in parts) for look in found.values()}) == len(LOOKS)


@pytest.mark.parametrize("method", ["lio", "inequity-aversion"])
def test_titles_lie_inside_their_figures(method: str) -> None:
    one = made_up("escape-room", "lio", sharing=False)
    one.final.update({f"incentive_{i}_{1 - i}": np.full(4, 1.0 + i) for i in (0, 1)})
    found = final_transfers(one)
    assert found is not None
    title = "escape-room: final incentives and payments, over 32 seeds"
    figure = transfer_figure({f"{method}, an alternative with a long label": found}, title)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    headings = [figure._suptitle, *(axes.title for axes in figure.axes)]  # type: ignore[attr-defined]
    for heading in headings:
        extent = heading.get_window_extent()
        assert 0 <= extent.x0 <= extent.x1 <= figure.bbox.width, heading.get_text()
    assert wrapped("short", 6) == "short"
