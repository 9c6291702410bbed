"""Search by Optuna: values drawn by what finished runs have reached, and hopeless runs pruned.

Each game and method is a study of Optuna in a journal file of the sweep's folder. The launching process draws
values and records results; a run reports its own welfare as it goes, and stops where its study prunes it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bilevel.core import counted
from bilevel.experiments import Listener, Run, RunFolder, interquartile_mean, load_run, write_text
from bilevel.sweeps._axis import Between
from bilevel.sweeps._sweep import Sweep
from bilevel.sweeps._sweep_run import SweepRun, trial_name
from bilevel.sweeps._work import TRIAL, Outcome, Pruned, Status
from games.core import require

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

JOURNAL = "optuna.journal"
"""File of all studies within the sweep's folder."""
STARTUP_TRIALS = 5
"""Trials drawn at random, and never pruned, before the others."""
REPORTS = 20
"""Number of times that a run reports its welfare."""


class OptunaWork:
    """A sweep whose values are drawn by Optuna.

    >>> import logging
    >>> logging.getLogger("optuna").setLevel(logging.ERROR)
    >>> sweep = Sweep(
    ...     games=["chicken"],
    ...     methods={"tos": "tos"},
    ...     settings={"seeds": 3, "outer_steps": 2},
    ...     axes={"own_share": {"low": 0.1, "high": 0.9}},
    ...     search="optuna",
    ...     trials=2,
    ... )
    >>> _ = sweep.create(Path("sweep"))
    >>> search = OptunaWork(sweep, Path("sweep"))
    >>> from bilevel.sweeps import work_on
    >>> for run in search.missing():
    ...     search.record(run, work_on(str(run.folder(Path("sweep")).path)))
    >>> [run.place for run in search.runs()]
    ['trial-000', 'trial-001']
    """

    def __init__(self, sweep: Sweep, out: Path) -> None:
        require_optuna()
        import optuna  # noqa: PLC0415

        require(
            sweep.seeds_per_run is None,
            "An optuna search trains all seeds of a trial in one run, not in parts.",
        )
        self._sweep, self._out = sweep, out
        storage = open_journal(out)
        self._studies: dict[tuple[str, str], Study] = {}
        for game in sweep.games:
            for label in sweep.methods:
                self._studies[game, label] = optuna.create_study(
                    storage=storage,
                    study_name=f"{game}/{label}",
                    direction="maximize",
                    load_if_exists=True,
                    sampler=optuna.samplers.TPESampler(n_startup_trials=STARTUP_TRIALS, seed=0),
                    pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS),
                )

    @property
    def total(self) -> int:
        """Number of runs in the end."""
        return sum(self._trials(label) for _, label in self._studies)

    @property
    def done(self) -> int:
        """Number of runs that have a result."""
        return sum(
            trial.state.is_finished()
            for study in self._studies.values()
            for trial in study.get_trials(deepcopy=False)
        )

    def missing(self) -> Iterator[SweepRun]:
        """Yield the runs to train: unfinished ones of an earlier command first, then new draws.

        A new draw is made only when the run is asked for, so that it takes into account what `record` knows.
        """
        from optuna.trial import Trial, TrialState  # noqa: PLC0415

        for (game, label), study in self._studies.items():
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                resumed = Trial(study, trial._trial_id)  # what it had not drawn yet is drawn now
                yield self._begin(game, label, study, trial, self._suggest(resumed, label))
        while True:
            begun = {
                key: count
                for key, study in self._studies.items()
                if (count := len(study.get_trials(deepcopy=False))) < self._trials(key[1])
            }
            if not begun:
                return
            game, label = min(begun, key=lambda key: begun[key])
            study = self._studies[game, label]
            asked = study.ask()
            yield self._begin(game, label, study, asked, self._suggest(asked, label))

    def _trials(self, label: str) -> int:
        """Number of trials of a method: one if none of its settings varies."""
        return (self._sweep.trials or 0) if self._sweep.own(self._sweep.axes, label) else 1

    def record(self, run: SweepRun, outcome: Outcome) -> None:
        """Record the result of a run in its study: its mean final welfare, that it was pruned, or failed."""
        from optuna.trial import TrialState  # noqa: PLC0415

        study, number = self._studies[run.game, run.label], int(run.place.rpartition("-")[2])
        if outcome.status is Status.FINISHED:
            welfare = _welfare(load_run(run.folder(self._out)))
            if math.isfinite(welfare):
                study.tell(number, welfare)
                return
        state = TrialState.PRUNED if outcome.status is Status.PRUNED else TrialState.FAIL
        study.tell(number, state=state)

    def runs(self) -> list[SweepRun]:
        """All runs that were begun, by game and method."""
        return [
            self._run(game, label, trial.number, self._values(trial, label))
            for (game, label), study in self._studies.items()
            for trial in study.get_trials(deepcopy=False)
        ]

    def _begin(
        self, game: str, label: str, study: Study, trial: Trial | FrozenTrial, values: Mapping[str, Any]
    ) -> SweepRun:
        run = self._run(game, label, trial.number, values)
        folder = run.create(self._out)
        journal = str((self._out / JOURNAL).resolve())
        record = {"journal": journal, "study": study.study_name, "trial": trial._trial_id}
        write_text(folder.path / TRIAL, json.dumps(record) + "\n")
        return run

    def _run(self, game: str, label: str, number: int, values: Mapping[str, Any]) -> SweepRun:
        (run,) = self._sweep.split(game, label, trial_name(number), values)
        return run

    def _suggest(self, trial: Trial, label: str) -> dict[str, Any]:
        """Draw values of the settings of a method."""
        values: dict[str, Any] = {}
        for name, axis in self._sweep.own(self._sweep.axes, label).items():
            if isinstance(axis, Between) and axis.whole:
                values[name] = trial.suggest_int(name, int(axis.low), int(axis.high), log=axis.log)
            elif isinstance(axis, Between):
                values[name] = trial.suggest_float(name, axis.low, axis.high, log=axis.log)
            else:
                values[name] = trial.suggest_categorical(name, list(axis.values))
        return values

    def _values(self, trial: FrozenTrial, label: str) -> dict[str, Any]:
        names = self._sweep.own(self._sweep.axes, label)
        return {name: trial.params[name] for name in names if name in trial.params}


