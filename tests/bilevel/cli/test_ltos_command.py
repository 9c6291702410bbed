"""`ltos` by the command line: trained, stopped and gone on with, compared, filmed; mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bilevel.methods._ltos_learner import LToSLearner
from tests.bilevel.cli.conftest import Call

SMALL = ("--seeds", 3, "--outer-steps", 6, "--checkpoint-every", 1, "--evaluation-episodes", 4)
FEW = ("--inner.episodes", 2, "--inner.steps", 3, "--outer.updates", 2, "--inner.buffer-size", 64)
GAMES = {
    "escape-room": (),
    "prisoners-dilemma": (),
    "prisoner-corridor": ("--game.far", 3, "--game.horizon", 6),
    "jungle": (
        "--game.agents",
        3,
        "--game.foods",
        1,
        "--game.size",
        4,
        "--game.nearest",
        1,
        "--game.horizon",
        6,
    ),
}


@pytest.mark.usefixtures("painted")
@pytest.mark.parametrize("game", GAMES)
def test_it_trains_and_plays_what_it_learned(game: str, call: Call) -> None:
    said = call("train", "--game", game, *GAMES[game], "--method", "ltos", *SMALL, *FEW, "--out", "run")
    assert said.code == 0, said.err
    header = Path("run/metrics.csv").read_text().split("\n", 1)[0].split(",")
    for name in ("welfare", "return_0", "cooperation", "given_away", "share_0_1"):
        assert name in header
    assert Path("run/figures/sharing.png").exists()
    said = call("play", "--policy", "run", "--repetition", 2, "--episodes", 2, "--out", "clip.gif")
    assert said.code == 0, said.err
    assert Path("clip.gif").exists()


def test_a_run_that_stops_ends_as_one_that_does_not(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("train", "--game", "escape-room", "--method", "ltos", *SMALL, *FEW)
    assert call(*words, "--out", "whole").code == 0
    real, calls = LToSLearner.update, 0

    def update(self: LToSLearner, state: dict) -> tuple[dict, dict]:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise FloatingPointError("Stopped by the test.")
        return real(self, state)

    monkeypatch.setattr(LToSLearner, "update", update)
    assert call(*words, "--out", "parts").code != 0
    assert not Path("parts/evaluation.csv").exists()
    assert call("train", "--resume", "parts").code == 0
    for name in ("metrics.csv", "evaluation.csv"):
        assert Path("whole", name).read_bytes() == Path("parts", name).read_bytes()


def test_it_is_compared_with_others(call: Call) -> None:
    words = (
        "--methods",
        "selfish",
        "ltos",
        "frozen=ltos",
        "--set",
        "frozen.outer.every=1000",
        "inner.episodes=2",
    )
    small = ("ltos.inner.steps=2", "frozen.inner.steps=2", "ltos.outer.updates=2")
    run = ("--seeds", 3, "--outer-steps", 5, "--evaluation-episodes", 4)
    said = call("compare", "--game", "escape-room", *words, *small, *run)
    assert said.code == 0, said.err
    assert "ltos" in said.out
    assert "frozen" in said.out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--inner.exact",), "no setting of LToS 'inner.exact'"),
        (("--inner.entropy-coef", 0.5), "no setting of LToS 'inner.entropy_coef'"),
        (("--method.interval", 0), "interval must be a whole number, 1 or more, not 0"),
        (("--inner.buffer-size", 30), "batch_size must be 30 or less"),
        (("--inner.buffer-size", 64, "--inner.episodes", 20), "buffer_size must be 100 or more, not 64"),
    ],
)
def test_mistakes_hear_one_sentence(words: tuple[object, ...], sentence: str, call: Call) -> None:
    said = call("train", "--game", "escape-room", "--method", "ltos", *words, "--out", "run")
    assert said.code == 2
    assert sentence in said.sentence()
    assert not Path("run").exists()
