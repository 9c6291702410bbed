"""Games on graphs through the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bilevel import load_run
from games.networked import SmallWorld

Call = Callable[..., Any]


@pytest.mark.parametrize(
    ("method", "settings", "cooperation"),
    [
        ("spatial-discount", ("--method.discount", 0.6), 1.0),
        ("spatial-discount", ("--method.discount", 0.6, "--method.max-distance", 0), 0.0),
        ("prosocial", ("--method.common-reward", "neighborhood"), 1.0),
        ("prosocial", ("--method.common-reward", "difference"), 1.0),
    ],
)
def test_baselines_on_graphs_train_from_the_command_line(
    call: Call, method: str, settings: tuple[object, ...], cooperation: float
) -> None:
    words = ("--game", "aid", "--game.agents", 8, "--inner.no-exact", "--inner.episodes", 64, "--seeds", 3)
    said = call("train", *words, "--method", method, *settings, "--outer-steps", 60, "--out", "run")
    assert said.code == 0, said.err
    final = load_run("run").final["cooperation"]
    np.testing.assert_allclose(final, cooperation, atol=0.15)


@pytest.mark.parametrize(
    "command",
    [
        ("train", "--game", "aid"),
        ("compare", "--game", "aid"),
        ("check", "--game", "aid"),
        ("theory", "--game", "aid-hidden"),
        ("play", "aid"),
    ],
)
def test_a_graph_is_a_setting_of_every_command_with_a_game(call: Call, command: tuple[str, ...]) -> None:
    assert "--game.graph " in call(*command, "--help").out
    said = call(*command, "--game.graph", "circle(reach=2)")
    assert said.code != 0
    assert "circle" in said.err + said.out


def test_methods_are_compared_on_a_graph_of_choice(call: Call) -> None:
    words = ("--game", "aid", "--game.agents", 8, "--game.graph", "small-world(degree=4, rewiring=0.1)")
    words = (*words, "--methods", "selfish", "tos", "--seeds", 3, "--outer-steps", 2, "--out", "compared")
    said = call("compare", *words)
    assert said.code == 0, said.err
    run = load_run("compared/tos")
    assert run.config.game.graph == SmallWorld(degree=4, rewiring=0.1)


def test_ten_thousand_agents_learn_to_share(call: Call) -> None:
    words = ("--game", "aid", "--game.agents", 10_000, "--inner.no-exact", "--inner.episodes", 4)
    words = (*words, "--seeds", 2, "--outer-steps", 2, "--evaluation-episodes", 4, "--out", "run")
    said = call("train", *words, "--method", "tos")
    assert said.code == 0, said.err
    run = load_run("run")
    assert run.final["return"].shape == (2, 10_000)
    assert run.final["edge_share"].shape == (2, 30_000)
    names = Path("run/metrics.csv").read_text().partition("\n")[0].split(",")
    assert names == ["outer_step", "seed", "welfare", "cooperation", "given_away", "environment_steps"]
    assert sum(path.stat().st_size for path in Path("run").glob("*.*")) < 3_000_000
