"""A task under several ways to set its weights and several seeds, in a folder that is taken up again."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bilevel.allocator import keep_freed_memory
from bilevel.errors import require, require_name
from bilevel.experiment.differences import between, listed
from bilevel.experiment.files import FULL, claimed, make_folder, parse_json, require_regular
from bilevel.experiment.limits import LARGEST_SEED
from bilevel.experiment.provenance import note_resumption, provenance
from bilevel.tasks.registry import extra
from bilevel.tasks.task import Task
from bilevel.tasks.trial_files import Finished, check_trial, read_trial, write_trial

FORMAT = "bilevel-tune/1"
LABEL = re.compile(r"[a-z0-9][a-z0-9_-]*")
"""A way to set the weights is also the name of a folder."""

ALMOST = 0.999
"""As far as a trial says that it is done: it is not before it is written."""

Listener = Callable[[str, int, float], object]
"""Told how a trial goes: (way to set the weights, seed, which part is done). 1 is said when it is written."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Which trials are done.

    Raises:
        ValueError: there is no such way to set the weights, one is there twice, or a number is out of range.
    """

    task_name: str
    """What the task is called."""
    task: Task
    """What is learned."""
    settings: Any
    """An instance of the task's settings."""
    weightings: tuple[str, ...] = ()
    """Ways to set the weights; others are compared with the first; none: all of the task's."""
    seeds: int = 20
    """Trials with each, 1 or more."""
    seed: int = 0
    """That of the first trial; the others count on from it."""

    def __post_init__(self) -> None:
        known = self.task.weightings
        for name in known:
            require(
                LABEL.fullmatch(name) is not None,
                f"A way to set the weights is called by small letters, digits, - and _, not {name!r}.",
            )
        for name in self.weightings:
            require_name(name, known, f"way to set the weights of {self.task_name}")
            require(self.weightings.count(name) == 1, f"{name} is there twice: name every way once.")
        object.__setattr__(self, "weightings", self.weightings or tuple(known))
        require(self.seeds >= 1, f"seeds must be 1 or more, not {self.seeds}.")
        require(
            0 <= self.seed <= LARGEST_SEED - self.seeds,
            f"seed must be from 0 to {LARGEST_SEED - self.seeds}, not {self.seed}.",
        )

    @property
    def measure_names(self) -> list[str]:
        """What each trial ends with."""
        return [measure.name for measure in self.task.measures]

    @property
    def trials(self) -> list[tuple[str, int]]:
        """Way to set the weights and seed of each trial, in the order in which they are done: by seeds."""
        return [
            (weighting, seed)
            for seed in range(self.seed, self.seed + self.seeds)
            for weighting in self.weightings
        ]

    def path_of(self, folder: Path, weighting: str, seed: int) -> Path:
        """The file of a trial."""
        return folder / weighting / f"seed-{seed}.npz"

    def missing(self, folder: Path) -> list[tuple[str, int]]:
        """The trials that are not in a folder yet."""
        return [trial for trial in self.trials if not self.path_of(folder, *trial).exists()]


def open_folder(study: Study, folder: Path) -> None:
    """Make the folder of a study, or see that it holds trials with the same settings.

    Raises:
        ValueError: it holds trials of another task or with other settings (says which), or other files, or
            cannot be made.
    """
    here = _record(study)
    path = folder / "settings.json"
    if path.exists():
        there = _read_record(path)
        found = between(
            {"task": there.get("task")} | there["settings"], {"task": here["task"]} | here["settings"]
        )
        require(
            not found,
            f"{folder} holds trials with other settings ({listed(found, '{0} there, {1} here')}): nothing is "
            "overwritten, so choose another folder with --out.",
        )
        return
    text = json.dumps({"format": FORMAT, **here, **provenance()}, indent=2) + "\n"
    try:
        make_folder(folder, path.name, text)
    except FileExistsError:
        raise ValueError(
            f"{folder} holds other files, and no settings.json, or is no folder: choose another folder with "
            "--out."
        ) from None
    except OSError as error:
        if error.errno in FULL:
            raise
        raise ValueError(f"The folder {folder} cannot be made: {error.strerror}.") from error


def run_study(
    study: Study, folder: Path, listener: Listener | None = None
) -> Mapping[str, Sequence[Finished]]:
    """Do the trials that are missing, and read all of them.

    A finished trial is written whole, at once: whoever stops this, however, loses the trial under way alone.
    Trials leave torch's own random stream as it was.

    Args:
        study: which trials.
        folder: where they are; `open_folder` was called with it.
        listener: told how each trial goes.

    Returns:
        way to set the weights -> its trials, seed by seed.

    Raises:
        ValueError: another process works in the folder, a file in it is damaged, or a package is missing.
        FloatingPointError: a loss became infinite or undefined (says in which trial); earlier ones are kept.
        OSError: a file could not be written; earlier trials are kept.
    """
    missing = study.missing(folder)
    if missing:
        keep_freed_memory()
        with claimed(folder / "settings.json") as ours:
            require(ours, f"Another process works in {folder}: wait for it, or stop it.")
            note_resumption(
                folder, _read_record(folder / "settings.json"), "trials", len(study.trials) - len(missing)
            )
            for weighting, seed in missing:
                _do(study, study.path_of(folder, weighting, seed), weighting, seed, listener)
    names, seeds = study.measure_names, range(study.seed, study.seed + study.seeds)
    return {
        weighting: [
            read_trial(study.path_of(folder, weighting, seed), names, weighting, seed) for seed in seeds
        ]
        for weighting in study.weightings
    }


def _do(study: Study, path: Path, weighting: str, seed: int, listener: Listener | None) -> None:
    path.parent.mkdir(exist_ok=True)

    def advance(part: float) -> None:
        if listener is not None:
            listener(weighting, seed, min(part, ALMOST))

    advance(0.0)
    began = time.perf_counter()
    try:
        with extra(study.task_name), torch.random.fork_rng(devices=[]):
            trial = study.task.run(study.settings, weighting, seed, advance)
        check_trial(trial, study.measure_names)
    except FloatingPointError as error:
        raise FloatingPointError(
            f"{error} It was in the trial {weighting}, seed {seed}, of {study.task_name}; earlier "
            "ones are kept."
        ) from error
    write_trial(path, Finished(trial, time.perf_counter() - began), weighting, seed)
    if listener is not None:
        listener(weighting, seed, 1.0)


def _record(study: Study) -> dict[str, Any]:
    try:
        settings = json.loads(json.dumps(dataclasses.asdict(study.settings)))
    except TypeError as error:
        raise ValueError(
            f"The settings of {study.task_name} must be numbers, words and tuples of them: {error}."
        ) from error
    return {"task": study.task_name, "settings": settings}


def _read_record(path: Path) -> dict[str, Any]:
    require_regular(path.parent)
    try:
        saved = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as the settings of trials: {error}.") from error
    whole = (
        isinstance(saved, dict) and saved.get("format") == FORMAT and isinstance(saved.get("settings"), dict)
    )
    require(whole, f"{path} is not a record of the form {FORMAT}.")
    record: dict[str, Any] = saved
    return record
