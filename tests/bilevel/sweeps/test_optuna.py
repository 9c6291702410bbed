"""Searches by Optuna: trials that are recorded, pruned, and resumed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from bilevel.sweeps import OptunaWork, Outcome, Status, Sweep, points_of, status_of, work_on
from bilevel.sweeps._optuna import STARTUP_TRIALS

optuna = pytest.importorskip("optuna")


def search(trials: int, **changes: Any) -> Sweep:
    return Sweep(
        **{
            "games": ["chicken"],
            "methods": {"tos": "tos"},
            "settings": {"seeds": 3, "outer_steps": 20, "compile": "never"},
            "axes": {
                "tos.outer.learning_rate": "0.01..1:log",
                "inner.steps": "1..3",
                "tos.own_share": [0.5, 0.9],
            },
            "search": "optuna",
            "trials": trials,
        }
        | changes
    )


def finish(work: OptunaWork, out: Path) -> None:
    for run in work.missing():
        work.record(run, work_on(str(run.folder(out).path)))


def test_trials_are_drawn_recorded_and_added(tmp_path: Path) -> None:
    few = search(3)
    few.create(tmp_path)
    finish(OptunaWork(few, tmp_path), tmp_path)
    more = search(4)
    more.create(tmp_path)
    work = OptunaWork(more, tmp_path)
    assert (work.total, work.done) == (4, 3)
    assert [run.place for run in work.missing()] == ["trial-003"]
    points = points_of(work.runs(), tmp_path)
    assert [point.run is not None for point in points] == [True, True, True, False]
    for point in points:
        rate, steps, share = (
            point.values[name] for name in ("outer.learning_rate", "inner.steps", "own_share")
        )
        assert 0.01 <= rate <= 1
        assert (steps in (1, 2, 3), share in (0.5, 0.9)) == (True, True)


def test_an_unfinished_trial_is_resumed_with_its_values(tmp_path: Path) -> None:
    sweep = search(2)
    sweep.create(tmp_path)
    begun = next(OptunaWork(sweep, tmp_path).missing())  # and the process is killed here
    work = OptunaWork(sweep, tmp_path)
    again = next(work.missing())
    assert (again.place, again.values, work.done) == (begun.place, begun.values, 0)
    finish(OptunaWork(sweep, tmp_path), tmp_path)
    assert OptunaWork(sweep, tmp_path).done == 2


def test_a_trial_far_below_the_others_is_pruned(tmp_path: Path) -> None:
    sweep = search(STARTUP_TRIALS + 1)
    sweep.create(tmp_path)
    work = OptunaWork(sweep, tmp_path)
    *others, last = [run.folder(tmp_path) for run in work.missing()]
    runs = work.runs()
    for run, folder in zip(runs[:-1], others, strict=True):
        work.record(run, work_on(str(folder.path)))
    study = work._studies["chicken", "tos"]
    for trial in study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)):
        assert len(trial.intermediate_values) == 20
        assert trial.value == pytest.approx(float(_final_welfare(runs[trial.number], tmp_path)))
    poor = optuna.trial.Trial(study, study.trials[-1]._trial_id)
    for step in range(1, 20):  # reports of a welfare that no trial has
        poor.report(-1000.0, step)
    outcome = work_on(str(last.path))
    assert outcome == Outcome(Status.PRUNED, "Pruned after 1 outer step.")
    work.record(runs[-1], outcome)
    assert study.trials[-1].state is optuna.trial.TrialState.PRUNED
    (*_, point) = points_of(work.runs(), tmp_path)
    assert (point.pruned, point.run, status_of(last).status) == (True, None, Status.PRUNED)
    assert work.done == work.total


def _final_welfare(run: Any, out: Path) -> float:
    from bilevel.experiments import load_run  # noqa: PLC0415

    return float(load_run(run.folder(out)).final["welfare"].mean())


def test_failed_trials_count_as_done(tmp_path: Path) -> None:
    sweep = search(1)
    sweep.create(tmp_path)
    work = OptunaWork(sweep, tmp_path)
    (run,) = work.missing()
    work.record(run, Outcome(Status.FAILED, "A policy is not finite."))
    assert (work.done, list(OptunaWork(sweep, tmp_path).missing())) == (1, [])


def test_a_method_of_which_nothing_varies_is_trained_once(tmp_path: Path) -> None:
    sweep = search(3, methods={"selfish": "selfish", "tos": "tos"}, axes={"tos.own_share": [0.5, 0.9]})
    sweep.create(tmp_path)
    work = OptunaWork(sweep, tmp_path)
    assert work.total == 4
    assert sorted(run.name for run in work.missing()) == [
        "chicken/selfish/trial-000",
        *(f"chicken/tos/trial-00{trial}" for trial in range(3)),
    ]


def test_seeds_are_not_split(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="trains all seeds of a trial in one run"):
        OptunaWork(search(1, seeds_per_run=1), tmp_path)


def test_a_missing_package_has_its_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ValueError, match=r"needs the package optuna: pip install 'bilevel\[sweeps\]'"):
        OptunaWork(search(1), tmp_path)
