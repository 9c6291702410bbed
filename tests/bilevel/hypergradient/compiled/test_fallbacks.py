"""What cannot be compiled runs eagerly, with one warning that says why, and with the right result."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bilevel.hypergradient import Forward, Implicit, Truncated, Unrolled
from bilevel.hypergradient.base import Always
from bilevel.hypergradient.compiled import cache, packages
from bilevel.hypergradient.compiled.kernels import CompileWarning


def assert_falls_back(estimator: Any, start: Any, reason: str) -> None:
    """Two calls warn once, and give what they give eagerly."""
    problem, *inputs = start
    expected = dataclasses.replace(estimator, compile=False)(problem, *inputs, steps=3)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(2):
            found = dataclasses.replace(estimator, compile=True)(problem, *inputs, steps=3)
            torch.testing.assert_close(found.gradient, expected.gradient, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(found.theta, expected.theta, rtol=1e-12, atol=1e-12)
    assert [warning.category for warning in said] == [CompileWarning]
    text = str(said[0].message)
    assert reason in text, text
    assert "runs eagerly, not compiled" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "estimator",
    [Unrolled(), Truncated(steps=1), Forward(), Implicit(accept_distance=torch.inf)],
    ids=lambda estimator: type(estimator).__name__,
)
def test_a_step_that_branches_on_a_value(estimator: Any, start: Callable[..., Any], built: list[str]) -> None:
    problem, *inputs = start()

    def branching(theta: Any, opt_state: Any, phi: Any, data: Any) -> Any:
        after, opt_state = problem.step(theta, opt_state, phi, data)
        return (after if after.detach().sum() > -1e9 else theta), opt_state

    branches = dataclasses.replace(problem, step=branching)
    assert_falls_back(estimator, (branches, *inputs), "of quadratic.<locals>.outer_loss runs eagerly")


def test_an_outer_loss_that_cannot_be_traced(start: Callable[..., Any], built: list[str]) -> None:
    problem, *inputs = start()

    def outer_loss(theta: Any, phi: Any, data: Any) -> Any:
        return theta.square().sum(-1) * float(theta.detach().abs().max() > -1)

    mixed = dataclasses.replace(problem, outer_loss=outer_loss)
    assert_falls_back(Unrolled(), (mixed, *inputs), "The outer loss of ")
    assert len(built) == 2  # step and pull are compiled all the same


def test_python_numbers_in_the_data(start: Callable[..., Any], built: list[str]) -> None:
    problem, *inputs = start()
    numbers = dataclasses.replace(problem, inner_data=Always({"weight": 3}))
    assert_falls_back(Unrolled(), (numbers, *inputs), "the data hold a Python int (leaf weight)")


def test_a_package_that_gives_something_else(
    start: Callable[..., Any], built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = packages.load
    monkeypatch.setattr(packages, "load", lambda key: lambda leaves: [2 * x for x in right(key)(leaves)])
    assert_falls_back(Unrolled(), start(), "does not give what it gives eagerly (result 0 is off by")


def test_no_folder_to_keep_packages_in(
    start: Callable[..., Any], built: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "a file"
    taken.write_text("")
    monkeypatch.setenv(cache.VARIABLE, str(taken))
    assert_falls_back(Unrolled(), start(), str(taken))
    assert built == []


def test_a_damaged_package_says_which_file_to_delete(start: Callable[..., Any], cache_folder: Path) -> None:
    cache_folder.mkdir()
    (cache_folder / "damaged.pt2").write_bytes(b"PK\x03\x04 half an archive")
    with pytest.raises(OSError, match=r"damaged\.pt2 cannot be read: delete it"):
        packages.load("damaged")


NO_COMPILER = """
import os, sys, warnings
os.environ["PATH"], os.environ["CXX"] = "/nowhere", "/nowhere/g++"
import torch
from torch._inductor import config
config.cpp.cxx = (None, "/nowhere/g++")
from bilevel.hypergradient import BilevelProblem, Unrolled
from bilevel.optimisers import sgd
from bilevel.step import inner_step

problem = BilevelProblem(
    step=inner_step(lambda theta, phi, data: (theta - phi).square().sum(-1), sgd(0.25)),
    outer_loss=lambda theta, phi, data: theta.sum(-1),
)
zeros, ones = torch.zeros(2, 1), torch.ones(2, 1)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for _ in range(2):
        found = Unrolled(compile=True)(problem, zeros, sgd(0.25).init(zeros), ones, steps=2)
assert found.gradient.tolist() == [[0.75], [0.75]], found.gradient
print(*(f"{warning.category.__name__}: {warning.message}" for warning in said), sep="\\n")
"""


def test_a_machine_without_a_compiler(cache_folder: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor"),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", NO_COMPILER], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1, done.stdout
    assert lines[0].startswith("CompileWarning: The step of ")
    assert "ompiler" in lines[0], lines[0]
