"""A run's folder: what is in it, and that interrupted, killed and starved runs end in the same bytes."""

from __future__ import annotations

import csv
import dataclasses
import errno
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from bilevel.experiments import RunFolder, RunInterrupted, create_run, load_run, run_status, train
from bilevel.experiments import _files as files
from bilevel.experiments import _run as run
from bilevel.experiments._files import digest_of
from bilevel.experiments._run_folder import write_summary
from tests.bilevel.experiments.small_runs import EVERY, GONE, STEPS, small


def numbers(folder: RunFolder) -> tuple[bytes, bytes]:
    return folder.metrics.read_bytes(), folder.evaluation.read_bytes()


@pytest.fixture(scope="module", params=["chicken", "escape-room"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was never disturbed: of exact values, and of sampled episodes."""
    folder = create_run(small(request.param), tmp_path_factory.mktemp("whole") / "run")
    train(folder)
    return folder


@pytest.fixture
def fresh(whole: RunFolder, tmp_path: Path) -> RunFolder:
    """The same run, not begun."""
    return create_run(load_run(whole).config, tmp_path / "run")


def test_what_a_finished_run_holds(whole: RunFolder) -> None:
    assert sorted(path.name for path in whole.path.iterdir()) == [
        "checkpoint.pt",
        "config.json",
        "evaluation.csv",
        "metrics.csv",
        "summary.json",
    ]
    table = pd.read_csv(whole.metrics)
    assert len(table) == STEPS * 3
    assert list(table.columns[:3]) == ["outer_step", "seed", "welfare"]
    assert (table.dtypes[:2] == np.int64).all()
    counts = [name for name in table if name == "environment_steps"]
    assert (table.dtypes[2:].drop(counts) == np.float64).all()
    assert (table.dtypes[counts] == np.int64).all()
    assert table["outer_step"].tolist() == sorted([*range(STEPS)] * 3)
    assert table["seed"].tolist() == [0, 1, 2] * STEPS
    final = pd.read_csv(whole.evaluation)
    assert final["outer_step"].tolist() == [STEPS] * 3
    assert json.loads(whole.summary.read_text())["outer_steps"] == STEPS


def test_results_are_what_the_files_say(whole: RunFolder) -> None:
    results = load_run(whole)
    for found, path in ((results.curves, whole.metrics), (results.final, whole.evaluation)):
        header, *rows = csv.reader(path.read_text().splitlines())
        assert found.keys() == set(header) - {"outer_step", "seed"}
        for column, name in enumerate(header[2:], start=2):
            assert found[name].ravel().tolist() == [float(row[column]) for row in rows]
    total = results.final["return_0"] + results.final["return_1"]
    np.testing.assert_allclose(total, results.final["welfare"], atol=1e-5)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    whole: RunFolder, fresh: RunFolder, tmp_path: Path
) -> None:
    train(fresh)
    assert numbers(fresh) == numbers(whole)
    other = create_run(dataclasses.replace(load_run(whole).config, seed=1), tmp_path / "other")
    train(other)
    assert all(ours != theirs for ours, theirs in zip(numbers(other), numbers(whole), strict=True))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("at", [1, EVERY, STEPS - 1, STEPS])
def test_interrupted_and_resumed(at: int, number: signal.Signals, whole: RunFolder, fresh: RunFolder) -> None:
    def listener(done: int, _: object) -> None:
        if done == at:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    with pytest.raises(RunInterrupted, match=f"Stopped after {at} of {STEPS} outer steps") as stopped:
        train(fresh, listener=listener)
    assert stopped.value.signal == number
    assert signal.getsignal(number) == before
    assert run_status(fresh) == f"{fresh.path} is saved after {at} of {STEPS} outer steps."
    train(fresh)
    assert numbers(fresh) == numbers(whole)


@pytest.mark.parametrize("game", ["chicken", "escape-room"])
def test_policies_that_start_anew_are_resumed_to_the_same_bytes(game: str, tmp_path: Path) -> None:
    config = small(game)
    text = "evolution(samples=4, members=True, fresh_data=True)"
    anew = {"outer.reset": "each-outer-step", "outer.hypergradient": text, "inner.steps": 2}
    config = dataclasses.replace(config, method=config.method.with_settings(anew))
    whole, parts = (create_run(config, tmp_path / name) for name in ("whole", "parts"))
    train(whole)
    for _ in range(STEPS):
        with pytest.raises(RunInterrupted):
            train(parts, listener=lambda *_: signal.raise_signal(signal.SIGINT))
    train(parts)
    assert numbers(parts) == numbers(whole)


def test_interrupted_again_and_again(whole: RunFolder, fresh: RunFolder) -> None:
    seen = []

    def listener(done: int, _: object) -> None:
        seen.append(done)
        signal.raise_signal(signal.SIGINT)

    for _ in range(STEPS):
        with pytest.raises(RunInterrupted):
            train(fresh, listener=listener)
    train(fresh, listener=listener)
    assert seen == [*range(1, STEPS + 1)]
    assert numbers(fresh) == numbers(whole)


@pytest.mark.parametrize("at", [1, EVERY + 1, STEPS])
def test_a_second_signal_leaves_the_last_checkpoint(at: int, whole: RunFolder, fresh: RunFolder) -> None:
    def listener(done: int, _: object) -> None:
        if done == at:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(fresh, listener=listener)
    saved = (at - 1) // EVERY * EVERY
    found = f"is saved after {saved} of" if saved else "has no checkpoint yet"
    assert found in run_status(fresh)
    train(fresh)
    assert numbers(fresh) == numbers(whole)


def test_the_first_signal_says_at_once_what_a_second_does(
    fresh: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []

    def listener(done: int, _: object) -> None:
        signal.raise_signal(signal.SIGINT)
        said.append(capsys.readouterr().err)

    with pytest.raises(RunInterrupted):
        train(fresh, listener=listener)
    assert said == [
        "Ctrl-C: stopping after this outer step, and saving it. A second one stops at once: what came after "
        "the last checkpoint is then trained again.\n"
    ]


@pytest.mark.parametrize("first", [signal.SIGHUP, signal.SIGTERM])
def test_a_terminal_that_closes_may_say_so_twice(first: signal.Signals, fresh: RunFolder) -> None:
    def listener(done: int, _: object) -> None:
        signal.raise_signal(first)
        signal.raise_signal(signal.SIGHUP)

    with pytest.raises(RunInterrupted, match="Stopped after 1"):
        train(fresh, listener=listener)


def test_a_signal_that_is_ignored_stays_ignored(whole: RunFolder, fresh: RunFolder) -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        train(fresh, listener=lambda *_: signal.raise_signal(signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert numbers(fresh) == numbers(whole)


def test_interrupted_in_the_evaluation(
    whole: RunFolder, fresh: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run, "write_summary", stop)
        with pytest.raises(KeyboardInterrupt):
            train(fresh)
    assert fresh.evaluation.exists()
    assert not fresh.finished
    train(fresh)
    assert numbers(fresh) == numbers(whole)


def test_rows_after_the_checkpoint_are_cut(
    whole: RunFolder, fresh: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between metrics.csv and its checkpoint: the rows of two checkpoints, but one of these."""
    saved: list[int] = []

    def once(path: Path, checkpoint: Any) -> None:
        if saved:
            raise SystemExit
        saved.append(checkpoint.positions["metrics.csv"].size)
        save(path, checkpoint)

    save = run.save_checkpoint
    with monkeypatch.context() as patched:
        patched.setattr(run, "save_checkpoint", once)
        with pytest.raises(SystemExit):
            train(fresh)
    assert fresh.metrics.stat().st_size > saved[0]
    with fresh.metrics.open("ab") as file:
        file.write(b"6,1,0.2")  # half a row
    fresh.path.joinpath(f".checkpoint.pt.{GONE}.part").write_bytes(b"half a checkpoint")
    train(fresh)
    assert numbers(fresh) == numbers(whole)
    assert not list(fresh.path.glob(".*"))


def test_parts_of_other_peoples_files_are_left_alone(fresh: RunFolder) -> None:
    """What ends like a part is one only if it has the name of a file of ours and no process writes it."""
    theirs = [".film.7.part", f".metrics.csv.{GONE}.part.gz", f".checkpoint.pt.{os.getppid()}.part"]
    for name in theirs:
        (fresh.path / name).write_text(name)
    train(fresh)
    assert {name: (fresh.path / name).read_text() for name in theirs} == dict(
        zip(theirs, theirs, strict=True)
    )


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("after", [0, 1, 2, 3, 4, 6, 7, 8])
def test_a_full_disk_leaves_the_last_checkpoint(
    after: int, call: str, whole: RunFolder, fresh: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, real = [], getattr(os, call)

    def full(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(files.os, call, full)
        failed = False
        try:
            train(fresh)
        except OSError as error:
            failed = error.errno == errno.ENOSPC
    assert failed == (after < {"fsync": 8, "replace": 4}[call])
    assert not list(fresh.path.glob(".*"))
    run_status(fresh)
    train(fresh)
    assert numbers(fresh) == numbers(whole)


def test_learning_that_leaves_the_finite_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small("escape-room")
    folder = create_run(config, tmp_path / "run")
    learner = config.method.build(config.game, config.placement)
    update = type(learner).update

    def explode(self: Any, state: Any) -> Any:
        if int(state["outer_step"]) == EVERY + 1:
            state = {**state, "theta": state["theta"].index_fill(0, torch.tensor([1]), torch.nan)}
        return update(self, state)

    monkeypatch.setattr(type(learner), "update", explode)
    says = (
        rf"seed 1, agent 0.* in outer step {EVERY + 1}; "
        rf"the last checkpoint, after {EVERY} outer steps, is .*checkpoint\.pt"
    )
    with pytest.raises(FloatingPointError, match=says):
        train(folder)
    assert pd.read_csv(folder.metrics)["outer_step"].max() == EVERY
    monkeypatch.undo()
    train(folder)
    assert folder.finished


def test_a_finished_run_is_only_read(whole: RunFolder) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.path.iterdir()}
    results = train(whole, listener=lambda *_: pytest.fail("trained again"))
    assert results.seconds == load_run(whole).seconds
    assert {path: path.stat().st_mtime_ns for path in whole.path.iterdir()} == before


def test_two_processes_do_not_train_one_run(fresh: RunFolder) -> None:
    with fresh.locked(), pytest.raises(ValueError, match="Another process works in"):
        train(fresh)
    train(fresh)


def shorten(folder: RunFolder) -> None:
    with folder.metrics.open("r+b") as file:
        file.truncate(40)


def other_settings(**changes: Any) -> Callable[[RunFolder], None]:
    def change(folder: RunFolder) -> None:
        folder.config.write_text(json.dumps(json.loads(folder.config.read_text()) | changes))

    return change


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (shorten, r"metrics\.csv has 40 bytes, but its checkpoint was made when it had"),
        (lambda folder: folder.metrics.unlink(), r"metrics\.csv has 0 bytes"),
        (lambda folder: folder.checkpoint.write_bytes(b"\x80\x04."), "is damaged"),
        (lambda folder: folder.config.unlink(), "is not a run folder"),
        (
            other_settings(seeds=4),
            r"config\.json was changed after the run began \(seeds 3 then, 4 now\): put",
        ),
        (other_settings(seed=1), r"was changed after the run began \(seed 0 then, 1 now\)"),
        (other_settings(outer_steps=2), "was made after 3 outer steps, but .* asks for 2 only"),
    ],
)
def test_a_damaged_run_is_refused(damage: Callable[[RunFolder], None], says: str, tmp_path: Path) -> None:
    folder = create_run(small(), tmp_path / "run")
    with pytest.raises(RunInterrupted):
        train(folder, listener=lambda done, _: signal.raise_signal(signal.SIGINT) if done == EVERY else None)
    damage(folder)
    with pytest.raises(ValueError, match=says):
        train(folder)


def test_a_run_may_go_on_further_and_elsewhere(whole: RunFolder, fresh: RunFolder) -> None:
    """More outer steps, other checkpoints: the first rows are the same, and what was asked for is there."""
    with pytest.raises(RunInterrupted):
        train(fresh, listener=lambda done, _: signal.raise_signal(signal.SIGINT) if done == EVERY else None)
    other_settings(outer_steps=STEPS + 2, checkpoint_every=1)(fresh)
    train(fresh)
    assert fresh.metrics.read_bytes().startswith(whole.metrics.read_bytes())
    assert pd.read_csv(fresh.metrics)["outer_step"].max() == STEPS + 1


@pytest.mark.parametrize(
    "text", ["", "{", "{}", "[]", "3", '{"seconds": "many"}', '{"outer_steps": 7, "seconds": 2.5}']
)
def test_a_damaged_summary_is_refused(text: str, fresh: RunFolder) -> None:
    train(fresh)
    fresh.summary.write_text(text)
    with pytest.raises(ValueError, match=r"summary\.json is not the summary of a run"):
        load_run(fresh)


def reseal(folder: RunFolder) -> None:
    """Let the summary say that the files are as they should be."""
    names = ("config.json", "metrics.csv", "evaluation.csv")
    write_summary(folder.summary, STEPS, 1.0, {name: digest_of(folder.path / name) for name in names})


@pytest.mark.parametrize("name", ["metrics", "evaluation"])
@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda text: "", "begins with outer_step,seed"),
        (lambda text: text.partition("\n")[0] + "\n", "ends with a whole row"),
        (lambda text: text[:-3], "ends with a whole row"),
        (lambda text: text.rpartition("\n")[0].rpartition("\n")[0] + "\n", "lacks rows|does not belong"),
        (lambda text: text.replace("0.", "zero."), "is not a table of metrics"),
        (
            lambda text: re.sub(r"^(outer_step.*),1$", r"\1", text.replace("\n", ",1\n"), flags=re.MULTILINE),
            "lacks rows or columns",
        ),
        (lambda text: text.replace("given_away", "taken_away"), "does not belong to this run|has 1 steps"),
    ],
)
def test_a_damaged_table_is_refused(
    name: str, edit: Callable[[str], str], says: str, fresh: RunFolder
) -> None:
    train(fresh)
    path = getattr(fresh, name)
    path.write_text(edit(path.read_text()))
    again = "trains" if name == "metrics" else "evaluates"
    advice = (
        rf"{name}\.csv is damaged.*: put back .* bilevel train --resume {fresh.path} {again} the run again"
    )
    with pytest.raises(ValueError, match=advice):
        load_run(fresh)
    reseal(fresh)
    with pytest.raises(ValueError, match=says) as refused:
        load_run(fresh)
    assert re.search(r"(metrics|evaluation)\.csv", str(refused.value))


