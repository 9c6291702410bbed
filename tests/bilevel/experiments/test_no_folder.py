"""A run that cannot begin leaves nothing behind."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from bilevel.experiments import RunConfig, create_run, find_or_create, load_config, train
from bilevel.experiments import _files as files
from tests.bilevel.experiments.kills import killed
from tests.bilevel.experiments.small_runs import EVERY, GONE, small


def refuse(at: int, monkeypatch: pytest.MonkeyPatch, config: RunConfig) -> None:
    """Let the learner refuse its outer step `at`."""
    kind = type(config.method.build(config.game, config.placement))
    update = kind.update

    def refused(self: Any, state: Any) -> Any:
        if int(state["outer_step"]) == at:
            raise ValueError("There is no path from phi.")
        return update(self, state)

    monkeypatch.setattr(kind, "update", refused)


@pytest.mark.parametrize("at", [0, 1, EVERY + 1])
def test_a_run_that_its_first_step_refuses_leaves_no_folder(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = create_run(small(), tmp_path / "run")
    refuse(at, monkeypatch, small())
    with pytest.raises(ValueError, match="There is no path from phi"):
        train(folder)
    assert folder.path.exists() is (at > 0)


def test_a_folder_with_files_of_somebody_else_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = create_run(small(), tmp_path / "run")
    (folder.path / "notes.txt").touch()
    refuse(0, monkeypatch, small())
    with pytest.raises(ValueError, match="There is no path from phi"):
        train(folder)
    assert [path.name for path in folder.path.iterdir()] == ["notes.txt"]


def test_what_cannot_run_makes_no_folder(tmp_path: Path) -> None:
    config = small("escape-room")
    config = dataclasses.replace(config, method=config.method.with_settings({"policy": "tabular"}))
    with pytest.raises(ValueError, match="tabular policy"):
        create_run(config, tmp_path / "run")
    tmp_path.joinpath("file").touch()
    with pytest.raises(ValueError, match=r"The folder .* cannot be made: Not a directory\."):
        create_run(small(), tmp_path / "file" / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("litter", [[], [f".config.json.{GONE}.part"]])
def test_an_empty_folder_is_taken_over(litter: list[str], tmp_path: Path) -> None:
    """As a kill while it was made left it, or its owner made it."""
    for make in (create_run, lambda config, path: find_or_create(path, config)):
        path = tmp_path / make.__name__
        path.mkdir()
        for name in litter:
            (path / name).write_text("half")
        make(small(), path)
        assert [file.name for file in path.iterdir()] == ["config.json"]


def test_a_folder_is_never_there_without_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at any operation, the folder is whole or absent, and the same command makes it then."""
    at = 0
    while True:
        path = tmp_path / f"kill-{at}" / "run"
        if not killed(at, lambda path=path: create_run(small(), path), tmp_path):
            break
        assert not path.exists() or load_config(path / "config.json") == small()
        assert find_or_create(path, small()).config.exists()
        assert [file.name for file in path.parent.iterdir()] == ["run"]
        assert [file.name for file in path.iterdir()] == ["config.json"]
        at += 1
    assert at > 4


def test_a_full_disk_makes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        create_run(small(), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_the_check_before_a_run_and_its_training_share_one_learner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, built = small(), []
    build = type(config.method).build
    monkeypatch.setattr(
        type(config.method), "build", lambda self, *place: built.append(place) or build(self, *place)
    )
    train(create_run(config, tmp_path / "run"))
    assert len(built) == 1
    train(config, out=tmp_path / "again")
    assert len(built) == 2  # each run has a learner of its own
