"""Watching a view: PettingZoo's test of every render mode, windows that follow an episode, films."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from pettingzoo.test import render_test
from pettingzoo.utils.wrappers import RecordVideo, RecordVideoParallel

from games.adapters import ParallelView, env
from games.core import Game
from games.matrix import EscapeRoom, PublicGoods
from games.matrix._escape_room import DOOR, LEVER, START
from tests.games.adapters.pettingzoo_contract import every_game


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Let Matplotlib's canvas in memory pass for a window; the list gets each frame's seconds."""
    seconds: list[float] = []
    plt.switch_backend("agg")
    monkeypatch.setattr(FigureCanvasAgg, "required_interactive_framework", "memory")
    monkeypatch.setattr(FigureManagerBase, "show", lambda manager: None)
    monkeypatch.setattr(FigureCanvasAgg, "start_event_loop", lambda canvas, timeout: seconds.append(timeout))
    yield seconds
    plt.close("all")


@every_game
def test_pettingzoo_render(game: Game, shown: list[float]) -> None:
    render_test(lambda render_mode: env(game, render_mode))
    assert shown


def test_a_window_follows_the_episode_by_itself(shown: list[float]) -> None:
    view = ParallelView(EscapeRoom(), render_mode="human")
    twin = ParallelView(EscapeRoom(), render_mode="rgb_array")
    view.reset(seed=0)
    twin.reset(seed=0)
    assert shown == [0.25]
    for actions in ({"agent_0": LEVER, "agent_1": START}, {"agent_0": LEVER, "agent_1": DOOR}):
        view.step(actions)
        twin.step(actions)
        (picture,) = plt.gcf().axes[0].images
        assert np.array_equal(picture.get_array(), twin.render())
    assert len(shown) == 3
    assert view.render() is None
    assert len(shown) == 4
    assert len(plt.get_fignums()) == 1
    view.close()
    view.close()
    assert plt.get_fignums() == []


def test_a_window_that_was_closed_opens_anew(shown: list[float]) -> None:
    view = ParallelView(EscapeRoom(), render_mode="human")
    view.reset(seed=0)
    plt.close("all")
    view.step({"agent_0": LEVER, "agent_1": START})
    assert len(plt.get_fignums()) == 1
    view.close()
    view.reset()
    assert len(plt.get_fignums()) == 1


def test_a_copy_has_a_window_of_its_own(shown: list[float]) -> None:
    view = ParallelView(EscapeRoom(), render_mode="human")
    view.reset(seed=0)
    copy = pickle.loads(pickle.dumps(view))
    assert len(plt.get_fignums()) == 1
    copy.step({"agent_0": LEVER, "agent_1": START})
    assert len(plt.get_fignums()) == 2


def test_without_a_display_a_window_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plt.switch_backend("agg")
    with pytest.raises(ValueError, match=r'cannot open one \(it needs a display.*take "rgb_array"'):
        ParallelView(EscapeRoom(), render_mode="human")
    assert plt.get_fignums() == []

    def no_display() -> None:
        raise ImportError("Cannot load backend 'TkAgg', as 'headless' is currently running")

    monkeypatch.setattr(plt, "figure", no_display)
    with pytest.raises(ValueError, match="cannot open one"):
        ParallelView(EscapeRoom(), render_mode="human")


class Clip:
    """Stands in for MoviePy's clip: it asks for what that one asks for, and keeps the frames."""

    written: ClassVar[dict[str, tuple[int, float]]] = {}

    def __init__(self, frames: list[np.ndarray], fps: float) -> None:
        assert len({frame.shape for frame in frames}) == 1
        self.frames, self.fps = frames, fps

    def write_videofile(self, path: str, logger: object) -> None:
        self.written[os.path.basename(path)] = (len(self.frames), self.fps)


@pytest.fixture
def films(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, float]]:
    """Frames and frames per second of each film that is written with the stand-in."""
    for name in ("moviepy", "moviepy.video", "moviepy.video.io", "moviepy.video.io.ImageSequenceClip"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["moviepy.video.io.ImageSequenceClip"].ImageSequenceClip = Clip
    monkeypatch.setattr(Clip, "written", {})
    return Clip.written


def record(folder: Path) -> None:
    """Two episodes of a parallel environment."""
    recorder = RecordVideoParallel(
        ParallelView(PublicGoods(), render_mode="rgb_array"),
        str(folder),
        episode_trigger=lambda episode: True,
    )
    for _ in range(2):
        recorder.reset(seed=0)
        recorder.step(dict.fromkeys(recorder.agents, 0))
    recorder.close()


def test_pettingzoo_records_views(films: dict[str, tuple[int, float]], tmp_path: Path) -> None:
    record(tmp_path / "parallel")
    assert films == {"rl-video-episode-0.mp4": (2, 4), "rl-video-episode-1.mp4": (2, 4)}
    films.clear()
    recorder = RecordVideo(env(EscapeRoom(), "rgb_array"), str(tmp_path / "aec"), lambda episode: True)
    recorder.reset(seed=0)
    for action in (LEVER, DOOR):
        recorder.step(action)
    recorder.close()
    assert list(films) == ["rl-video-episode-0.mp4"]


def test_films_can_be_written(tmp_path: Path) -> None:
    pytest.importorskip("moviepy", reason="RecordVideo writes films with MoviePy: pip install moviepy")
    record(tmp_path / "films")
    assert all(
        (tmp_path / "films" / f"rl-video-episode-{episode}.mp4").stat().st_size > 0 for episode in range(2)
    )