def test_a_change_of_the_configuration_of_a_finished_run_is_found(fresh: RunFolder) -> None:
    train(fresh)
    other_settings(seed=1)(fresh)
    with pytest.raises(
        ValueError, match=r"config\.json is damaged, or was changed after the run ended: put back"
    ):
        load_run(fresh)


def test_what_a_refusal_advises_works(whole: RunFolder, fresh: RunFolder) -> None:
    with pytest.raises(RunInterrupted):
        train(fresh, listener=lambda done, _: signal.raise_signal(signal.SIGINT) if done == EVERY else None)
    text = fresh.metrics.read_text()
    fresh.metrics.write_text(text.replace("0.", "1.", 1))
    with pytest.raises(ValueError, match=r"metrics\.csv is damaged.*or delete checkpoint\.pt"):
        train(fresh)
    fresh.checkpoint.unlink()
    train(fresh)
    assert numbers(fresh) == numbers(whole)


def test_a_run_writes_into_no_file_elsewhere(fresh: RunFolder, tmp_path: Path) -> None:
    theirs = tmp_path / "thesis.txt"
    theirs.write_text("dear")
    fresh.metrics.symlink_to(theirs)
    with pytest.raises(ValueError, match=r"metrics\.csv is a link"):
        train(fresh)
    assert theirs.read_text() == "dear"


def test_an_unfinished_run_has_no_results(fresh: RunFolder) -> None:
    with pytest.raises(ValueError, match="is not finished: continue it with bilevel train --resume"):
        load_run(fresh)


def test_nothing_is_overwritten(fresh: RunFolder) -> None:
    before = fresh.config.read_bytes()
    with pytest.raises(ValueError, match="exists, and a run never overwrites"):
        create_run(small(seed=5), fresh.path)
    assert fresh.config.read_bytes() == before
