"""A run decides once whether its steps are compiled, and keeps to it when it goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bilevel.cli._progress import COMPILED
from bilevel.cli._train import follow
from bilevel.compile import CompileWarning
from bilevel.compile import _c_compiler as c_compiler
from bilevel.compile import _cache as cache
from bilevel.compile import _program as program
from bilevel.experiments import RunConfig, RunFolder, RunInterrupted, create_run, default_config, train
from bilevel.experiments import _run as run
from bilevel.experiments._resumable import ProvenanceWarning
from bilevel.methods import ToS


@pytest.fixture(autouse=True)
def no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to be compiled says so and runs eagerly."""

    monkeypatch.setenv(c_compiler.VARIABLE, "/nowhere/cc")
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "packages"))
    program.forget()


def config(**more: Any) -> RunConfig:
    chosen = default_config("chicken", "tos")
    method = chosen.method.with_settings({"inner.steps": 3})
    return dataclasses.replace(chosen, method=method, seeds=2, outer_steps=8, checkpoint_every=1, **more)


def compiles(folder: RunFolder, listener: Callable[..., object] | None = None) -> bool:
    """Whether a run, or what is left of it, sets out to compile."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with contextlib.suppress(RunInterrupted):
            train(folder, listener=listener)
    found = {warning.category for warning in said}
    assert found <= {CompileWarning}
    return bool(found)


def stop_after(done: int) -> Callable[..., object]:
    def listener(steps: int, metrics: object) -> None:
        if steps == done:
            signal.raise_signal(signal.SIGINT)

    return listener


@pytest.mark.parametrize("worth", [True, False])
def test_auto_decides_once_and_keeps_to_it_when_resumed(
    worth: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(run, "worth_compiling", lambda learner, state, steps: asked.append(steps) or worth)
    monkeypatch.delenv(c_compiler.VARIABLE)
    whole, halves = (create_run(config(), tmp_path / name) for name in ("whole", "halves"))
    train(whole)
    for stop in (2, 6, 9):
        with contextlib.suppress(RunInterrupted):
            train(halves, listener=stop_after(stop))
    assert asked == [8, 8]
    for name in ("metrics.csv", "evaluation.csv"):
        assert (halves.path / name).read_bytes() == (whole.path / name).read_bytes()


@pytest.mark.parametrize("choice", ["always", "never"])
def test_what_is_set_stays(choice: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "worth_compiling", lambda *_: pytest.fail("nobody is to ask"))
    folder = create_run(config(compile=choice), tmp_path / "run")
    assert compiles(folder) is (choice == "always")
    assert json.loads(folder.config.read_text())["compile"] == choice


def test_an_estimator_that_is_to_be_compiled_names_the_new_form() -> None:
    with pytest.raises(ValueError, match=r"no setting compile: .*--compile always"):
        ToS().with_settings({"outer.hypergradient": "unrolled(compile=True)"})


def test_the_command_line_says_so_on_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = create_run(config(compile="always"), tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CompileWarning)
        follow(folder)
    lines = [line for line in capsys.readouterr().err.splitlines() if "Compiling" in line]
    assert len(lines) == 1
    assert "Compiling the solve of " in lines[0]
    assert str(cache.folder()) in lines[0]
    assert COMPILED.handlers == []


def test_a_run_that_goes_on_compiled_where_it_ran_eagerly_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = create_run(config(compile="always"), tmp_path / "run")
    assert compiles(folder, stop_after(1))
    assert compiles(folder, stop_after(2))  # eagerly, as before: nothing more to say
    monkeypatch.delenv(c_compiler.VARIABLE)
    program.forget()
    with pytest.warns(ProvenanceWarning, match=r"ran eagerly before, and now run compiled") as said:
        train(folder)
    assert len(said) == 1


def test_a_run_that_goes_on_without_a_compiler_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = create_run(config(compile="always"), tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.delenv(c_compiler.VARIABLE)
        assert not compiles(folder, stop_after(2))
    cache.clear()
    program.forget()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        train(folder)
    assert [warning.category for warning in said] == [CompileWarning, ProvenanceWarning]
    assert "ran compiled before, and now run eagerly" in str(said[1].message)
