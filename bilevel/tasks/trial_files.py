"""A finished trial as one file, which is written whole or not at all and read without executing anything."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bilevel.errors import require
from bilevel.experiment.files import write_whole
from bilevel.tasks.task import Trial

FORMAT = "bilevel-trial/1"
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
        "format": FORMAT,
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
    wanted: tuple[Any, ...] = FORMAT, weighting, seed, names
    require(
        found == wanted,
        f"{path} holds another trial: it says {_words(found)}, not {_words(wanted)}.",
    )
    return finished


def _words(parts: tuple[Any, ...]) -> str:
    form, weighting, seed, names = parts
    return f"{weighting}, seed {seed}, {', '.join(names)} ({form})"
