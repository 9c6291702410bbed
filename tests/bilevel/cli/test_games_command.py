"""`bilevel games`: the list, a page, the files; and that the document in docs/ is what it writes."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import games
from bilevel.core import leaves
from bilevel.report import page
from bilevel.report._catalogue import bytes_per_copy
from bilevel.report._catalogue_files import document_text, has_diagram, shown

Call = Callable[..., Any]
DOCUMENT = Path(__file__).parents[3] / "docs" / "reference" / "games"


@pytest.mark.parametrize("name", games.names())
def test_every_page_has_what_a_researcher_looks_for(name: str) -> None:
    found = page(name)
    assert all(found.facts.values())
    assert {"source", "agents", "actions", "observation", "horizon", "welfare optimum"} <= found.facts.keys()
    assert found.rules
    assert all(setting.text for setting in found.settings), [s.name for s in found.settings if not s.text]
    assert all(line == line.rstrip() for line in found.text().splitlines())


@pytest.mark.parametrize("name", games.names())
def test_a_batch_takes_the_memory_of_its_copies_and_no_more(name: str) -> None:
    """The tensors' whole storages count: none is a view of something larger that is kept alive."""
    game = games.make(name)
    state, seen = bytes_per_copy(game)
    batch = game.reset(64, torch.Generator())
    stores = {leaf.untyped_storage().data_ptr(): leaf.untyped_storage().nbytes() for leaf in leaves(batch)}
    assert sum(stores.values()) <= 1.05 * 64 * state  # some masks have a cell for who is nowhere
    assert game.observe(batch).nbytes == 64 * seen


def test_a_page_is_printed(call: Call) -> None:
    said = call("games", "stag-hunt-grid")
    assert said.code == 0
    for words in ("up, down, left, right, stay, hunt", "30 steps at most", "arXiv 2410.07863", "hunters = 2"):
        assert words in said.out
    assert "hunting is an action of its own" in " ".join(said.out.split())  # where the source leaves it open


def test_a_page_comes_with_files(call: Call) -> None:
    said = call("games", "snowdrift", "--out", "found", "--episodes", 4)
    assert said.code == 0
    assert said.out.rstrip().endswith("found/frame.png, found/schelling.png, found/schelling.csv")
    with Image.open("found/frame.png") as frame:
        assert frame.size == (384, 384 + 26)  # the map and its key
    with Path("found/schelling.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 + 4 + 5
    assert call("games", "soccer", "--out", "other").code == 0
    assert sorted(path.name for path in Path("other").iterdir()) == ["frame.png"]


def test_a_game_of_ones_own_has_a_page(call: Call) -> None:
    Path("mine.py").write_text(
        'import games\ngames.register("my-chicken", games.make("chicken", punishment=-2), summary="tame")\n'
    )
    said = call("games", "my-chicken", "--load", "mine.py")
    assert said.code == 0
    assert "punishment = -2" in said.out
    assert "none: defined by its author" in said.out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("jungel",), "There is no game 'jungel'; did you mean 'jungle'"),
        (("jungle", "--episodes", 1), "episodes must be 2 or more, not 1."),
        (("--seed", -1), "seed must be from 0"),
    ],
)
def test_mistakes_hear_one_sentence(words: tuple[object, ...], sentence: str, call: Call) -> None:
    said = call("games", *words)
    assert said.code == 2
    assert sentence in said.sentence()


def test_the_document_is_what_the_command_writes() -> None:
    assert (DOCUMENT / "README.md").read_text(encoding="utf-8") == document_text()
    wanted = {f"{name}.png" for name in games.names() if shown(name)}
    diagrams = {name for name in games.names() if shown(name) and has_diagram(games.make(name))}
    wanted |= {f"{name}-schelling.{kind}" for name in diagrams for kind in ("png", "csv")}
    assert {path.name for path in DOCUMENT.iterdir()} == wanted | {"README.md"}


@pytest.mark.parametrize("exact", ["--inner.exact", "--inner.no-exact"])
def test_hands_that_tremble_are_a_setting_of_a_run(exact: str, call: Call) -> None:
    """Whatever is learned in a step, at a noise of one half all play uniformly: -1.5 each."""
    game = ("--game", "repeated-prisoners-dilemma", "--game.noise", 0.5, "--game.horizon", 100)
    how = ("--method", "selfish", exact, "--outer-steps", 1, "--seeds", 2, "--evaluation-episodes", 64)
    assert call("train", *game, *how, "--out", "run").code == 0
    with Path("run/metrics.csv").open(newline="") as file:
        welfare = [float(row["welfare"]) for row in csv.DictReader(file)]
    assert welfare == pytest.approx([-3.0] * len(welfare), abs=1e-5 if exact == "--inner.exact" else 0.2)
    said = call("train", *game[:2], "--game.noise", 1.5, *how, "--out", "other")
    assert (said.code, Path("other").exists()) == (2, False)
    assert "noise is a probability, from 0 to 1; it is 1.5." in said.sentence()
