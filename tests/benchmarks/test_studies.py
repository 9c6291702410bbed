"""The benchmarks of sweeps and of loading run, at small sizes."""

import re

import pytest

from tests.benchmarks.loading import Loading
from tests.benchmarks.loading import main as load
from tests.benchmarks.sweeps import Sweeps
from tests.benchmarks.sweeps import main as sweep


@pytest.mark.slow
def test_a_sweep_is_compared_with_a_loop(capfd):
    assert sweep(Sweeps(game="chicken", seeds=2, outer_steps=2, rounds=1)) == 0
    said = capfd.readouterr().out
    assert [line.partition(":")[0] for line in said.splitlines()[:3]] == [
        "loop in one process",
        "sweep, 1 worker",
        "sweep, 2 workers",
    ]
    assert re.search(
        r"2 workers are \d+\.\d+ times as fast as one, and \d+\.\d+ times as fast as the loop\.", said
    )


@pytest.mark.slow
def test_a_study_is_loaded(capfd):
    assert load(Loading(runs=3, outer_steps=4, seeds=2, rounds=1)) == 0
    assert re.search(r"s: 24 rows, \d+ columns", capfd.readouterr().out)
