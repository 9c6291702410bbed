"""Trials of a task under several weightings and seeds, as files in a folder that can be resumed."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bilevel.experiments import (
    LARGEST_SEED,
    ResumableFolder,
    keep_freed_memory,
    parse_json,
    provenance,
    require_regular,
    write_atomic,
)
from bilevel.tasks._task import BatchTask, Task, Trial, requiring_extra
from games.core import require, require_name

FORMAT = "bilevel-tune/1"
TRIAL_FORMAT = "bilevel-trial/2"
HEADER = "trial.json"  # entry of a trial's file with everything but the arrays
LABEL = re.compile(r"[a-z0-9][a-z0-9_-]*")  # names of weightings, which are also names of folders

Listener = Callable[[str, int, float], object]
"""Called with weighting, seed and the finished fraction of the trial, 1 when it is written; of a batch of
seeds, with the first one before."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """The trials of one task.

    Raises:
        ValueError: a weighting is unknown or comes twice, or a number is out of range.

    >>> from bilevel.tasks import NoisyDigits, NoisyDigitsSettings
    >>> task, settings, weightings = NoisyDigits(), NoisyDigitsSettings(), ("uniform", "learned")
    >>> study = Study(task_name="noisy-digits", task=task, settings=settings, weightings=weightings, seeds=2)
    >>> study.trials
    [('uniform', 0), ('learned', 0), ('uniform', 1), ('learned', 1)]
    """

    task_name: str
    task: Task
    settings: Any
    """An instance of the task's settings."""
    weightings: tuple[str, ...] = ()
    """Weightings, of which the first is the reference of comparisons; empty: all of the task's."""
    seeds: int = 20
    """Trials with each weighting, 1 or more."""
    seed: int = 0
    """Random seed of the first trial; later trials have the next seeds."""

    def __post_init__(self) -> None:
        known = self.task.weightings
        for name in known:
            require(
                LABEL.fullmatch(name) is not None,
                f"A weighting is called by small letters, digits, - and _, not {name!r}.",
            )
        for name in self.weightings:
            require_name(name, known, f"weighting of {self.task_name}")
            require(self.weightings.count(name) == 1, f"{name} is there twice: name every weighting once.")
        object.__setattr__(self, "weightings", self.weightings or tuple(known))
        require(self.seeds >= 1, f"seeds must be 1 or more, not {self.seeds}.")
        require(
            0 <= self.seed <= LARGEST_SEED - self.seeds,
            f"seed must be from 0 to {LARGEST_SEED - self.seeds}, not {self.seed}.",
        )

    @property
    def measure_names(self) -> list[str]:
        """The names of the task's measures."""
        return [measure.name for measure in self.task.measures]

    @property
    def trials(self) -> list[tuple[str, int]]:
        """Weighting and seed of each trial, in running order: seed by seed."""
        seeds = range(self.seed, self.seed + self.seeds)
        return [(weighting, seed) for seed in seeds for weighting in self.weightings]

    def path_of(self, folder: Path, weighting: str, seed: int) -> Path:
        """The file of a trial."""
        return folder / weighting / f"seed-{seed}.npz"

    def missing(self, folder: Path) -> list[tuple[str, int]]:
        """The trials that are missing in a folder."""
        return [trial for trial in self.trials if not self.path_of(folder, *trial).exists()]

    def batches(self, folder: Path) -> list[tuple[str, list[int]]]:
        """Weighting and seeds of the missing trials that run together: one trial, or all of a `BatchTask`."""
        missing = self.missing(folder)
        if not isinstance(self.task, BatchTask):
            return [(weighting, [seed]) for weighting, seed in missing]
        seeds = {name: [seed for weighting, seed in missing if weighting == name] for name in self.weightings}
        return [(weighting, some) for weighting, some in seeds.items() if some]


def open_folder(study: Study, folder: Path) -> None:
    """Create the folder of a study, or check that it holds trials with the same settings.

    Args:
        study: the trials and their settings.
        folder: the folder, which need not exist.

    Raises:
        ValueError: it holds trials of another task or other settings (says which), or other files; or it
            cannot be created.

    >>> from pathlib import Path
    >>> from bilevel.tasks import NoisyDigits, NoisyDigitsSettings, Study
    >>> study = Study(task_name="noisy-digits", task=NoisyDigits(), settings=NoisyDigitsSettings(), seeds=2)
    >>> open_folder(study, Path("study"))
    >>> len(study.missing(Path("study")))  # 8 weightings, 2 seeds
    16
    """
    try:
        settings = json.loads(json.dumps(dataclasses.asdict(study.settings)))
    except TypeError as error:
        raise ValueError(
            f"The settings of {study.task_name} must be numbers, words and tuples of them: {error}."
        ) from error
    resumable = ResumableFolder(folder)
    if resumable.config.exists():
        saved = _read_settings(resumable.config)
        saved_settings = {"task": saved.get("task")} | saved["settings"]
        resumable.require_same(saved_settings, {"task": study.task_name} | settings)
        return
    resumable.create(
        {"format": FORMAT, "task": study.task_name, "settings": settings, **provenance()},
        refusal=f"{folder} holds other files, and no settings.json, or is no folder: choose another folder "
        "with --out.",
    )


