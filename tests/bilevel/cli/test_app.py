"""The front door: usage, lists, and what becomes of mistakes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

import bilevel
import games
from bilevel.cli import _app as app
from bilevel.hypergradient import ESTIMATORS
from bilevel.methods import METHODS

Call = Callable[..., Any]


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_usage_names_every_command(words: list[str], call: Call) -> None:
    said = call(*words)
    assert said.code == 0
    for name, command in app.COMMANDS.items():
        assert f"{name} " in said.out
        assert command.summary in said.out


def test_version(call: Call) -> None:
    assert call("--version")[:2] == (0, f"{bilevel.__version__}\n")


@pytest.mark.parametrize(
    ("word", "near"), [("trian", "'train'"), ("game", "'games'"), ("method", "'methods'")]
)
def test_an_unknown_command_hears_the_nearest(word: str, near: str, call: Call) -> None:
    said = call(word)
    assert said.code == 2
    assert f"There is no command '{word}'. Did you mean {near}" in said.sentence()


LISTS = {"games": games.names(), "methods": tuple(METHODS), "hypergradients": tuple(ESTIMATORS)}


def test_lists_have_one_a_line(call: Call) -> None:
    for command, names in LISTS.items():
        said = call(command)
        assert said.code == 0
        lines = said.out.partition("\n\n")[0].splitlines()  # what follows is said of all
        assert tuple(line.split()[0] for line in lines) == names
        assert all(len(line.split()) > 2 for line in lines)


def test_the_list_of_hypergradients_has_their_settings(call: Call) -> None:
    lines = call("hypergradients").out.splitlines()
    found = {line.split()[0]: line.rpartition(" (")[2] for line in lines}
    assert "steps" in found["truncated"].rstrip(")").split(", ")  # it has no default
    assert found["implicit"].startswith("solver=gmres, tolerance=None, iterations=100,")
    assert found["one-step"] == "no settings)"


def test_on_a_terminal_lists_are_folded_to_it(
    call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    said = call("games")
    assert max(map(len, said.out.splitlines())) <= 72
    assert len(said.out.splitlines()) > len(games.names())


@pytest.mark.parametrize("command", ["methods", "hypergradients"])
def test_lists_take_no_options(command: str, call: Call) -> None:
    said = call(command, "--all")
    assert said.code == 2
    assert said.sentence() == f"bilevel {command} takes no options, but was given: --all"


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 1, "not enough memory"),
        (FileNotFoundError(2, "No such file or directory", "a/b"), 1, "could not be used: a/b: No such file"),
        (KeyboardInterrupt(), 130, "Stopped."),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    error: BaseException, code: int, says: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(app.Command, "run", fail)
    said = call("games")
    assert said.code == code
    assert says in said.sentence()


def test_a_mistake_of_ours_is_not_hidden(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(app.Command, "run", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        app.run(["games"])
