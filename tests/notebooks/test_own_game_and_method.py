"""The file that lesson 10 has readers make of three of its cells, and the commands that it gives for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import build
import pytest

from bilevel.cli import main
from bilevel.methods import METHODS
from games._catalogue import CATALOGUE

SMALL = ["--seeds", "3", "--outer-steps", "2", "--evaluation-episodes", "4"]


@pytest.fixture
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (script,) = build.lessons(beginnings=["10"])
    cells = [cell.source for cell in build.read(script).cells if "pond.py" in cell.metadata.get("tags", [])]
    assert len(cells) == 3
    (tmp_path / "pond.py").write_text("\n\n\n".join(cells), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    yield "pond.py"
    CATALOGUE.pop("pond", None)
    METHODS.pop("tax", None)


@pytest.mark.parametrize(
    "words",
    [
        [
            "compare",
            "--methods",
            "selfish",
            "tax",
            *SMALL,
            "--set",
            "inner.learning-rate=1",
            "inner.episodes=4",
        ],
        ["train", "--game.agents", "5", "--method", "tax", *SMALL, "--inner.episodes", "4"],
    ],
)
def test_the_file_runs(own_file: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command, *rest = words
    with pytest.raises(SystemExit, match=r"^0$"):
        main([command, "--load", own_file, "--game", "pond", *rest])
    assert "tax" in capsys.readouterr().out


def test_it_is_played(own_file: str) -> None:
    words = ["play", "pond", "--load", own_file, "--policy", "random", "--out", "pond.gif"]
    with pytest.raises(SystemExit, match=r"^0$"):
        main(words)
    assert Path("pond.gif").read_bytes().startswith(b"GIF")
