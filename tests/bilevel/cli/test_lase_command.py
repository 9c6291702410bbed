"""`bilevel train --method lase` in tiny sizes: its games, its ablations, resuming, playing."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bilevel.experiments import _run as run

Call = Callable[..., Any]
SIZES = ("--seeds", 2, "--outer-steps", 3, "--inner.episodes", 3, "--evaluation-episodes", 3)
CRITIC = ("--critic", "mlp", "--critic.hidden-size", 4)
TINY = (*SIZES, *CRITIC, "--perspective.hidden-size", 4)
GRIDS = ("coin-game-lase", "cleanup-lase", "stag-hunt-grid", "snowdrift")


def rows(folder: str) -> list[dict[str, str]]:
    with Path(folder, "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("painted")
@pytest.mark.parametrize("game", ["escape-room", "prisoners-dilemma-lase", "repeated-chicken", *GRIDS])
def test_a_run_from_end_to_end(game: str, call: Call) -> None:
    horizon = () if game in ("escape-room", "prisoners-dilemma-lase") else ("--game.horizon", 5)
    said = call("train", "--game", game, "--method", "lase", *TINY, *horizon, "--out", "run")
    assert said.code == 0, said.err
    assert "Everything else: run" in said.out
    found = rows("run")
    assert len(found) == 2 * 3
    agents = sum(name.startswith("return_") for name in found[0])
    for row in found:
        for giver in range(agents):
            shares = [float(row[f"share_{giver}_{taker}"]) for taker in range(agents)]
            assert sum(shares) == pytest.approx(1, abs=1e-5)
            assert min(shares) >= -1e-6


@pytest.mark.parametrize("perspective", ["true-observation", "true-policy"])
def test_the_ablations(perspective: str, call: Call) -> None:
    words = ("train", "--game", "escape-room", "--method", "lase", *SIZES, *CRITIC)
    assert call(*words, "--perspective", perspective, "--out", "run").code == 0
    assert json.loads(Path("run/config.json").read_text())["method"]["perspective"] == {
        "variant": perspective
    }
    assert call(*words, "--out", "taking").code == 0
    assert rows("run") != rows("taking")


@pytest.mark.parametrize("game", ["escape-room", "prisoners-dilemma-lase"])
def test_a_stopped_run_goes_on_to_the_same_bits(
    game: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    words = ("train", "--game", game, "--method", "lase", *TINY, "--checkpoint-every", 1)
    assert call(*words, "--out", "whole").code == 0
    with monkeypatch.context() as patched:
        patched.setattr(run, "write_summary", interrupt)
        assert call(*words, "--out", "run").code == 130
    assert call("train", "--resume", "run").code == 0
    for name in ("metrics.csv", "evaluation.csv"):
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes()


def test_exactly_where_everything_can_be_laid_out(call: Call) -> None:
    game = ("--game", "prisoners-dilemma-lase", "--method", "lase", "--inner.exact")
    knowing = ("--perspective", "true-policy", "--inner.entropy-coef", 0)
    longer = ("--inner.steps", 40, "--inner.learning-rate", 1)
    assert call("train", *game, *knowing, *longer, *SIZES, "--out", "run").code == 0
    for row in rows("run")[-2:]:
        assert float(row["cooperation"]) == pytest.approx(0.8, abs=1e-3)
    said = call("train", "--game", "repeated-chicken", *game[2:], *TINY)
    assert said.code == 2
    assert "Only one-shot games have a payoff table" in said.sentence()
    assert said.sentence().endswith("(Switch exact off: --inner.no-exact.)")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--critic.gae-lambda", "2"], "critic.gae_lambda must be a finite number from 0 to 1, not 2"),
        (["--critic", "tabular"], "A tabular critic needs observations that are numbers"),
        (["--policy", "gru"], "choose another policy than gru"),
        (["--method.critic-trace", "0.5"], "--method.critic-trace is now --critic.gae-lambda"),
        (["--method.perspective", "true-policy"], "--method.perspective is now --perspective"),
        (["--critic.hidden-size", "4"], "critic.hidden_size is a setting of critic mlp, and critic is auto"),
    ],
)
def test_what_is_refused_is_one_sentence(words: list[str], says: str, call: Call) -> None:
    said = call("train", "--game", "escape-room", "--method", "lase", *SIZES, *words)
    assert said.code == 2
    assert says in said.sentence()


def test_what_was_learned_is_played(call: Call) -> None:
    assert call("train", "--game", "escape-room", "--method", "lase", *TINY, "--out", "run").code == 0
    said = call("play", "escape-room", "--policy", "run", "--out", "clip.gif")
    assert said.code == 0, said.err
    assert Path("clip.gif").stat().st_size > 0
