"""Under which versions and commit a run began and went on: recorded, and said where they change."""

from __future__ import annotations

import json
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest

from bilevel.experiments import RunFolder, RunInterrupted, create_run, load_run, provenance, train
from bilevel.experiments import _resumable as module
from bilevel.experiments._resumable import ProvenanceWarning, resumptions
from bilevel.tasks import open_folder, run_study
from tests.bilevel.experiments.small_runs import EVERY, STEPS, small
from tests.bilevel.tasks.coin import Coin, study

HERE = provenance()
OTHER = {"versions": {**HERE["versions"], "torch": "1.0.0"}, "commit": "0" * 40}


def become(record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "provenance", lambda: record)


def stop_after(folder: RunFolder, steps: int) -> None:
    with pytest.raises(RunInterrupted):
        train(folder, listener=lambda done, _: signal.raise_signal(signal.SIGINT) if done == steps else None)


def test_a_run_that_goes_on_under_others_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = create_run(small(), tmp_path / "run")
    stop_after(folder, EVERY)
    assert resumptions(folder.path) == []
    become(OTHER, monkeypatch)
    with pytest.warns(ProvenanceWarning, match=r"run is resumed under other versions than before") as said:
        stop_after(folder, STEPS - 1)
    assert f"(torch {HERE['versions']['torch']} then, 1.0.0 now, commit" in str(said[0].message)
    results = train(folder)  # the same as before: no warning, which would be an error
    began, *more = results.provenance
    assert began == {"outer_step": 0, **HERE}
    assert more == [{"outer_step": EVERY, **OTHER}, {"outer_step": STEPS - 1, **OTHER}]


def test_a_run_that_was_killed_before_its_first_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = create_run(small(), tmp_path / "run")
    become(OTHER, monkeypatch)
    with pytest.warns(ProvenanceWarning):
        train(folder)
    assert load_run(folder).provenance[1:] == ({"outer_step": 0, **OTHER},)


def test_an_undisturbed_run_has_no_record(tmp_path: Path) -> None:
    folder = create_run(small(), tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = train(folder)
    assert results.provenance == ({"outer_step": 0, **HERE},)
    assert not (folder.path / "resumptions.json").exists()


@pytest.mark.parametrize("text", ["", "{", "{}", "[1]"])
def test_a_damaged_record_is_refused(text: str, tmp_path: Path) -> None:
    folder = create_run(small(), tmp_path / "run")
    stop_after(folder, EVERY)
    stop_after(folder, STEPS - 1)
    (folder.path / "resumptions.json").write_text(text)
    with pytest.raises(ValueError, match=r"resumptions\.json is damaged: delete it"):
        train(folder)
    (folder.path / "resumptions.json").unlink()
    train(folder)


def test_the_record_of_a_finished_run_is_checked(tmp_path: Path) -> None:
    folder = create_run(small(), tmp_path / "run")
    stop_after(folder, EVERY)
    train(folder)
    path = folder.path / "resumptions.json"
    path.write_text(json.dumps([{"outer_step": 0}]))
    with pytest.raises(ValueError, match=r"resumptions\.json is damaged.* or delete it and summary\.json"):
        load_run(folder)


def test_trials_that_go_on_under_others_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seeds in (2, 2):  # the second time there is nothing to do
        open_folder(study(Coin(), seeds=seeds), tmp_path)
        run_study(study(Coin(), seeds=seeds), tmp_path)
    assert resumptions(tmp_path) == []
    become(OTHER, monkeypatch)
    with pytest.warns(ProvenanceWarning, match="is resumed under other versions"):
        run_study(study(Coin(), seeds=3), tmp_path)
    assert resumptions(tmp_path) == [{"trials": 4, **OTHER}]
