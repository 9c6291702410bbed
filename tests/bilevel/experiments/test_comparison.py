"""Comparisons: what may be compared, folders that are taken up, and every way they refuse."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import games
from bilevel.experiments import (
    Comparison,
    RunConfig,
    create_run,
    default_config,
    find_or_create,
    load_comparison,
    require_comparable,
    train,
)
from bilevel.experiments._comparison import applicable_methods
from bilevel.experiments._run_folder import config_differences
from bilevel.methods import METHODS, Method, register_method

SMALL = {"seeds": 3, "outer_steps": 2}


def config(method: str = "tos", game: str = "prisoners-dilemma", **changed: Any) -> RunConfig:
    return dataclasses.replace(default_config(game, method), **{**SMALL, **changed})


class PairsOnly(Method):
    def build(self, game: games.Game, placement: Any) -> Any:
        if game.num_agents != 2:
            raise ValueError("It takes two.")
        return METHODS["selfish"]().build(game, placement)


def test_folders_are_made_then_taken_up(tmp_path: Path) -> None:
    comparison = Comparison({"selfish": config("selfish"), "mine": config()})
    folders = comparison.folders(tmp_path)
    assert {label: folder.path for label, folder in folders.items()} == {
        "selfish": tmp_path / "selfish",
        "mine": tmp_path / "mine",
    }
    train(folders["mine"])
    again = comparison.folders(tmp_path)
    assert again == folders
    assert [folder.finished for folder in again.values()] == [False, True]


def test_a_run_with_other_settings_is_left_alone(tmp_path: Path) -> None:
    Comparison({"selfish": config("selfish"), "tos": config()}).folders(tmp_path)
    before = (tmp_path / "tos/config.json").read_bytes()
    other = {"prosocial": config("prosocial"), "tos": config(game="prisoners-dilemma", seed=1)}
    with pytest.raises(ValueError, match=r"tos holds a run with other settings \(seed 0 there, 1 here\)"):
        Comparison(other).folders(tmp_path)
    assert not (tmp_path / "prosocial").exists()
    assert (tmp_path / "tos/config.json").read_bytes() == before


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "tos").mkdir()
    (tmp_path / "tos" / "thesis.tex").touch()
    with pytest.raises(ValueError, match="is not a run folder"):
        find_or_create(tmp_path / "tos", config())
    assert [path.name for path in (tmp_path / "tos").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("configs", "says"),
    [
        ({}, "needs 2 methods or more, not 0"),
        ({"tos": config()}, "needs 2 methods or more, not 1"),
        ({"a": config(), "../b": config()}, "letters, digits, - and _, not '../b'"),
        ({"a": config(), "B": config()}, "small letters, digits, - and _, not 'B'"),
        ({"a": config(seeds=2), "b": config(seeds=2)}, "needs 3 seeds or more, not 2"),
        ({"a": config(), "b": config(seeds=4)}, r"b cannot be compared with a: .* seeds \(4, not 3\)\."),
        ({"a": config(), "b": config(evaluation_episodes=8)}, r"evaluation_episodes \(8, not 1024\)"),
        (
            {"a": config(game="coin-game"), "b": config(game="jungle")},
            r"differ in game_name \('?jungle'?, not coin-game\)",
        ),
    ],
)
def test_what_cannot_be_compared(configs: dict[str, RunConfig], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Comparison(configs)


def test_a_game_with_another_horizon_is_another_game() -> None:
    one, other = config(game="escape-room"), config(game="escape-room")
    longer = dataclasses.replace(other.game, horizon=7)  # type: ignore[type-var]
    with pytest.raises(ValueError, match=r"they differ in game.horizon \(7, not \d+\)"):
        require_comparable({"a": one, "b": dataclasses.replace(other, game=longer)})


def test_methods_may_have_settings_of_their_own() -> None:
    other = config(outer_steps=5, checkpoint_every=1)
    other = dataclasses.replace(other, method=other.method.with_settings({"inner.steps": 3}))
    require_comparable({"a": config(), "b": other})
    assert config_differences(config(), other) == {
        "method.inner.steps": (1, 3),
        "outer_steps": (2, 5),
        "checkpoint_every": (50, 1),
    }


def test_many_differences_are_counted() -> None:
    with pytest.raises(ValueError, match=r"and \d+ more"):
        require_comparable({"a": config(game="coin-game"), "b": config(game="jungle", seeds=9)})


def test_a_method_that_does_not_apply_says_which_do() -> None:
    register_method("pairs-only", PairsOnly)
    three = games.make("escape-room", agents=3, levers=2)
    configs = {
        name: dataclasses.replace(config(name, "escape-room"), game=three)
        for name in ("selfish", "pairs-only")
    }
    for_pairs = "pairs-only", "coala-pg", "m-fos", "meva"
    applying = ", ".join(name for name in METHODS if name not in for_pairs)
    says = f"pairs-only does not apply to escape-room: It takes two. Other methods that apply: {applying}."
    with pytest.raises(ValueError, match=re.escape(says)):
        Comparison(configs)
    assert "pairs-only" in applicable_methods("chicken", games.make("chicken"))


def test_finished_runs_are_read_under_labels_that_differ(tmp_path: Path) -> None:
    paths = []
    for method, name in (("selfish", "a"), ("tos", "b"), ("tos", "c")):
        folder = create_run(config(method), tmp_path / name)
        train(folder)
        paths.append(folder.path)
    assert list(load_comparison(paths[:2])) == ["selfish", "tos"]
    found = load_comparison(paths)
    assert list(found) == ["a", "b", "c"]
    np.testing.assert_array_equal(found["b"].final["welfare"], found["c"].final["welfare"])
    with pytest.raises(ValueError, match="is named twice"):
        load_comparison([paths[0], paths[1] / ".." / "a"])
    with pytest.raises(ValueError, match="needs 2 runs or more, not 1"):
        load_comparison(paths[:1])
    unfinished = create_run(config(), tmp_path / "d")
    with pytest.raises(ValueError, match="d is not finished: continue it with"):
        load_comparison([paths[0], unfinished.path])
