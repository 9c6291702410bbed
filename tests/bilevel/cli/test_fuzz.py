"""A small sample of `python -m tests.fuzz`: random command lines, and spoiled run folders."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.folders import Folders, originals
from tests.fuzz.judge import Answer, ask, inside
from tests.fuzz.lines import Lines

pytestmark = pytest.mark.filterwarnings("default")
"""Commands may warn."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("fuzz")
    with inside(folder), warnings.catch_warnings():
        warnings.simplefilter("default")
        originals(folder)
        yield folder


def why(said: str, arguments: list[str], answer: Answer) -> str:
    return f"{said} bilevel {arguments!a}: {answer.fault}\n{answer.err}"


@pytest.mark.parametrize("seed", range(0, 120, 3))
def test_command_lines(made: Path, seed: int) -> None:
    arguments = Lines(seed).line()
    if arguments[:1] in (["demo"], ["tune"]):
        arguments.append("--help")  # the others are trained in the long form of this test
    with inside(made):
        answer = ask(arguments, seconds=2.0)
    assert not answer.fault, why("", arguments, answer)


@pytest.mark.parametrize("seed", range(40))
def test_spoiled_folders(made: Path, seed: int) -> None:
    with inside(made):
        said, arguments = Folders(seed, made).spoil()
        answer = ask(arguments, seconds=2.0)
    assert not answer.fault, why(said, arguments, answer)


def test_the_same_seed_gives_the_same_lines() -> None:
    assert Lines(7).line() == Lines(7).line()
    assert [Lines(seed).line() for seed in range(9)] != [Lines(seed + 1).line() for seed in range(9)]


def test_faults_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge itself: a traceback, a silent failure and a command that cannot be stopped are told."""
    from bilevel.cli import _app as app  # noqa: PLC0415 - what is replaced

    def fails(arguments: list[str]) -> None:
        raise KeyError("x")

    def hangs(arguments: list[str]) -> None:
        while True:
            try:
                while True:
                    pass
            except KeyboardInterrupt:
                continue

    functions = {"fails": fails, "hangs": hangs}
    monkeypatch.setattr(app.Command, "run", lambda command, words: functions[command.function](words))
    for name in functions:
        monkeypatch.setitem(app.COMMANDS, name, app.Command("", "", name))
    monkeypatch.setattr("tests.fuzz.judge.PATIENCE", 0.2)
    monkeypatch.setattr("tests.fuzz.judge.ASKED_AGAIN", 0.1)
    assert "KeyError: 'x'" in ask(["fails"]).fault
    assert "hangs" in ask(["hangs"], seconds=0.1).fault
    assert not ask(["--version"]).fault
