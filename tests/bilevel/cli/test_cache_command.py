"""`bilevel cache`: what lies in the folder of compiled packages, and how it is emptied."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import games
from bilevel.compile import _cache as cache
from bilevel.compile import _program as program

Call = Callable[..., Any]
ABOUT = {
    "about": "step of dilemma",
    "built": "2026-03-01T12:34:56+00:00",
    "seconds": 21.5,
    "operations": 900,
    "environment": ["format 1", "torch 2.13.0", "Linux"],
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "packages"
    monkeypatch.setenv(cache.VARIABLE, str(path))
    program.forget()
    return path


A, B = f"{'a' * 32}.so", f"{'b' * 32}.pt2"


def put(key: str, size: int, about: object = ABOUT) -> None:
    cache.keep(key, lambda path: path.write_bytes(b"x" * size), {})
    cache.about_path(cache.package_path(key)).write_text(json.dumps(about))


def test_packages_are_listed_with_their_total(call: Call, folder: Path) -> None:
    put(A, 2_000_000)
    put(B, 1_500_000, {**ABOUT, "about": "pull of dilemma", "built": "2026-03-02T00:00:00+00:00"})
    said = call("cache")
    assert (said.code, said.err) == (0, "")
    header, _, first, second, *rest = said.out.splitlines()
    assert header.split() == ["package", "size", "built", "seconds", "torch"]
    assert first.split() == ["step", "of", "dilemma", "2.0", "MB", "2026-03-01", "12:34", "21.5", "2.13.0"]
    assert second.split()[:5] == ["pull", "of", "dilemma", "1.5", "MB"]
    assert " ".join(rest) == f"2 packages, 3.5 MB, in {folder}."


def test_a_package_without_its_description_is_listed_by_its_file(call: Call) -> None:
    put(A, 1000, [])
    said = call("cache")
    assert said.out.splitlines()[2].split() == [A, "0.0", "MB", "?", "?", "?"]
    assert "1 package, " in said.out


@pytest.mark.parametrize("words", [["cache"], ["cache", "--clear"]])
def test_an_empty_folder_is_said_to_be_empty(words: list[str], call: Call, folder: Path) -> None:
    said = call(*words)
    assert (said.code, said.out) == (0, f"There are no packages in {folder}.\n")


def test_clear_says_how_much_and_deletes(call: Call, folder: Path) -> None:
    put(A, 2_000_000)
    (folder / "thesis.json").write_text("{}")
    said = call("cache", "--clear")
    assert (said.code, said.out) == (0, f"Deleted 1 package, 2.0 MB, in {folder}.\n")
    assert sorted(path.name for path in folder.iterdir()) == [cache.TAG, "thesis.json"]


def test_a_folder_that_is_no_cache_is_not_cleared(call: Call, folder: Path) -> None:
    folder.mkdir()
    (folder / "results.json").write_text("{}")
    said = call("cache", "--clear")
    assert said.code != 0
    assert "is not a cache of compiled packages" in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert [path.name for path in folder.iterdir()] == ["results.json"]


def test_an_unknown_option_is_refused(call: Call) -> None:
    put(A, 10)
    assert call("cache", "--claer").code == 2
    assert len(cache.packages()) == 1


def test_help_says_what_it_does(call: Call) -> None:
    said = call("cache", "--help")
    assert said.code == 0
    assert "--clear" in said.out
    assert "BILEVEL_CACHE" in said.out


def test_build_compiles_the_default_run_of_each_game_once(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        games, "names", lambda: ["escape-room", "chicken"]
    )  # the first one has no exact values
    first, again = call("cache", "--build"), call("cache", "--build", "chicken", "--method", "tos")
    assert (first.code, first.err) == (0, "")
    assert re.fullmatch(r"1/1 chicken: 2 packages built, \d+\.\d s\.\n", first.out)
    assert re.fullmatch(r"1/1 chicken: nothing to build, \d+\.\d s\.\n", again.out)
    kinds = {package.about["about"].split()[0] for package in cache.packages()}
    assert kinds == {"solve", "outer"}, "the inner steps with the hypergradient, and the outer update"


def test_build_says_what_could_not_be_compiled(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/nowhere/cc")
    said = call("cache", "--build", "chicken")
    assert said.code == 0
    assert "nothing to build" in said.out
    assert (
        "runs eagerly, not compiled: there is no C compiler on this machine (/nowhere/cc, which CC"
        in said.out
    )


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--build", "chickn"], "no game 'chickn'"),
        (["--build", "chicken", "--method", "toss"], "no method 'toss'"),
        (["--build", "chicken", "--method", "selfish"], "differentiates through no inner steps"),
        (["--build", "--clear"], "Give --clear or --build, not both"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(words: list[str], reason: str, call: Call) -> None:
    said = call("cache", *words)
    assert said.code != 0
    assert reason in said.err
    assert said.out == ""
