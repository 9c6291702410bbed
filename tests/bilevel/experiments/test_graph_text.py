"""Kinds of graphs as text, on the command line and in config.json."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from bilevel.cli._train import parse
from bilevel.experiments import (
    default_config,
    load_config,
    read_graph,
    write_graph,
)
from bilevel.experiments._run_folder import create_run
from games.networked import (
    EdgeList,
    Grid,
    RandomGeometric,
    Ring,
    ScaleFree,
    SmallWorld,
)

TEXTS = {
    "ring": Ring(),
    "ring(reach=2, directed=False)": Ring(reach=2, directed=False),
    "grid(rows=4, periodic=False)": Grid(rows=4, periodic=False),
    "small-world(degree=2, rewiring=0.30000000000000004)": SmallWorld(degree=2, rewiring=0.1 + 0.2),
    "scale-free(links=3, seed=7)": ScaleFree(links=3, seed=7),
    "random-geometric(radius=0.4)": RandomGeometric(radius=0.4),
    "edges(edges=((0, 1), (1, 0, 0.5)))": EdgeList(edges=((0, 1), (1, 0, 0.5))),
}


@pytest.mark.parametrize("text", TEXTS)
def test_every_graph_comes_back(text: str, tmp_path: Path) -> None:
    graph = TEXTS[text]
    assert write_graph(graph) == text
    assert read_graph(text) == graph
    config = default_config("aid", "selfish")
    game = dataclasses.replace(config.game, agents=16, graph=graph)  # type: ignore[call-arg]
    config = dataclasses.replace(config, game=game)
    folder = create_run(config, tmp_path / "run")
    assert load_config(folder.config) == config
    assert json.loads(folder.config.read_text())["game"]["graph"] == text


def test_a_graph_is_a_setting_of_the_command_line() -> None:
    words = ["--game.agents", "12", "--game.graph", "grid(rows=3)", "--game.no-observe-graph"]
    game: Any = parse(default_config("aid", "tos"), words).game
    assert (game.graph, game.agents, game.observe_graph) == (Grid(rows=3), 12, False)
    with pytest.raises(ValueError, match="There is no graph 'star'"):
        parse(default_config("aid", "tos"), ["--game.graph", "star"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rign", "There is no graph 'rign'. Did you mean 'ring'"),
        ("ring(rech=2)", "no setting of ring 'rech'. Did you mean 'reach'"),
        ("ring(reach=two)", "The setting reach of ring must be of the type int, but it is 'two'"),
        ("ring(2)", "Settings of a graph have names"),
        ("ring(", "is not a graph"),
        ("ring(reach=0)", "reach is 0"),
    ],
)
def test_bad_text_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        read_graph(text)


def test_a_graph_without_a_name_is_refused() -> None:
    class Mine(Ring):
        pass

    with pytest.raises(
        ValueError, match=r"Mine has no name .*: games\.networked\.GRAPHS\.register\(NAME, Mine\)"
    ):
        write_graph(Mine())


def test_a_saved_graph_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = create_run(default_config("aid", "selfish"), tmp_path / "run").config
    saved = json.loads(path.read_text())
    saved["game"]["graph"] = 3
    path.write_text(json.dumps(saved))
    with pytest.raises(ValueError, match=r"game.graph must be a graph as text, but it is 3"):
        load_config(path)
