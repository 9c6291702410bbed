"""Sweeps: their runs, names of folders, refusals, and the folder that resumes one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bilevel.sweeps import FixedWork, Outcome, Status, Sweep, load_sweep, points_of, work_on
from bilevel.sweeps._sweep_run import LONGEST_NAME, place_of

TWO = {"tos": "tos", "selfish": "selfish"}
SMALL = {"seeds": 3, "outer_steps": 2}


def sweep(**changes: Any) -> Sweep:
    return Sweep(**({"games": ["chicken"], "methods": TWO, "settings": SMALL} | changes))


def test_a_grid_is_the_product_of_games_methods_and_values() -> None:
    grid = sweep(
        games=["chicken", "stag-hunt"],
        axes={"tos.outer.learning_rate": [0.1, 0.3], "inner.steps": [1, 2]},
    )
    assert len(grid.runs) == 2 * (2 * 2 + 2)
    assert len({run.name for run in grid.runs}) == len(grid.runs)
    by_name = {run.name: run.config for run in grid.runs}
    config: Any = by_name["stag-hunt/tos/outer.learning_rate=0.3,inner.steps=2"]
    assert (config.game_name, config.seeds) == ("stag-hunt", 3)
    assert (config.method.outer.learning_rate, config.method.inner.steps) == (0.3, 2)


def test_settings_of_the_run_the_game_and_one_method() -> None:
    (tos, selfish) = sweep(
        settings=SMALL | {"tos.own_share": 0.8, "checkpoint_every": 1}, axes={"seed": [5]}
    ).runs
    method: Any = tos.config.method
    assert (method.own_share, tos.config.seed, selfish.config.checkpoint_every) == (0.8, 5, 1)
    (run,) = sweep(games=["escape-room"], methods={"tos": "tos"}, axes={"game.horizon": [3]}).runs
    game: Any = run.config.game
    assert (game.horizon, run.name) == (3, "escape-room/tos/game.horizon=3")


def test_seeds_are_split_among_runs_and_joined_in_the_results(tmp_path: Path) -> None:
    parts = sweep(methods={"tos": "tos"}, settings={"seeds": 5, "outer_steps": 2}, seeds_per_run=2)
    assert [(run.part, run.config.seed, run.config.seeds) for run in parts.runs] == [
        ("seeds-0-1", 0, 2),
        ("seeds-2-3", 2, 2),
        ("seeds-4-4", 4, 1),
    ]
    whole = sweep(methods={"tos": "tos"}, settings={"seeds": 5, "outer_steps": 2})
    welfare = []
    for each, out in ((parts, tmp_path / "parts"), (whole, tmp_path / "whole")):
        for run in each.runs:
            assert work_on(str(run.create(out).path)) == Outcome(Status.FINISHED)
        (point,) = points_of(each.runs, out)
        assert point.run is not None
        welfare.append(point.run.final["welfare"].tolist())
    assert welfare[0] == welfare[1]


def test_random_draws_do_not_depend_on_the_number_of_trials() -> None:
    axes = {"tos.outer.learning_rate": "0.01..1:log", "tos.own_share": [0.5, 0.9]}
    few, more = (
        sweep(methods={"tos": "tos"}, axes=axes, search="random", trials=trials).runs for trials in (2, 5)
    )
    assert [run.values for run in few] == [run.values for run in more[:2]]
    assert len({run.values["outer.learning_rate"] for run in more}) == 5
    assert more[4].name == "chicken/tos/trial-004"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"games": []}, "A sweep needs a game"),
        ({"methods": {}}, "A sweep needs a method"),
        ({"games": ["chicken", "chicken"]}, "The game chicken is there twice"),
        ({"games": ["chickn"]}, "There is no game 'chickn'; did you mean 'chicken'"),
        ({"methods": {"a": "toss"}}, "There is no method 'toss'; did you mean 'tos'"),
        (
            {"methods": {"My ToS": "tos"}},
            "A method is called by small letters, digits, - and _, not 'My ToS'",
        ),
        ({"search": "gird"}, "There is no search 'gird'. Did you mean 'grid'"),
        ({"trials": 3}, "leave out the trials, or search at random"),
        ({"search": "random"}, "A random search needs a number of trials, 1 or more, not None"),
        ({"search": "random", "trials": 2}, "A random search needs a setting to vary"),
        ({"axes": {"inner.steps": "1..5"}}, "A grid needs a list of values of inner.steps"),
        ({"axes": {"inner.steps": []}}, "inner.steps: A setting needs a value"),
        ({"axes": {"seeds": [3, 4]}}, "seeds is both fixed and varied"),
        ({"axes": {"seed": [0, -1]}}, "tos on chicken: seed must be from 0 to"),
        (
            {"axes": {"inner.stepz": [1]}},
            "There is no setting of ToS 'inner.stepz'. Did you mean 'inner.steps'",
        ),
        ({"axes": {"tos.own_share": ["x"]}}, "own_share must be of the type float"),
        ({"axes": {"outer.learning_rate": [0.1]}}, r"as in selfish.outer.learning_rate"),
        ({"axes": {"game.agents": [2]}}, "There is no setting of chicken 'agents'"),
        ({"games": ["coin-game"], "methods": {"a": "meva"}}, "a on coin-game: "),
        ({"seeds_per_run": 0}, "The seeds of a run must be a whole number, 1 or more, not 0"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _ = sweep(**changes).runs


@given(
    st.dictionaries(
        st.text("abc._", min_size=1, max_size=8),
        st.one_of(st.floats(), st.integers(), st.text(max_size=80)),
        min_size=1,
        max_size=6,
    )
)
def test_names_of_folders_are_short_and_portable(values: dict[str, Any]) -> None:
    name = place_of(values)
    assert len(name) <= LONGEST_NAME
    assert name == name.lower()
    assert not set(name) & set('/\\:*?"<>| \n')
    assert name not in (".", "..")


@given(
    st.lists(
        st.one_of(st.floats(allow_nan=False), st.text(max_size=120)), unique_by=str, min_size=2, max_size=5
    )
)
def test_different_values_have_different_folders(values: list[Any]) -> None:
    assert len({place_of({"setting": value}) for value in values}) == len(values)


def test_the_folder_of_a_sweep_keeps_it(tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    first = sweep(axes={"tos.own_share": [0.5]})
    assert load_sweep(first.create(out)) == first
    assert load_sweep(first.create(out)) == first
    with pytest.raises(ValueError, match=r"holds a sweep with other settings \(axes.tos.own_share"):
        sweep(axes={"tos.own_share": [0.6]}).create(out)
    random = {"axes": {"tos.own_share": "0.1..0.9"}, "search": "random"}
    sweep(**random, trials=2).create(tmp_path / "random")
    sweep(**random, trials=4).create(tmp_path / "random")  # more trials may be added
    with pytest.raises(ValueError, match=r"is not a sweep: it has no sweep\.json"):
        load_sweep(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="other exists, and is not a sweep: choose another folder"):
        first.create(other)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as a sweep"),
        ("[]", "is not a sweep of the form bilevel-sweep/1"),
        ('{"format": "bilevel-sweep/1", "games": ["chicken"]}', "is not a sweep"),
        (
            '{"format": "bilevel-sweep/1", "games": ["x"], "methods": {"a": "<b>"}}',
            "There is no method '<b>'",
        ),
    ],
)
def test_damaged_sweeps_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_sweep(tmp_path)


def test_failures_are_kept_with_their_message_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = sweep(methods={"tos": "tos"}).runs
    folder = run.create(tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise FloatingPointError("A policy is not finite.")

    with monkeypatch.context() as patch:
        patch.setattr("bilevel.sweeps._work.train", fail)
        assert work_on(str(folder.path)) == Outcome(Status.FAILED, "A policy is not finite.")
    (point,) = points_of([run], tmp_path)
    assert (point.failures, point.run, point.unfinished) == (["A policy is not finite."], None, 1)
    assert [each.name for each in FixedWork(sweep(methods={"tos": "tos"}), tmp_path).missing()] == [run.name]
    assert work_on(str(folder.path)) == Outcome(Status.FINISHED)
    (point,) = points_of([run], tmp_path)
    assert (point.failures, point.unfinished) == ([], 0)
    assert json.loads((folder.path / "summary.json").read_text())["outer_steps"] == 2
