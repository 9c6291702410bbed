"""The clock, the memory meter, the workers and their failures, on variants made for the purpose."""

import dataclasses
import math
import mmap
import sys
import warnings

import numpy as np
import pytest
import torch

from tests.benchmarks import experiments
from tests.benchmarks.case import Case
from tests.benchmarks.experiments import EXPERIMENTS
from tests.benchmarks.measure import rounds
from tests.benchmarks.measure.agreement import reference_of, relative_error
from tests.benchmarks.measure.rounds import Effort, measure
from tests.benchmarks.measure.worker import Bench, Worker, WorkerError, peak, reset_peak
from tests.benchmarks.variants import Variant

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are bound to cores, and read /proc")

CASE = Case(problem="dilemma", size=2, steps=2)
EAGER = Variant("autograd, one graph", "autograd", "loop:by_autograd")
WRONG = Variant("wrong", "TorchOpt", "loop:by_autograd", {"last": 1})
BROKEN = Variant("broken", "TorchOpt", "loop:by_autograd", {"values": "no such form"})
ABSENT = Variant("absent", "JAX", "with_jax:run")


class InProcess(Bench):
    """A worker without a process, where none is needed to see what happens."""

    def __init__(self, threads, environment=None):
        super().__init__(threads)

    def build(self, variant, case):
        try:
            return super().build(variant, case)
        except KeyError as error:
            raise WorkerError(f"KeyError: {error}") from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def close(self):
        pass


@pytest.fixture
def here(monkeypatch):
    """Measure in this process, and leave it as it was."""
    monkeypatch.setattr(rounds, "Worker", InProcess)
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    with warnings.catch_warnings():
        yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)


def small(**changes):
    fields = {"variants": [EAGER], "short_sizes": (2,), "short_steps": (3,), "memory": False}
    return dataclasses.replace(EXPERIMENTS["unrolled"], **{**fields, **changes})


def run(experiment, **effort):
    said = []
    results = measure(experiment, Effort(rounds=3, seconds=0.01, least=2, **effort), said.append, short=True)
    return results, said


@pytest.mark.usefixtures("here")
def test_rounds_time_what_agrees_and_name_what_does_not(monkeypatch):
    monkeypatch.setitem(experiments.variants.NEEDS, "JAX", "no_such_module")
    results, said = run(small(variants=[EAGER, WRONG, BROKEN, ABSENT]))
    assert [row["variant"] for row in results["times"]] == ["autograd, one graph"]
    (timed,) = results["times"]
    assert timed["calls"] >= 3
    assert 0 < timed["low"] <= timed["median"] <= timed["high"] < 60
    errors = {row["variant"]: row["error"] for row in results["errors"]}
    assert errors["autograd, one graph"] == 0 < 1e-3 < errors["wrong"]
    assert said == ["unrolled: K = 3, 2 seeds"]
    notes = "\n".join(results["notes"])
    for text in (
        "absent left out: JAX is not installed",
        "wrong gave ANOTHER GRADIENT",
        "broken failed: KeyError",
    ):
        assert text in notes


def test_visits_go_forth_and_back(monkeypatch):
    visits = []

    class Recorded:
        def __init__(self, *_):
            pass

        def build(self, variant, case):
            self.name = variant.name
            return np.ones(2), 0.1

        def time(self, seconds, least):
            visits.append(self.name)
            return [1.0]

        def close(self):
            pass

    monkeypatch.setattr(rounds, "Worker", Recorded)
    run(small(variants=[dataclasses.replace(EAGER, name=name) for name in "abc"]))
    assert "".join(visits) == "abccbaabc"


@pytest.mark.usefixtures("here")
def test_long_cases_run_alone_and_memory_is_measured_apart(monkeypatch):
    monkeypatch.setattr(rounds, "free_memory", lambda: 10**12)
    experiment = small(
        problem="network", short_sizes=(4,), alone_from=1, memory=True, most_compared_steps=2, dtype="float32"
    )
    results, _ = run(experiment)
    assert results["times"][0]["calls"] == 3
    assert results["errors"][0]["compared_steps"] == 2
    assert results["memory"][0]["bytes"] >= 0
    assert results["notes"] == []


@pytest.mark.usefixtures("here")
def test_a_graph_that_does_not_fit_is_left_out_with_its_size(monkeypatch):
    monkeypatch.setattr(rounds, "free_memory", lambda: 1000)
    graph = dataclasses.replace(EAGER, keeps_graph=True)
    results, _ = run(small(problem="network", variants=[graph], alone_from=1))
    assert results["times"] == []
    assert "it needs about 0.0 GB, and 0.0 GB are free" in results["notes"][0]


def test_memory_meter_sees_what_is_touched_and_forgotten():
    before = reset_peak()
    with mmap.mmap(-1, 30_000_000) as block:  # memory that goes back at once, which malloc's may not
        for start in range(0, 30_000_000, mmap.PAGESIZE):
            block[start] = 1
    assert 28e6 < peak() - before < 60e6
    assert peak() - reset_peak() > 25e6
    assert peak() - before < 25e6


@pytest.mark.usefixtures("here")
def test_a_bench_counts_calls_by_time_and_by_number():
    bench = Bench(threads=1)
    bench._run, bench._call = lambda: None, 0.0
    assert len(bench.time(1e-9, 4)) >= 1
    assert len(bench.time(0.05, 4)) > 100
    calls = []
    bench._run, bench._call = lambda: calls.append(1), 5.0
    assert len(bench.time(0.0, 4)) == len(calls) == 1, "slow calls are not repeated"
    bench._call = 0.5
    assert len(bench.time(0.0, 4)) == len(calls) - 2 == 1, "one more call, before the clock starts"


def test_a_worker_survives_a_failure_and_says_when_it_died():
    with Worker(threads=1) as worker:
        with pytest.raises(WorkerError, match="KeyError: 'no such form'"):
            worker.build(BROKEN, CASE)
        gradient, seconds = worker.build(EAGER, CASE)
        assert gradient.shape == (2, 2, 2)
        assert seconds > 0
        with pytest.raises(WorkerError, match=r"the process died \(exit code -6"):
            worker.call("os:abort")


def test_a_worker_has_the_cores_and_the_environment_it_is_given():
    with Worker(threads=1, environment={"BENCH_TEST": "here"}) as worker:
        assert len(worker.call("os:sched_getaffinity", 0)) == 1
        assert worker.call("torch:get_num_threads") == 1
        assert worker.call("os:getenv", "BENCH_TEST") == "here"


def test_the_reference_is_autograd_and_else_ours_eager():
    assert reference_of(EXPERIMENTS["unrolled"].variants).library == "autograd"
    assert reference_of(EXPERIMENTS["forward"].variants).name == "ours, eager"


def test_a_gradient_that_is_not_a_number_is_infinitely_wrong():
    assert relative_error(np.array([math.nan, 1.0]), np.ones(2)) == math.inf
    assert relative_error(np.array([2.0, 1.5]), np.array([2.0, 1.0])) == 0.25


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_every_experiment_has_cases_and_a_reference(experiment):
    full, short = experiment.cases(short=False), experiment.cases(short=True)
    assert full
    assert 0 < len(short) <= len(full)
    for case in full:
        assert reference_of(experiment.runnable(case)) in experiment.variants
        assert experiment.compared(case).dtype == "float64"
    names = [variant.name for variant in experiment.variants]
    assert len(set(names)) == len(names)
