"""Runs: a folder that holds everything, and resumes to the same bits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bilevel.errors import require
from bilevel.experiment.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from bilevel.experiment.config import RunConfig, load_config
from bilevel.experiment.files import write_text
from bilevel.experiment.interruption import Interruption
from bilevel.experiment.metrics import MetricsFile, read_metrics
from bilevel.methods import Learner
from bilevel.methods.learner import Metrics

Listener = Callable[[int, Metrics], object]
"""Told of every outer step: (steps done, metrics)."""


class RunInterrupted(Exception):  # noqa: N818 - not an error: everything is saved
    """A run was stopped by a signal, after saving everything."""

    def __init__(self, folder: Path, done: int, total: int, signal: int) -> None:
        super().__init__(f"Stopped after outer step {done} of {total}; nothing is lost.")
        self.folder, self.signal = folder, signal


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """The whole configuration, versions, commit."""
        return self.path / "config.json"

    @property
    def checkpoint(self) -> Path:
        """Where the run stands."""
        return self.path / "checkpoint.pt"

    @property
    def metrics(self) -> Path:
        """One row per outer step and seed."""
        return self.path / "metrics.csv"

    @property
    def evaluation(self) -> Path:
        """The final policies on fresh episodes: one row per seed; there when the run is finished."""
        return self.path / "evaluation.csv"

    @property
    def summary(self) -> Path:
        """Seconds and steps; there when the run is finished."""
        return self.path / "summary.json"

    @property
    def figures(self) -> Path:
        """The folder of figures."""
        return self.path / "figures"

    @property
    def finished(self) -> bool:
        """Whether training and evaluation are done."""
        return self.summary.exists()


@dataclass(frozen=True)
class Results:
    """What a finished run found."""

    config: RunConfig
    curves: dict[str, np.ndarray]
    """Metric name -> [outer step, seed]."""
    final: dict[str, np.ndarray]
    """Metric name -> [seed], the final policies on fresh episodes."""
    seconds: float
    """Spent in training."""


def create_run(config: RunConfig, path: Path) -> RunFolder:
    """Make the folder of a new run, with its config.json.

    Raises:
        ValueError: the folder exists: nothing is ever overwritten.
    """
    folder = RunFolder(path)
    try:
        path.mkdir(parents=True, exist_ok=False)
    except FileExistsError:
        raise ValueError(
            f"{path} exists, and a run never overwrites: choose another folder, or continue that run with "
            f"bilevel train --resume {path}"
        ) from None
    write_text(folder.config, json.dumps(config.to_json(), indent=2) + "\n")
    return folder


def train(folder: RunFolder, listener: Listener | None = None) -> Results:
    """Start or continue a run, to its end.

    An interrupted and continued run gives the same bits as one that never stopped.

    Args:
        folder: from `create_run`, or of an earlier run.
        listener: told of every outer step.

    Raises:
        ValueError: the folder is no run, or its files are damaged (says which).
        RunInterrupted: SIGINT or SIGTERM came; everything is saved.
        FloatingPointError: learning left the finite numbers (says where); the last checkpoint stays.
        OSError: a file could not be written; what was written before stays.
    """
    config = load_config(folder.config)
    if folder.finished:
        return load_results(folder)
    torch.set_num_threads(config.threads)
    learner = config.method.build(config.game, config.placement)
    metrics = MetricsFile(folder.metrics)
    now = _resume(folder, learner, config.seed, metrics)
    state, began = now.state, time.perf_counter() - now.seconds

    def save() -> None:
        size = metrics.flush()
        save_checkpoint(folder.checkpoint, Checkpoint(state, size, time.perf_counter() - began))

    with Interruption() as interruption:
        for done in range(int(state["outer_step"]) + 1, config.outer_steps + 1):
            state, measured = learner.update(state)
            metrics.add(done - 1, measured)
            if listener is not None:
                listener(done, measured)
            if done % config.checkpoint_every == 0 or done == config.outer_steps or interruption.signal:
                save()
            if interruption.signal and done < config.outer_steps:
                raise RunInterrupted(folder.path, done, config.outer_steps, interruption.signal)
    seconds = time.perf_counter() - began
    _finish(folder, config, learner, state, seconds)
    return load_results(folder)


def load_results(folder: RunFolder) -> Results:
    """Read a finished run back.

    Raises:
        ValueError: it is no run, is not finished, or a file is damaged.
    """
    config = load_config(folder.config)
    require(
        folder.finished,
        f"{folder.path} is not finished: continue it with bilevel train --resume {folder.path}",
    )
    final = {name: values[0] for name, values in read_metrics(folder.evaluation).items()}
    seconds = json.loads(folder.summary.read_text(encoding="utf-8"))["seconds"]
    return Results(config, read_metrics(folder.metrics), final, seconds)


def _resume(folder: RunFolder, learner: Learner, seed: int, metrics: MetricsFile) -> Checkpoint:
    """Where the run stands; a run that never reached a checkpoint starts again."""
    state = learner.init(seed)
    now = Checkpoint(state, 0, 0.0)
    if folder.checkpoint.exists():
        now = load_checkpoint(folder.checkpoint, like=state)
    metrics.cut(now.metrics_bytes)
    return now


def _finish(folder: RunFolder, config: RunConfig, learner: Learner, state: Any, seconds: float) -> None:
    """Evaluate the final policies; the summary comes last, because it says that all is there."""
    final = learner.evaluate(state, episodes=config.evaluation_episodes, seed=config.seed + 1)
    folder.evaluation.unlink(missing_ok=True)
    evaluation = MetricsFile(folder.evaluation)
    evaluation.add(config.outer_steps, final)
    evaluation.flush()
    write_text(folder.summary, json.dumps({"outer_steps": config.outer_steps, "seconds": seconds}) + "\n")
