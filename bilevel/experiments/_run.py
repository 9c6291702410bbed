"""Training of runs, resumed bit-for-bit after an interruption; extension and evaluation."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from bilevel.agents import count_environment_steps
from bilevel.experiments._checkpoint import (
    Checkpoint,
    load_checkpoint,
    outer_step_of,
    read_outer_step,
    read_settings,
    save_checkpoint,
)
from bilevel.experiments._config import RunConfig, configured, from_settings, load_config, named_config
from bilevel.experiments._execution import DECIDED_AFTER, execution_mode, keep_freed_memory, worth_compiling
from bilevel.experiments._files import digest_of, parse_json, remove_leftovers, write_text
from bilevel.experiments._metrics import ENVIRONMENT_STEPS, MetricsFile, in_every_step
from bilevel.experiments._parquet import write_parquet
from bilevel.experiments._resizing import moved_learner
from bilevel.experiments._results import Run, load_run
from bilevel.experiments._resumable import RESUMPTIONS, ProvenanceWarning, list_differences
from bilevel.experiments._run_folder import (
    RunFolder,
    config_differences,
    create_run,
    new_folder,
    read_summary,
    write_summary,
)
from bilevel.methods import Method, Metrics
from games.core import Game, require

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that request a stop; Windows has no SIGHUP."""
MAY_CHANGE = ("outer_steps", "checkpoint_every", "device", "threads", "compile")
"""Settings that may change when a run is resumed."""

Listener = Callable[[int, Metrics], object]
"""Callback after every outer step: (steps done, metrics)."""


