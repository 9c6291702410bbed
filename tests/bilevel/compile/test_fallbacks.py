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

from bilevel.compile import Compiled, CompileWarning
from bilevel.compile import _aoti as aoti
from bilevel.compile import _cache as cache
from bilevel.compile import _program as program
from bilevel.compile._c_compiler import CFunction, open_library
from bilevel.core import inner_step
from bilevel.hypergradient import BilevelProblem, FixedData, Forward, Implicit, Truncated, Unrolled
from bilevel.optimizers import sgd


def assert_falls_back(estimator: Any, start: Any, reason: str) -> None:
    """Two calls warn once, and give what they give eagerly."""
    problem, *inputs = start
    expected = estimator(problem, *inputs, steps=3)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(2):
            found = Compiled(estimator)(problem, *inputs, steps=3)
            torch.testing.assert_close(found.gradient, expected.gradient, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(found.theta, expected.theta, rtol=1e-12, atol=1e-12)
    assert [warning.category for warning in said] == [CompileWarning]
    text = str(said[0].message)
    assert reason in text, text
    assert "runs eagerly, not compiled" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "estimator",
    [Unrolled(), Truncated(steps=1), Forward(), Implicit(max_distance=torch.inf)],
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
    numbers = dataclasses.replace(problem, inner_data=FixedData({"weight": 3}))
    assert_falls_back(Unrolled(), (numbers, *inputs), "the data hold a Python int (leaf weight)")


def test_a_package_that_gives_something_else(
    start: Callable[..., Any], built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = CFunction.__call__
    monkeypatch.setattr(CFunction, "__call__", lambda self, *given: [2 * x for x in right(self, *given)])
    monkeypatch.setattr(aoti, "open_graph", lambda path, folder: lambda leaves: [2 * x for x in leaves])
    assert_falls_back(Unrolled(), start(), "does not give what it gives eagerly (")


def test_no_folder_to_keep_packages_in(
    start: Callable[..., Any], built: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "a file"
    taken.write_text("")
    monkeypatch.setenv(cache.VARIABLE, str(taken))
    assert_falls_back(Unrolled(), start(), str(taken))
    assert built == []


def test_a_package_that_cannot_be_loaded_is_built_again(
    start: Callable[..., Any],
    built: list[str],
    as_new: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem, *inputs = start()
    Compiled(Unrolled())(problem, *inputs, steps=2)
    as_new()
    failed = set[str]()

    def load(path: Path) -> Any:
        if path.name not in failed:
            failed.add(path.name)
            raise OSError(f"the package {path.name} cannot be loaded")
        return open_library(path)

    monkeypatch.setattr(program, "open_library", load)
    first = list(built)
    found = Compiled(Unrolled())(problem, *inputs, steps=2)
    libraries = [sorted(name for name in names if name.endswith(".so")) for names in (first, built)]
    assert libraries[1] == sorted(2 * libraries[0])
    expected = Unrolled()(problem, *inputs, steps=2)
    torch.testing.assert_close(found.gradient, expected.gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("suffix", "load"),
    [("pt2", lambda path: aoti.open_graph(path, path.parent)), ("so", open_library)],
    ids=["graph", "library"],
)
def test_what_is_no_package_is_said_to_be_none(
    suffix: str, load: Callable[[Path], Any], cache_folder: Path
) -> None:
    key = f"{'d' * 32}.{suffix}"
    cache.keep(key, lambda path: path.write_bytes(b"PK\x03\x04 half an archive"), {})
    with pytest.raises(OSError, match=rf"d\.{suffix}"):
        load(cache.package_path(key))


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_folder_that_others_may_write_to_runs_nothing(
    mode: int, start: Callable[..., Any], built: list[str], as_new: Callable[[], None], cache_folder: Path
) -> None:
    problem, *inputs = start()
    Compiled(Unrolled())(problem, *inputs, steps=2)
    as_new()
    cache_folder.chmod(mode)
    assert_falls_back(Unrolled(), start(), "can be written to by other users")


def scaled(theta: Any, phi: Any, data: Any) -> Any:
    return scaled.scale * (theta - phi).square().sum(-1)  # type: ignore[attr-defined]


@pytest.mark.parametrize("estimator", [Unrolled(), Forward()], ids=["unrolled", "forward"])
def test_the_next_process_sees_what_the_loss_reads_now(
    estimator: Any, built: list[str], as_new: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = sgd(0.1)
    theta, phi = torch.linspace(-1, 1, 6).reshape(3, 2), torch.linspace(1, 2, 6).reshape(3, 2)
    found = []
    for value in (1.0, 3.0, 1.0):
        as_new()
        scaled.scale = value  # type: ignore[attr-defined]
        problem = BilevelProblem(
            step=inner_step(scaled, inner), outer_loss=lambda theta, phi, data: theta.sum(-1)
        )
        gradients = [
            (Compiled(estimator) if choice else estimator)(
                problem, theta, inner.init(theta), phi, steps=2
            ).gradient
            for choice in (True, False)
        ]
        torch.testing.assert_close(*gradients, rtol=1e-5, atol=0)
        found.append((gradients[0], len(built)))
    assert not torch.allclose(found[0][0], found[1][0])
    assert found[2][1] == found[1][1] > found[0][1]  # the first one's packages serve the third


NO_COMPILER = """
import os, sys, warnings
os.environ["PATH"] = "/nowhere"
import torch
from bilevel.compile import Compiled
from bilevel.hypergradient import BilevelProblem, Unrolled
from bilevel.optimizers import sgd
from bilevel.core import inner_step

problem = BilevelProblem(
    step=inner_step(lambda theta, phi, data: (theta - phi).square().sum(-1), sgd(0.25)),
    outer_loss=lambda theta, phi, data: theta.sum(-1),
)
zeros, ones = torch.zeros(2, 1), torch.ones(2, 1)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for _ in range(2):
        found = Compiled(Unrolled())(problem, zeros, sgd(0.25).init(zeros), ones, steps=2)
assert found.gradient.tolist() == [[0.75], [0.75]], found.gradient
print(*(f"{warning.category.__name__}: {warning.message}" for warning in said), sep="\\n")
"""


def test_a_machine_without_a_compiler(cache_folder: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", NO_COMPILER], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1, done.stdout
    assert lines[0].startswith("CompileWarning: The solve of ")
    assert "there is no C compiler on this machine (cc, gcc or clang are not to be found)" in lines[0]
