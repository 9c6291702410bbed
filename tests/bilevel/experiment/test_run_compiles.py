"""A run knows its length: whether it compiles does not depend on what its process did before."""

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

from bilevel.cli.progress import COMPILED
from bilevel.cli.train import follow
from bilevel.compile import c_compiler, cache, policy, program, registry
from bilevel.compile.kernels import CompileWarning
from bilevel.experiment.config import RunConfig, default_config
from bilevel.experiment.provenance import ProvenanceWarning
from bilevel.experiment.run import RunFolder, RunInterrupted, create_run, train
from bilevel.hypergradient import make_hypergradient
from bilevel.methods import ToS


@pytest.fixture(autouse=True)
def no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to be compiled says so and runs eagerly."""

    monkeypatch.setenv(c_compiler.VARIABLE, "/nowhere/cc")
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "packages"))
    monkeypatch.setattr(policy, "WORTH", 12)
    registry.forget()
    program.unload()


def config(**more: Any) -> RunConfig:
    """4 outer steps with 3 inner ones: 12 in all."""
    chosen = default_config("chicken", "tos")
    method = dataclasses.replace(chosen.method, inner_steps=3, **more)
    return dataclasses.replace(chosen, method=method, seeds=2, outer_steps=4, checkpoint_every=1)


def compiles(folder: RunFolder, listener: Callable[..., object] | None = None) -> bool:
    """Whether a run, or what is left of it, sets out to compile."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with contextlib.suppress(RunInterrupted):
            train(folder, listener)
    found = {warning.category for warning in said}
    assert found <= {CompileWarning}
    return bool(found)


def stop_after(done: int) -> Callable[..., object]:
    def listener(steps: int, metrics: object) -> None:
        if steps == done:
            signal.raise_signal(signal.SIGINT)

    return listener


@pytest.mark.parametrize(("worth", "expected"), [(12, True), (13, False)])
def test_a_run_decides_by_its_length_and_again_when_resumed(
    worth: int, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "WORTH", worth)
    folder = create_run(config(), tmp_path / "run")
    assert compiles(folder, stop_after(3)) is expected
    assert not folder.finished
    assert compiles(folder) is expected  # one step is left
    assert folder.finished


@pytest.mark.parametrize("choice", [True, False])
def test_what_is_set_stays(choice: bool, tmp_path: Path) -> None:
    folder = create_run(config(hypergradient=f"unrolled(compile={choice})"), tmp_path / "run")
    assert compiles(folder) is choice


def test_the_configuration_keeps_what_was_written(tmp_path: Path) -> None:
    folder = create_run(config(), tmp_path / "run")
    before = folder.config.read_text()
    assert json.loads(before)["method"]["hypergradient"] == "unrolled"
    compiles(folder)
    assert folder.config.read_text() == before
    method = config().method
    assert isinstance(method, ToS)
    assert make_hypergradient(method.hypergradient).compile == "auto"  # type: ignore[attr-defined]


def test_an_estimator_without_the_setting_is_left_alone() -> None:
    def own(*inputs: Any, steps: int) -> Any:
        raise AssertionError

    assert policy.decided(own, 10**9) is own
    assert repr(policy.decided(make_hypergradient("truncated(steps=3)"), 11)) == (
        "Truncated(steps=3, compile=False)"
    )


def test_the_command_line_says_so_on_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = create_run(config(), tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CompileWarning)
        follow(folder)
    lines = [line for line in capsys.readouterr().err.splitlines() if "Compiling" in line]
    assert len(lines) == 1
    assert "Compiling the step of " in lines[0]
    assert str(cache.folder()) in lines[0]
    assert COMPILED.handlers == []


def test_a_run_that_goes_on_compiled_where_it_ran_eagerly_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = create_run(config(hypergradient="unrolled(compile=True)"), tmp_path / "run")
    assert compiles(folder, stop_after(1))
    assert compiles(folder, stop_after(2))  # eagerly, as before: nothing more to say
    monkeypatch.delenv(c_compiler.VARIABLE)
    registry.forget()
    with pytest.warns(ProvenanceWarning, match=r"ran eagerly before, and now run compiled") as said:
        train(folder)
    assert len(said) == 1


def test_a_run_that_goes_on_without_a_compiler_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = create_run(config(hypergradient="unrolled(compile=True)"), tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.delenv(c_compiler.VARIABLE)
        assert not compiles(folder, stop_after(2))
    cache.clear()
    registry.forget()
    program.unload()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        train(folder)
    assert [warning.category for warning in said] == [CompileWarning, ProvenanceWarning]
    assert "ran compiled before, and now run eagerly" in str(said[1].message)