class RunInterrupted(Exception):  # noqa: N818 - not an error: everything is saved
    """Raised when a signal stops a run; a checkpoint has been saved.

    >>> import signal
    >>> from bilevel.experiments import train
    >>> def stop(done, metrics):
    ...     signal.raise_signal(signal.SIGTERM)
    >>> train("chicken", "tos", seeds=3, outer_steps=9, out="run", listener=stop)
    Traceback (most recent call last):
    bilevel.experiments...RunInterrupted: Stopped after 1 of 9 outer steps; nothing is lost.
    """

    def __init__(self, folder: Path, done: int, total: int, signal: int) -> None:
        super().__init__(f"Stopped after {done} of {total} outer steps; nothing is lost.")
        self.folder, self.signal = folder, signal


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect stop signals in a `with` block, and report the first on standard error.

    A second one raises KeyboardInterrupt at once, except SIGHUP, which a closing terminal may send twice, and
    systemd after SIGTERM. Ignored signals, as under `nohup`, stay ignored. Outside the main thread, where
    Python allows no handlers, nothing is changed.
    """
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if received:
            if name != "SIGHUP":
                raise KeyboardInterrupt
            return
        received.append(number)
        # RuntimeError: the signal came while standard error was being written
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            print(
                f"{'Ctrl-C' if name == 'SIGINT' else name}: stopping after this outer step, and saving it. A "
                "second one stops at once: what came after the last checkpoint is then trained again.",
                file=sys.stderr,
                flush=True,
            )

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handle)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(
    game: str | Game | RunConfig | RunFolder,
    method: str | Method | None = None,
    *,
    out: str | Path | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> Run:
    """Train a method on a game, many seeds at once; or a configuration; or resume a run in its folder.

    A resumed run equals an uninterrupted one bit-for-bit, even if it was killed: it continues from its last
    checkpoint, and later rows of metrics.csv are written again.

    Args:
        game: a name (`games.names()`) or a game of the catalogue with its settings changed; or, without
            `method`, a whole configuration; or the folder of a run (`create_run`), which is started or
            resumed, and only loaded if it is finished.
        method: a name (`METHODS`), or a method with its settings changed.
        out: folder of a new run; None: a new one in runs/.
        listener: called after every outer step.
        settings: settings of a new run, by name, such as `seeds=8, outer_steps=100`; those of the game and
            the method by dotted names as on the command line, `**{"game.horizon": 3}`.

    Returns:
        The finished run: learning curves, final measurements and policies.

    Raises:
        ValueError: a name or setting is unknown (names the nearest) or out of range, the method does not
            apply to the game, or `out` exists; or the folder is not a run, its files are damaged (names
            them), config.json was changed, or another process trains it; or the first outer step raises it:
            then no folder is left.
        RunInterrupted: SIGINT, SIGTERM or SIGHUP was received; everything is saved.
        KeyboardInterrupt: a second signal, or one during the evaluation; the last checkpoint remains.
        FloatingPointError: a number became infinite or NaN (says where); the last checkpoint remains, and
            metrics.csv has the steps before.
        OSError: a file could not be written; the last checkpoint remains.

    >>> train("chicken", "tos", seeds=3, outer_steps=2, out="run", **{"outer.learning_rate": 0.2})
    Run(tos on chicken: 3 seeds, 2 outer steps, welfare ..., in run)
    """
    if isinstance(game, RunFolder):
        require(
            method is None and out is None and not settings,
            "The run in a folder has its method, place and settings already: train(folder).",
        )
        return _train(game, listener)
    if isinstance(game, RunConfig):
        require(method is None, "A configuration has its method already: train(config).")
        config = configured(game, settings)
    else:
        if method is None:
            raise ValueError("Say which method trains, as in train('chicken', 'tos').")
        config = configured(named_config(game, method), settings)
    return _train(create_run(config, new_folder(config) if out is None else out), listener)


def _train(folder: RunFolder, listener: Listener | None) -> Run:
    config = folder.load_config()
    if folder.finished:
        return load_run(folder)
    with folder.locked():
        remove_leftovers(folder.config)  # of `extend_run`; all others are overwritten
        training = _Training(folder, config)
        try:
            training.run(listener)
        except ValueError:
            if not (training.done or folder.checkpoint.exists()):
                folder.discard()
            raise
    run = load_run(folder)
    with contextlib.suppress(OSError):  # the CSV file has everything
        write_parquet(folder.metrics, run.curves, read_summary(folder.summary)[1][folder.metrics.name])
    return run


def _require_unchanged(folder: RunFolder, config: RunConfig) -> None:
    """Raise ValueError, naming the settings, if config.json differs from the checkpoint's settings."""
    text = read_settings(folder.checkpoint)
    try:
        before = from_settings(parse_json(text))
    except ValueError as error:
        raise ValueError(f"{folder.checkpoint} holds settings that cannot be run: {error}") from error
    differing = config_differences(before, config)
    refused = {name: differing[name] for name in differing if name not in MAY_CHANGE}
    require(
        not refused,
        f"{folder.config} was changed after the run began "
        f"({list_differences(refused, '{0} then, {1} now')}): put back what it said, or train a new run "
        "with the other settings.",
    )


def extend_run(folder: RunFolder, outer_steps: int) -> None:
    """Change the total of outer steps of a run, finished or not; `train` then takes the remaining ones.

    The result equals, bit-for-bit, a run with this total from the start. Evaluation, summary and figures of
    the shorter run are replaced.

    Args:
        folder: folder of the run.
        outer_steps: the new total, not fewer than it has taken.

    Raises:
        ValueError: the folder is not a run, its files are damaged (names them), or another process trains it;
            it has taken more outer steps already; or the steps taken would differ in a run of this length
            (with the reason). Nothing is changed.
        OSError: a file could not be written; the run is unchanged, or can be resumed.

    >>> from bilevel.experiments import RunFolder, train
    >>> run = train("chicken", "tos", seeds=3, outer_steps=2, out="run")
    >>> folder = RunFolder(run.path)
    >>> extend_run(folder, outer_steps=5)
    >>> train(folder)
    Run(tos on chicken: 3 seeds, 5 outer steps, welfare ..., in run)
    """
    config = load_config(folder.config)
    if outer_steps == config.outer_steps:
        return
    longer = dataclasses.replace(config, outer_steps=outer_steps)
    with folder.locked():
        if folder.finished:
            load_run(folder)
        if folder.checkpoint.exists():
            done = read_outer_step(folder.checkpoint)
            require(
                outer_steps >= done,
                f"{folder.path} has taken {done} outer steps already: it can go on to more, not to "
                f"{outer_steps}.",
            )
            _require_unchanged(folder, longer)
        settings = json.loads(folder.config.read_text(encoding="utf-8")) | {"outer_steps": outer_steps}
        folder.summary.unlink(missing_ok=True)  # first: if killed in between, resuming restores the old end
        write_text(folder.config, json.dumps(settings, indent=2) + "\n")