def pruning(folder: RunFolder) -> Listener:
    """Build a listener that reports a run's welfare to its study, and raises `Pruned` where that prunes it.

    Reported is the interquartile mean over seeds of the mean welfare of the steps since the last report.
    """
    require_optuna()
    import optuna  # noqa: PLC0415
    from optuna.trial import Trial  # noqa: PLC0415

    record = json.loads((folder.path / TRIAL).read_text(encoding="utf-8"))
    study = optuna.load_study(
        study_name=record["study"],
        storage=open_journal(Path(record["journal"]).parent),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS),
    )
    trial = Trial(study, record["trial"])
    reported = study.get_trials(deepcopy=False)[trial.number].intermediate_values  # before it was interrupted
    every = max(1, folder.load_config().outer_steps // REPORTS)
    recent: list[Any] = []

    def listen(done: int, metrics: Mapping[str, Any]) -> None:
        recent.append(metrics["welfare"].cpu().numpy())
        if done % every:
            return
        if done not in reported:
            trial.report(float(interquartile_mean(sum(recent) / len(recent))), done)
        recent.clear()
        if trial.should_prune():
            raise Pruned(f"Pruned after {counted(done, 'outer step')}.")

    return listen


def open_journal(out: Path) -> Any:
    """Open the storage of the studies in a sweep's folder."""
    from optuna.storages import JournalStorage  # noqa: PLC0415
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

    return JournalStorage(JournalFileBackend(str(out / JOURNAL)))


def require_optuna() -> None:
    """Raise ValueError, with the command that installs it, if Optuna is missing; and silence its log."""
    try:
        import optuna  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ValueError("An optuna search needs the package optuna: pip install 'bilevel[sweeps]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _welfare(run: Run) -> float:
    return float(run.final["welfare"].mean())
