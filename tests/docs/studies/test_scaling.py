"""Study of scaling: medians by order statistics, exponents, and the command."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bilevel
from docs.studies import scaling
from docs.studies.scaling import (
    WINDOW,
    Measurement,
    Study,
    episodes_to,
    main,
    measure,
    median_interval,
    slope,
)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are written to runs/ there."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("seeds", "ranks"), [(5, (1, 5)), (6, (1, 6)), (10, (2, 9)), (20, (6, 15))])
def test_ranks_of_the_interval_of_a_median(seeds: int, ranks: tuple[int, int]) -> None:
    """As in tables of the sign test."""
    assert median_interval(np.arange(1.0, seeds + 1)) == ranks


@given(values=st.lists(st.floats(1, 1e6) | st.just(math.inf), min_size=6, max_size=30))
def test_the_interval_holds_the_median(values: list[float]) -> None:
    low, high = median_interval(np.array(values))
    assert low <= np.median(values) <= high
    assert (low, high) == median_interval(np.array(values[::-1]))


def test_exponents_leave_out_sizes_at_which_half_of_the_seeds_fail() -> None:
    cases = [Measurement(label="", agents=n, settings={}, episodes=np.full(4, n**1.5)) for n in (8, 32, 128)]
    assert slope(cases) == pytest.approx(1.5)
    never = Measurement(label="", agents=256, settings={}, episodes=np.full(4, math.inf))
    assert slope([*cases, never]) == pytest.approx(1.5)
    assert math.isnan(slope([never]))


def test_episodes_count_those_of_the_outer_loop_until_the_window_reaches_the_level() -> None:
    settings = {"game.agents": 4, "inner.exact": False, "inner.episodes": 4, "seeds": 3, "outer_steps": 40}
    run = bilevel.train("aid", "tos", evaluation_episodes=2, **settings, **{"inner.learning_rate": 10.0})
    reached = episodes_to(run, level=0.9)
    assert episodes_to(run, level=0.0).tolist() == [WINDOW * 8] * 3
    assert np.isinf(episodes_to(run, level=1.01)).all()
    for seed, episodes in enumerate(reached):
        assert np.isfinite(episodes)
        step = int(episodes) // 8 - 1
        cooperation = run.curves["cooperation"][:, seed]
        assert cooperation[step - WINDOW + 1 : step + 1].mean() >= 0.9 - 1e-6
        assert step == WINDOW - 1 or cooperation[step - WINDOW : step].mean() < 0.9


@pytest.mark.parametrize("label", ["neighborhood", "common reward"])
def test_runs_that_end_early_give_the_episodes_of_long_ones(
    label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(agents=(6,), rates=(0.3, 10.0), seeds=3, budget=512)
    early = measure(study, label, 6)
    tried: list[int] = []
    monkeypatch.setattr(scaling, "lengths", lambda most: tried.append(most) or iter([most]))
    whole = measure(study, label, 6)
    assert set(tried) == {128}
    assert early.reached == 3
    assert early.settings == whole.settings
    assert early.episodes.tolist() == whole.episodes.tolist()


SMALL = ["--agents", "4", "6", "--rates", "10", "--seeds", "3", "--budget", "160", "--methods"]


def test_the_command_prints_a_table_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, "common reward", "neighborhood", "--out", str(tmp_path)]
    main([*words, "--figure", str(tmp_path / "scaling.svg")])
    titles, _, *rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[:2] for row in rows] == [
        ["| common reward", "4"],
        ["| common reward", "6"],
        ["| neighborhood", "4"],
        ["| neighborhood", "6"],
    ]
    assert {row.count("|") for row in rows} == {titles.count("|")}
    assert (tmp_path / "scaling.svg").exists()


def test_what_was_measured_is_not_measured_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*SMALL, "neighborhood", "--out", str(tmp_path)]
    main(words)
    first = capsys.readouterr().out
    monkeypatch.setattr(scaling, "measure", lambda *_: pytest.fail("measured again"))
    main(words)
    assert capsys.readouterr().out == first
    with pytest.raises(SystemExit, match="measured with other settings: choose another folder with --out"):
        main([*words, "--batch", "8"])


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"methods": ("magic",)}, "methods are some of common reward, .*, not magic"),
        ({"agents": ()}, "must name at least one case"),
        ({"figure": Path("scaling.jpg")}, "ends in .png, .pdf, .svg, not scaling.jpg"),
    ],
)
def test_bad_settings_are_refused(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Study(**setting)