@torch.no_grad()
def evaluate(
    run: Run | str | Path, *, episodes: int | None = None, new_policies: int | None = None, **settings: Any
) -> dict[str, np.ndarray]:
    """Evaluate the final policies of a finished run, or of the run in a folder, on fresh episodes.

    With `new_policies` the run's sharing is evaluated instead: new policies are trained from scratch on
    rewards shared by the run's final sharing, which stays fixed, and then evaluated.

    Args:
        run: the run or its folder.
        episodes: per seed, 2 or more; None: as many as in the run's own evaluation. Unused with exact values.
        new_policies: outer steps of training for new policies, with the run's `inner.steps` inner steps each;
            their random seeds follow those of the run. None: evaluate the run's policies.
        settings: other settings of the game, by dotted names, `**{"game.agents": 2000}`. Policies of another
            number of agents must share parameters that do not depend on it (`share_parameters`, without
            `observe_index`), and learned sharing must be an edge network. For new policies only the latter is
            required.

    Returns:
        Metric name -> [seed].

    Raises:
        ValueError: the run is not finished, was joined from several, or there are too few episodes; a
            setting is not one of the game, or what was learned does not apply to that game (with the reason).

    >>> from bilevel.experiments import train
    >>> run = train("escape-room", "tos", seeds=3, outer_steps=2, evaluation_episodes=8, out="run")
    >>> evaluate("run", episodes=16)["welfare"].shape
    (3,)
    """
    return evaluated(run, settings, episodes, new_policies).final


@torch.no_grad()
def evaluated(
    run: Run | str | Path,
    settings: Mapping[str, Any],
    episodes: int | None = None,
    new_policies: int | None = None,
) -> Run:
    """Evaluate a finished run as `evaluate`, for tables.

    Args:
        run, settings, episodes, new_policies: as for `evaluate`.

    Returns:
        The run with the configuration and the final measurements of this evaluation.

    Raises:
        ValueError: as `evaluate`.

    >>> from bilevel.experiments import train
    >>> run = train("aid", "selfish", seeds=3, outer_steps=2, out="run", **{"game.agents": 4})
    >>> evaluated(run, {"game.benefit": 5.0}).config.game.benefit
    5.0
    """
    loaded = run if isinstance(run, Run) else load_run(run)
    config = loaded.config
    if episodes is not None:
        config = configured(config, {"evaluation_episodes": episodes})
    learner, state = loaded.learner()
    for name in settings:
        require(
            name.startswith("game."),
            f"Only settings of the game may change, such as game.horizon, not {name}.",
        )
    if settings or new_policies is not None:
        config, learner, state = moved_learner(learner, state, config, dict(settings), new_policies)
    measured = learner.evaluate(state, episodes=config.evaluation_episodes)
    final = {name: values.cpu().numpy() for name, values in measured.items()}
    return dataclasses.replace(loaded, config=config, final=final)


