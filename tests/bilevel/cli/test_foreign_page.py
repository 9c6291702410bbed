"""docs/how-to/foreign-environments.md: its file and its commands, in order, on the real environments."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from games._catalogue import CATALOGUE

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "foreign-environments.md"
SMALL = {
    "--seeds": "3",
    "--outer-steps": "1",
    "--evaluation-episodes": "2",
    "--game.max-cycles": "2",
    "--resamples": "2",
    "--max-steps": "1",
}
"""Settings in place of the page's, so that it is over in a moment."""
TAKEN = {
    "train": ("--seeds", "--outer-steps", "--evaluation-episodes"),
    "compare": ("--seeds", "--outer-steps", "--evaluation-episodes"),
    "check": ("--seeds", "--resamples"),
    "play": ("--max-steps",),
}
CYCLES = ("spread", "spread-by-force", "speaker-listener")


@pytest.fixture(autouse=True)
def as_in_a_new_process() -> Iterator[None]:
    before = dict(CATALOGUE)
    yield
    CATALOGUE.clear()
    CATALOGUE.update(before)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def small(words: list[str]) -> list[str]:
    """The same command with small settings."""
    command = words[0]
    if "--resume" in words or "--help" in words:
        return words
    game = words[words.index("--game") + 1] if "--game" in words else ""
    wanted = [*TAKEN[command], *(["--game.max-cycles"] if game in CYCLES else [])]
    for option in wanted:
        if option in words:
            words[words.index(option) + 1] = SMALL[option]
        else:
            words += [option, SMALL[option]]
    if command == "compare":
        return [*words, "--set", "inner.episodes=2"]
    return words if command == "play" else [*words, "--inner.episodes", "2"]


def test_the_commands_of_the_page_run(call: Callable[..., Any]) -> None:
    for package in ("mpe2", "pyspiel", "pygame"):
        pytest.importorskip(package, reason="needs the extras: pip install '.[environments,openspiel]'")
    (file,) = blocks("python")
    Path("environments.py").write_text(file)
    text = "\n".join(blocks("sh")).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line]
    known = dict(CATALOGUE)
    assert len(lines) >= 9
    for line in lines:
        CATALOGUE.clear()
        CATALOGUE.update(known)
        program, *words = shlex.split(line)
        assert program == "bilevel"
        said = call(*small(words))
        assert said.code == 0, f"{line}: {said.err}"
    assert Path("spread.gif").exists()
    assert Path("runs/speaker-listener/table.csv").exists()
