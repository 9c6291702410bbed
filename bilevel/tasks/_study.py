"""A task under several ways to set its weights and several seeds, in a folder that is taken up again.

A finished trial as one file, which is written whole or not at all and read without executing anything.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from bilevel.experiments import (
    FULL,
    LARGEST_SEED,
    between,
    claimed,
    keep_freed_memory,
    listed,
    make_folder,
    note_resumption,
    parse_json,
    provenance,
    require_regular,
    write_whole,
)
from bilevel.tasks._registry import extra
from bilevel.tasks._task import Task, Trial
from games.core import require, require_name

TRIAL_FORMAT = "bilevel-trial/1"
HEADER = "trial.json"
"""The entry that has all but the arrays, as the bytes of its text."""


class Finished(NamedTuple):
    """A trial that is done."""

    trial: Trial
    """What came out."""
    seconds: float
    """How long it took."""


def check_trial(trial: Trial, names: list[str]) -> None:
    """Raise unless a trial has the measures that its task promises, and arrays of numbers.

    Args:
        trial: what a task gave.
        names: of the task's measures.

    Raises:
        ValueError: measures are missing or unknown, or an array holds objects.
        FloatingPointError: a measure is infinite.
    """
    require(
        list(trial.measures) == names,
        f"The task measures {', '.join(names)}, but a trial ended with {', '.join(trial.measures)}.",
    )
    for name, value in trial.measures.items():
        if math.isinf(value):
            raise FloatingPointError(f"The measure {name!r} is infinite.")
    for name, array in trial.arrays.items():
        require(
            array.dtype.kind in "biuf", f"The array {name!r} of a trial must hold numbers, not {array.dtype}."
        )


def write_trial(path: Path, finished: Finished, weighting: str, seed: int) -> None:
    """Write a finished trial, so that it is read back to the same bits.

    Args:
        path: of the file; its folder is there.
        finished: what is written; `check_trial` has nothing against it.
        weighting: with which way to set the weights.
        seed: with which seed.

    Raises:
        OSError: it cannot be written; nothing is left.
    """
    trial, seconds = finished
    header = {
        "format": TRIAL_FORMAT,
        "weighting": weighting,
        "seed": seed,
        "seconds": seconds,
        "measures": {name: float(value) for name, value in trial.measures.items()},
        "courses": {name: [float(number) for number in course] for name, course in trial.courses.items()},
        "arrays": list(trial.arrays),
    }
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    arrays = {f"array {place}": array for place, array in enumerate(trial.arrays.values())}
    memory = io.BytesIO()
    np.savez_compressed(memory, allow_pickle=False, **{HEADER: text}, **arrays)
    write_whole(path, lambda file: file.write(memory.getbuffer()))


def read_trial(path: Path, names: list[str], weighting: str, seed: int) -> Finished:
    """Read a finished trial back; nothing in the file is executed.

    Args:
        path: of the file.
        names: of the task's measures.
        weighting: with which way to set the weights it was done.
        seed: with which seed.

    Raises:
        ValueError: the file is damaged, or holds another trial (says which).
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as entries:
            header = json.loads(entries[HEADER].tobytes())
            arrays = {name: entries[f"array {place}"] for place, name in enumerate(header["arrays"])}
        finished = Finished(Trial(header["measures"], header["courses"], arrays), float(header["seconds"]))
        found = header["format"], header["weighting"], header["seed"], list(finished.trial.measures)
    except OSError:
        raise
    except Exception as error:  # a damaged file can make the readers fail in any way at all
        raise ValueError(
            f"{path} is damaged, or it is not a trial of this toolkit: delete it, and the same command does "
            "the trial again."
        ) from error
    wanted: tuple[Any, ...] = TRIAL_FORMAT, weighting, seed, names
    require(
        found == wanted,
        f"{path} holds another trial: it says {_words(found)}, not {_words(wanted)}.",
    )
    return finished


def _words(parts: tuple[Any, ...]) -> str:
    form, weighting, seed, names = parts
    return f"{weighting}, seed {seed}, {', '.join(names)} ({form})"


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
