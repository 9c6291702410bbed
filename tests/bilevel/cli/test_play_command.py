"""`bilevel play`: films of games, and every way it refuses."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

from bilevel.report import _film as clip

Call = Callable[..., Any]


def frames(path: str) -> np.ndarray:
    return np.asarray(iio.imread(path, index=None))


def test_a_scripted_episode_is_filmed_from_start_to_end(call: Call) -> None:
    said = call("play", "escape-room", "--policy", "scripted", "--out", "clips/room.gif", "--episodes", 2)
    assert said.code == 0, said.err
    assert said.out == "Written: clips/room.gif\n"
    film = frames("clips/room.gif")
    assert film.shape == (4, 208, 450, 3)  # a start and one step, twice
    assert not np.array_equal(film[0], film[1])


def test_random_play_is_the_default_and_the_seed_decides(call: Call) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert call("play", "jungle", "--max-steps", 4, "--seed", seed, "--out", f"{name}.gif").code == 0
    assert frames("a.gif").shape[0] == 5
    assert Path("a.gif").read_bytes() == Path("b.gif").read_bytes() != Path("c.gif").read_bytes()


def test_films_in_mp4_have_even_lengths(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="FFmpeg is not installed")
    assert call("play", "coin-game", "--max-steps", 3, "--scale", 0.5, "--out", "coins.mp4").code == 0
    assert not caplog.records
    assert ffmpeg.count_frames_and_secs("coins.mp4") == (4, 1.0)
    with contextlib.closing(ffmpeg.read_frames("coins.mp4")) as reader:
        width, height = next(reader)["size"]
    assert width % 2 == height % 2 == 0 < width


def test_without_ffmpeg_the_command_says_what_to_install(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    said = call("play", "coin-game", "--max-steps", 3, "--out", "coins.mp4")
    assert said.sentence() == clip.NO_MP4
    assert not Path("coins.mp4").exists()


def test_settings_of_the_game_and_the_scale_count(call: Call) -> None:
    said = call("play", "coin-game", "--game.size", 5, "--max-steps", 2, "--scale", 0.5)
    assert said.code == 0
    height, width = frames("coin-game.gif").shape[1:3]
    assert width >= 150
    assert height == 150 + 26 + 14  # the map, two lines of its key, and the caption


def test_a_run_plays_what_it_learned(call: Call) -> None:
    run = ("--seeds", 3, "--outer-steps", 2, "--inner.episodes", 4, "--evaluation-episodes", 4)
    assert call("train", "--game", "escape-room", "--method", "tos", *run, "--out", "run").code == 0
    assert call("play", "--policy", "run", "--repetition", 2).code == 0
    assert frames("escape-room.gif").shape[0] >= 2
    assert call("play", "escape-room", "--policy", "run").code == 0
    said = call("play", "jungle", "--policy", "run")
    assert said.sentence() == "run learned to play escape-room, not jungle."
    said = call("play", "--policy", "run", "--repetition", 3)
    assert said.sentence() == "run has 3 repetitions, 0 to 2; there is no 3."
    said = call("play", "--policy", "run", "--game.agents", 3)
    assert "other agents, actions or observations" in said.sentence()


@pytest.mark.parametrize(
    "words",
    [
        ("--game", "escape-room", "--policy", "gru", "--policy.recurrent-size", 3),
        ("--game", "coin-game", "--game.horizon", 3, "--policy", "conv", "--policy.channels", 3, 2),
    ],
)
def test_every_kind_of_policy_learns_and_plays(words: tuple[object, ...], call: Call) -> None:
    run = ("--seeds", 2, "--outer-steps", 2, "--inner.episodes", 4, "--evaluation-episodes", 4)
    said = call("train", *words, "--method", "tos", *run, "--out", "run")
    assert said.code == 0, said.err
    said = call("play", "--policy", "run", "--episodes", 2, "--out", "clip.gif")
    assert said.code == 0, said.err
    assert frames("clip.gif").shape[0] >= 4
    assert call("train", "--resume", "run").err.startswith("run is finished already")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "Name the game first"),
        (("jungel",), "There is no game 'jungel'; did you mean 'jungle'"),
        (("jungle", "--policy", "clever"), "clever is none of these"),
        (("jungle", "--out", "clip.avi"), "A film's name ends in .gif, .webp or .mp4; clip.avi does not."),
        (("soccer", "--policy", "scripted"), "Soccer has no scripted policy"),
        (("jungle", "--scale", 0), "scale must be from 0.1 to 20, not 0"),
        (("jungle", "--frames-per-second", 0), "frames_per_second must be from 0.01 to 100, not 0"),
        (("jungle", "--max-steps", 0), "max_steps must be 1 or more"),
        (("jungle", "--most-steps", 3), "--most-steps is now called --max-steps."),
        (("jungle", "--most_steps=3"), "--most-steps is now called --max-steps."),
        (("jungle", "--cooperators", 21), "cooperators must be from 0 to 20"),
        (("jungle", "--game.size", 1), "at least 2 cells a side"),
    ],
)
def test_mistakes_hear_one_sentence_and_leave_no_file(
    words: tuple[object, ...], sentence: str, call: Call
) -> None:
    said = call("play", *words)
    assert said.code == 2
    assert sentence in said.sentence()
    assert not any(Path().iterdir())


def test_help_names_the_settings(call: Call) -> None:
    said = call("play", "snowdrift", "--help")
    assert said.code == 0
    for word in ("--policy scripted", "--cooperators", "--game.drifts", "--frames-per-second"):
        assert word in said.out
