"""Whole runs are made by the real command line, stopped where they are long, and extended by their steps."""

import dataclasses
import sys

import pytest

from tests.benchmarks.__main__ import Bench, begun, chosen
from tests.benchmarks.growth import AXES, MANY_AGENTS
from tests.benchmarks.measure import growth, whole_runs
from tests.benchmarks.measure.whole_runs import Job, RunError, Where, measure_whole_runs, rounds_of, run
from tests.benchmarks.report.page import write_report
from tests.benchmarks.report.results import Results
from tests.benchmarks.report.targets import targets
from tests.benchmarks.report.whole_runs import (
    growth_table,
    measured_whole,
    of_command,
    ratio,
    run_table,
    seconds_by_round,
    step_by_round,
)
from tests.benchmarks.test_report_page import ABOUT
from tests.benchmarks.whole_runs import CACHED, DEFAULT, WHOLE_RUNS

DILEMMA = WHOLE_RUNS["run: repeated dilemma"]
BY_HAND = next(command for command in DILEMMA.commands if command.name == "PyTorch by hand")
SHORT = 10
linux = pytest.mark.skipif(sys.platform != "linux", reason="runs are bound to a core")


@linux
def test_a_run_of_ours_and_one_by_hand_that_is_stopped(tmp_path):
    where = Where(caches=tmp_path)
    row = run(DILEMMA, Job(DEFAULT, 3, 0), where, short=True)
    assert (row["steps"], row["outer_steps"], row["round"]) == (3, 3, 0)
    assert 0 < row["marks"]["1"] < row["marks"]["3"] == row["last"] < row["seconds"]
    assert 0 < row["step"] < row["last"]
    assert row["peak"] > 50e6
    assert row["cpu"] > 0
    stopped = run(dataclasses.replace(DILEMMA, long_limit=0.0), Job(BY_HAND, 100_000, 0), where, short=True)
    assert stopped["seconds"] is None
    assert 1 <= stopped["steps"] < 100_000


@linux
def test_a_run_that_fails_says_why(tmp_path):
    command = dataclasses.replace(BY_HAND, script="no_such_script")
    with pytest.raises(RunError, match="no_such_script"):
        run(DILEMMA, Job(command, 3, 0), Where(caches=tmp_path), short=True)
    with pytest.raises(RunError, match="no run has filled the cache"):
        run(DILEMMA, Job(CACHED, 3, 0), Where(caches=tmp_path), short=True)


def made(command, steps, turn=0, *, seconds=None, done=None, last=1.0, step=0.01, **more):
    """A row as `run` gives it."""
    done = done or steps
    return {
        "variant": command,
        "library": "-",
        "outer_steps": steps,
        "round": turn,
        "seconds": seconds,
        "cpu": 12.0,
        "peak": 2e8,
        "steps": done,
        "marks": {"1": 0.5, **more},
        "last": last,
        "step": step,
    }


def test_rounds_go_forth_and_back_and_packages_are_made_once():
    rounds = [[job.command.name for job in jobs] for jobs in rounds_of(DILEMMA, short=False)]
    filling = [names for names in rounds if "ours, compiled, nothing in the cache" in names]
    assert len(filling) == 1
    first, second = (
        [job.command.name for job in jobs]
        for jobs in rounds_of(DILEMMA, short=False)
        if jobs[0].outer_steps == 300 and jobs[0].round < 2
    )
    assert first == second[::-1]


def test_what_an_earlier_call_has_measured_is_not_measured_again(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        whole_runs, "run", lambda runs, job, where, *, short: asked.append(job) or made(job.command.name, 10)
    )
    few = dataclasses.replace(DILEMMA, commands=[DEFAULT, BY_HAND], rounds=1)
    done = [made(DEFAULT.name, 10), made(BY_HAND.name, 300)]
    results = measure_whole_runs(few, lambda text: None, Where(caches=tmp_path), done, short=False)
    assert len(results["runs"]) == len(done) + len(asked) == 6  # (10), 300, 3000, and ours 30000
    assert all(
        (job.command.name, job.outer_steps) not in ((DEFAULT.name, 10), (BY_HAND.name, 300)) for job in asked
    )
    spent = Where(caches=tmp_path, deadline=0.0)
    results = measure_whole_runs(few, lambda text: None, spent, done, short=False)
    assert results["runs"] == done
    assert "runs are missing" in results["notes"][0]


def test_only_runs_of_this_very_commit_are_kept():
    results = Results(
        {"run: coin game": {"about": {"commit": "abc"}, "runs": [1]}, "unrolled": {"about": ABOUT}}
    )
    assert begun(results, {"commit": "abc"}) == {"run: coin game": [1]}
    assert begun(results, ABOUT) == {"unrolled": []}
    assert begun(results, {"commit": "abd"}) == {}
    changed = Results({"run: coin game": {"about": {"commit": "abc+"}, "runs": [1]}})
    assert begun(changed, {"commit": "abc+"}) == {}