class _Training:
    """Training of a run, resumed from its folder."""

    def __init__(self, folder: RunFolder, config: RunConfig) -> None:
        torch.set_num_threads(config.threads)
        keep_freed_memory()
        self._folder, self._config = folder, config
        self._learner = config.build_learner()
        self._metrics = MetricsFile(folder.metrics)
        self._files = {folder.config.name: digest_of(folder.config)}
        now = Checkpoint(self._learner.init(config.seed), {}, 0.0)
        if folder.checkpoint.exists():
            _require_unchanged(folder, config)
            now = load_checkpoint(folder.checkpoint, like=now.state)
        self._state, self._saved = now.state, outer_step_of(folder.checkpoint, now.state["outer_step"])
        self._mode = now.steps_run
        if config.compile == "auto" and self._mode == "compiled":
            self._compile()
        require(
            self._saved <= config.outer_steps,
            f"{folder.checkpoint} was made after {self._saved} outer steps, but {folder.config} asks for "
            f"{config.outer_steps} only.",
        )
        self._metrics.truncate_to(now.positions)
        self._environment_steps: torch.Tensor | None = torch.zeros(config.seeds, dtype=torch.int64)
        if not self._metrics.empty:  # None of exact values, and of a run that an earlier version began
            last = self._metrics.last(ENVIRONMENT_STEPS)
            self._environment_steps = None if last is None else last.to(torch.int64)
        folder.note_resumption("outer_step", self._saved)
        self._began = time.perf_counter() - now.seconds

    @property
    def done(self) -> int:
        return int(self._state["outer_step"])

    def run(self, listener: Listener | None) -> None:
        """Take the remaining outer steps, then evaluate."""
        total = self._config.outer_steps
        with _stop_signals() as signals:
            while self.done < total and not signals:
                self._advance(listener)
                if self.done % self._config.checkpoint_every == 0:
                    self._save()
            if self._saved < self.done:
                self._save()
        if signals:
            raise RunInterrupted(self._folder.path, self.done, total, signals[0])
        self._finish(seconds=time.perf_counter() - self._began)

    def _compile(self) -> None:
        placement = dataclasses.replace(self._config.placement, compile=True)
        self._learner = self._config.method.build(self._config.game, placement)

    def _advance(self, listener: Listener | None) -> None:
        if self.done == DECIDED_AFTER and self._config.compile == "auto" and not self._mode:
            if worth_compiling(self._learner, self._state, self._config.outer_steps):
                self._compile()
            else:
                self._mode = "eagerly"
        try:
            with count_environment_steps(self._config.seeds) as played:
                self._state, measured = self._learner.update(self._state)
        except FloatingPointError as error:
            self._metrics.flush()
            saved = f"the last checkpoint, after {self._saved} outer steps, is {self._folder.checkpoint}"
            raise FloatingPointError(
                f"{error} The run stopped in outer step {self.done}; "
                f"{saved if self._saved else f'{self._folder.path} has no checkpoint yet'}."
            ) from error
        recorded = {name: values for name, values in measured.items() if in_every_step(values.shape)}
        if self._metrics.empty and not played.any():
            self._environment_steps = None
        if self._environment_steps is not None:
            self._environment_steps = self._environment_steps + played
            recorded[ENVIRONMENT_STEPS] = self._environment_steps
        self._metrics.add(self.done - 1, recorded)
        if listener is not None:
            listener(self.done, measured)

    def _save(self) -> None:
        self._metrics.flush()
        mode = execution_mode(self._learner)
        if mode and self._mode and mode != self._mode:
            warnings.warn(
                f"The steps of {self._folder.path} ran {self._mode} before, and now run {mode}, which "
                "rounds differently: from here on its numbers differ in their last digits from those of a "
                "run that was not stopped.",
                ProvenanceWarning,
                stacklevel=2,
            )
        self._mode = mode or self._mode
        seconds, settings = time.perf_counter() - self._began, json.dumps(self._config.plain)
        now = Checkpoint(self._state, self._metrics.positions, seconds, settings, self._mode)
        save_checkpoint(self._folder.checkpoint, now)
        self._saved = self.done

    def _finish(self, seconds: float) -> None:
        """Evaluate the final policies, and write the summary last, as it marks the run as finished."""
        steps = self._config.outer_steps
        final = self._learner.evaluate(self._state, episodes=self._config.evaluation_episodes)
        evaluation = MetricsFile(self._folder.evaluation)
        evaluation.truncate_to({})
        evaluation.add(steps, final)
        evaluation.flush()
        positions = self._metrics.positions | evaluation.positions
        files = self._files | {name: position.digest for name, position in positions.items()}
        record = self._folder.path / RESUMPTIONS
        if record.exists():
            files[record.name] = digest_of(record)
        write_summary(self._folder.summary, steps, seconds, files)
