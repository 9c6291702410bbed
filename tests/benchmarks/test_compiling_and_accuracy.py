"""How first calls are told from later ones, and that the accuracy table measures what it says."""

from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.measure import accuracy, compiling
from tests.benchmarks.measure.compiling import CACHE, compiled_cases, measure_compiling
from tests.benchmarks.measure.update_rules import RULES, time_rule


class Compiler:
    """A worker whose first call on a problem writes three packages, where they are not there yet."""

    def __init__(self, threads, environment, *, cores):
        assert cores > threads
        self.cache = Path(environment[CACHE])

    def build(self, variant, case):
        problem = case.size if case.problem == "policies" else case.problem
        missing = [path for path in self.named(problem) if not path.exists()]
        for path in missing:
            path.touch()
        return np.ones(1), 40.0 if missing else 0.5

    def find_again(self):
        return 0.3, 2

    def named(self, problem):
        return [self.cache / f"{problem}-{function}.pt2" for function in ("step", "pull", "outer")]

    def time(self, seconds, least):
        return [0.1, 0.2, 0.3]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_cold_calls_are_told_from_those_of_a_second_process(monkeypatch):
    monkeypatch.setattr(compiling, "Worker", Compiler)
    results = measure_compiling(lambda text: None, short=False)
    rows = {(row["experiment"], row["size"]): row for row in results["compiling"]}
    first = rows["unrolled", 1024]
    assert (first["cold"], first["packages"], first["again"], first["warm"]) == (40.0, 3, 0.5, 0.2)
    assert (first["found"], first["loaded"]) == (0.3, 2)
    assert (rows["unrolled", 1]["cold"], rows["unrolled", 1]["packages"]) == (0.5, 0)
    assert {size for name, size in rows if name == "policies"} == {2, 8, 32, 128}
    assert [row["packages"] for row in results["reseeding"]] == [0, 0]
    assert results["notes"] == []


def test_every_experiment_that_is_not_optional_is_compiled_once_at_least():
    names = [name for name, _, _ in compiled_cases(short=False)]
    assert list(dict.fromkeys(names)) == [
        "unrolled",
        "policies",
        "truncated",
        "forward",
        "implicit",
        "evolution",
        "network",
    ]
    assert [name for name, _, _ in compiled_cases(short=True)] == ["unrolled", "policies"]


def test_accuracy_rows_hold_an_error_and_its_bound():
    row = accuracy._implicit_on_quadratic()
    assert 0 <= row["error"] <= row["most"] == 1e-8
    row = accuracy._against_differences("unrolled, sgd", accuracy.Unrolled(), "sgd")
    assert 0 < row["error"] <= row["most"] == 1e-7


def test_accuracy_sees_a_biased_estimator():
    row = accuracy._against_differences("truncated", accuracy.Truncated(steps=1), "sgd")
    assert row["error"] > 0.1


def test_evolution_is_held_against_its_own_interval(monkeypatch):
    monkeypatch.setattr(accuracy, "SEEDS", 4)
    monkeypatch.setattr(accuracy, "STEPS", 2)
    row = accuracy._evolution_within_interval()
    assert 0 <= row["error"] <= 0.3


@pytest.mark.parametrize("rule", RULES)
def test_update_rules_are_timed_in_both_forms(rule):
    found = time_rule(rule, seeds=4, seconds=0.0)
    assert found["seeds"] == 4
    assert found["batch"] > 0
    assert found["by_hand"] > 0