def test_a_long_run_is_extended_by_its_later_steps():
    rows = [
        made("x", SHORT, seconds=3.0, last=2.0),
        made("x", 300, seconds=6.0, last=5.0, **{"100": 3.0}),
        made("x", 3000, done=1000, last=12.0, step=0.01, **{"300": 5.0}),
    ]
    assert seconds_by_round(rows, 300) == {0: 6.0}
    assert seconds_by_round(rows, 100) == {0: 3.0 + 1.0}
    assert seconds_by_round(rows, 3000) == {0: pytest.approx(12.0 + 20.0 + 1.0)}
    assert seconds_by_round(rows, 30_000) == {0: pytest.approx(12.0 + 290.0 + 1.0)}
    assert [measured_whole(rows, steps) for steps in (100, 300, 3000)] == [False, True, False]
    assert step_by_round(rows) == {0: 0.01}
    assert seconds_by_round([], 300) == seconds_by_round(rows[2:], 300) == {}
    assert ratio({0: 2.0, 1: 9.0, 2: 4.0}, {0: 1.0, 1: 3.0}) == 2.5
    assert ratio({}, {0: 1.0}) is None


def test_a_run_that_waited_for_its_core_is_left_out(results):
    rows = results.rows(DILEMMA.name, "runs")
    assert of_command(results, DILEMMA.name, "ours, default") != []
    for row in rows:
        row["cpu"] = 0.8 * (row["seconds"] or row["last"])
    assert of_command(results, DILEMMA.name, "ours, default") == []


@pytest.fixture
def results():
    runs = []
    for command, slower in (("ours, default", 1.2), ("PyTorch by hand", 1.0), ("JAX by hand", 1.1)):
        runs += [made(command, SHORT, seconds=3.0 * slower, last=2.0 * slower)]
        runs += [
            made(command, 300, seconds=6.0 * slower, last=5.0 * slower, step=0.01 * slower, **{"100": 3.0})
        ]
    growing = [
        {"axis": AXES[0].name, "value": value, "seconds": 1e-3 * value, "bytes": 1000 * value**2}
        for value in (10, 100, 1000)
    ]
    return Results(
        {
            DILEMMA.name: {"about": ABOUT, "runs": runs, "notes": [], "before": "fedcba9"},
            "growth": {"about": ABOUT, "growth": growing, "notes": []},
        }
    )


def test_the_table_of_runs_marks_what_was_computed(results):
    row = next(line for line in run_table(results, DILEMMA.name).splitlines() if "ours, default" in line)
    assert "| 7.20 (1.20) |" in row
    assert "| - | - |" in row, "the default may compile longer runs"
    other = next(line for line in run_table(results, DILEMMA.name).splitlines() if "JAX by hand" in line)
    assert "| ~36.3 (1.10) |" in other
    assert "| 12.0 (1.20) |" in row


def test_targets_of_runs(results):
    found = {target.text: target for target in targets(results)}
    reached = found["run: repeated dilemma, 300 outer steps: ours, default, in times PyTorch by hand"]
    assert (reached.measured, reached.verdict) == (pytest.approx(1.2), "reached")
    longer = found["run: repeated dilemma, 3000 outer steps: ours, default, in times PyTorch by hand"]
    assert longer.verdict == "not measured"
    assert found["run: coin game, 300 outer steps: faster than before"].verdict == "not measured"


def test_exponents_of_growth(results):
    assert "| 1.00 | 1.000 |" in growth_table(results)
    assert growth_table(results).rstrip().endswith("| 2.00 | 1.000 |")


def test_the_page_has_time_and_memory_of_many_agents(results, tmp_path):
    rows = [
        {
            "axis": axis.name,
            "value": axis.values[0],
            "seconds": 1.5,
            "cpu": 1.0,
            "bytes": 0,
            "resident": 3e8,
        }
        for axis in MANY_AGENTS
    ]
    results.parts["many agents"] = {"about": ABOUT, "growth": rows, "notes": []}
    text = write_report(results, tmp_path).read_text(encoding="utf-8")
    assert "## Many agents" in text
    assert "| graph of degree 4, exact | 10 | 1.50 | 1.00 | 300 |" in text
    assert "| all pairs, sampled | 100 | 1.50 | 1.00 | 300 |" in text


def test_the_page_has_whole_runs_with_their_figure(results, tmp_path):
    text = write_report(results, tmp_path).read_text(encoding="utf-8")
    assert "## Whole runs, from the start of the process" in text
    assert "commit fedcba9" in text
    assert "## How an outer step grows" in text
    assert (tmp_path / "run_against_outer_steps.png").stat().st_size > 10_000


def test_whole_runs_and_growth_are_chosen_by_name():
    assert list(chosen(Bench(only=("growth", DILEMMA.name)))) == [DILEMMA.name, "growth"]
    assert {*WHOLE_RUNS, "many agents"} <= set(chosen(Bench()))


@pytest.mark.parametrize("axis", [*AXES, *MANY_AGENTS], ids=lambda axis: axis.name)
def test_the_settings_that_grow_exist(axis):
    config = growth.with_settings(
        growth.default_config(axis.game, "tos"), {**axis.fixed, axis.setting: axis.values[0]}
    )
    assert config.outer_steps == 300


@linux
def test_a_point_of_growth_is_measured():
    found = growth.point(dataclasses.replace(AXES[0], fixed={}), 2, 0.0)
    assert found["resident"] >= found["bytes"]
    assert 0 < found["cpu"] <= 2 * found["seconds"]
    assert found["seconds"] > 0