def run_study(study: Study, folder: Path, listener: Listener | None = None) -> dict[str, list[Trial]]:
    """Run the missing trials, then read all trials.

    An interruption of any kind loses only the running trial, or batch of seeds. Torch's global random stream
    is unchanged, and trials run with float32 as torch's default dtype.

    Args:
        study: the trials and their settings.
        folder: opened by `open_folder`.
        listener: called with the progress of each trial.

    Returns:
        Weighting -> its trials, seed by seed.

    Raises:
        ValueError: another process works in the folder, a file in it is damaged, or a package is missing.
        FloatingPointError: a loss became infinite or undefined (says in which trial); earlier ones are kept.
        OSError: a file could not be written; earlier trials are kept.

    >>> from pathlib import Path
    >>> from bilevel.tasks import NoisyDigits, NoisyDigitsSettings, Study, open_folder
    >>> small = NoisyDigitsSettings(train_size=50, clean_size=20, hidden_size=4, steps=5)
    >>> what = {"task_name": "noisy-digits", "task": NoisyDigits(), "settings": small}
    >>> study = Study(**what, weightings=("uniform",), seeds=2)
    >>> open_folder(study, Path("study"))
    >>> len(run_study(study, Path("study"))["uniform"])
    2
    """
    if missing := study.missing(folder):
        keep_freed_memory()
        resumable = ResumableFolder(folder)
        with resumable.locked():
            _read_settings(resumable.config)
            resumable.note_resumption("trials", len(study.trials) - len(missing))
            for weighting, seeds in study.batches(folder):
                for seed, trial in zip(seeds, _run_batch(study, weighting, seeds, listener), strict=True):
                    path = study.path_of(folder, weighting, seed)
                    path.parent.mkdir(exist_ok=True)
                    write_trial(path, trial, weighting, seed)
                    if listener is not None:
                        listener(weighting, seed, 1.0)
    trials: dict[str, list[Trial]] = {weighting: [] for weighting in study.weightings}
    for weighting, seed in study.trials:
        path = study.path_of(folder, weighting, seed)
        trials[weighting].append(read_trial(path, study.measure_names, weighting, seed))
    return trials


@contextmanager
def _single_precision() -> Iterator[None]:
    """Make float32 torch's default, for which the tasks' models and results are defined."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _run_batch(study: Study, weighting: str, seeds: list[int], listener: Listener | None) -> list[Trial]:
    def progress(fraction: float) -> None:
        if listener is not None:
            listener(weighting, seeds[0], min(fraction, 0.999))  # 1 when the trial is written

    progress(0.0)
    began = time.perf_counter()
    task = study.task
    try:
        with requiring_extra(study.task_name), torch.random.fork_rng(devices=[]), _single_precision():
            if isinstance(task, BatchTask):
                trials = list(task.run_many(study.settings, weighting, seeds, progress))
            else:
                trials = [task.run(study.settings, weighting, seed, progress) for seed in seeds]
        for each in trials:
            check_trial(each, study.measure_names)
    except FloatingPointError as error:
        trial = f"{weighting}, seed {', '.join(map(str, seeds))}"
        raise FloatingPointError(
            f"{error} It was in the trial {trial}, of {study.task_name}; earlier ones are kept."
        ) from error
    seconds = (time.perf_counter() - began) / len(seeds)
    return [dataclasses.replace(each, seconds=seconds) for each in trials]


def check_trial(trial: Trial, names: list[str]) -> None:
    """Raise unless a trial has its task's measures, all but infinite, and arrays of numbers."""
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


def write_trial(path: Path, trial: Trial, weighting: str, seed: int) -> None:
    """Write a finished trial, which is read back bit-for-bit; an error leaves no file."""
    header = {
        "format": TRIAL_FORMAT,
        "weighting": weighting,
        "seed": seed,
        "seconds": trial.seconds,
        "measures": {name: float(value) for name, value in trial.measures.items()},
        "curves": {name: [float(number) for number in curve] for name, curve in trial.curves.items()},
        "arrays": list(trial.arrays),
    }
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    arrays = {f"array {place}": array for place, array in enumerate(trial.arrays.values())}
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **{HEADER: text}, **arrays)
    write_atomic(path, lambda file: file.write(content.getbuffer()))


def read_trial(path: Path, names: list[str], weighting: str, seed: int) -> Trial:
    """Read a finished trial; raises ValueError if the file is damaged or holds another trial (says which)."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as entries:
            header = json.loads(entries[HEADER].tobytes())
            arrays = {name: entries[f"array {place}"] for place, name in enumerate(header["arrays"])}
        trial = Trial(header["measures"], header.get("curves", {}), arrays, float(header["seconds"]))
        saved = header["format"], header["weighting"], header["seed"], list(trial.measures)
    except OSError:
        raise
    except Exception as error:  # a damaged file can make the readers fail in any way at all
        raise ValueError(
            f"{path} is damaged, or it is not a trial of this toolkit: delete it, and the same command does "
            "the trial again."
        ) from error

    def text(form: str, weighting: str, seed: int, names: list[str]) -> str:
        return f"{weighting}, seed {seed}, {', '.join(names)} ({form})"

    expected: tuple[Any, ...] = TRIAL_FORMAT, weighting, seed, names
    require(saved == expected, f"{path} holds another trial: it says {text(*saved)}, not {text(*expected)}.")
    return trial


def _read_settings(path: Path) -> dict[str, Any]:
    require_regular(path.parent)
    try:
        saved: Any = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as the settings of trials: {error}.") from error
    if not (
        isinstance(saved, dict) and saved.get("format") == FORMAT and isinstance(saved.get("settings"), dict)
    ):
        raise ValueError(f"{path} is not a record of the form {FORMAT}.")
    return saved
