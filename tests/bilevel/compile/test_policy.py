"""When compile="auto" compiles: after enough steps of one problem, and it says so."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torchopt

from bilevel.compile import policy
from bilevel.compile.kernels import CompileWarning
from bilevel.compile.policy import WORTH, decide, settle
from bilevel.hypergradient import OneStep, Unrolled


@pytest.mark.parametrize(
    ("wanted", "steps", "compiles"),
    [("auto", WORTH - 1, False), ("auto", WORTH, True), (True, 1, True), (False, 10 * WORTH, False)],
)
def test_a_run_that_knows_its_length_decides_at_once(wanted: Any, steps: int, compiles: bool) -> None:
    assert decide(wanted, steps) is compiles


def test_steps_are_counted_for_each_problem(start: Callable[..., Any]) -> None:
    one, other = start().problem, start().problem
    assert [settle(one, "auto", WORTH // 2) for _ in range(4)] == [False, False, True, True]
    assert not settle(other, "auto", 1)


def test_it_is_said_once(start: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    problem = start().problem
    with caplog.at_level(logging.INFO, "bilevel.compiled"):
        for steps in (WORTH, 1, 10, 1):
            settle(problem, "auto", steps)
    assert [record.getMessage() for record in caplog.records] == [
        f"{WORTH} steps were taken: from here on they are compiled."
    ]


def test_an_estimator_begins_to_compile_after_that_many_steps(
    start: Callable[..., Any], built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "WORTH", 6)
    problem, *inputs = start()
    counts = []
    for _ in range(4):
        Unrolled()(problem, *inputs, steps=3)
        counts.append(len(built))
    assert counts == [0, 0, 3, 3]


def test_what_is_set_is_not_counted(start: Callable[..., Any]) -> None:
    problem = start().problem
    assert not settle(problem, False, 10 * WORTH)
    assert not settle(problem, "auto", 1)


def test_auto_goes_on_eagerly_where_there_are_python_numbers(
    start: Callable[..., Any], built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run must not stop at its 40 000th step because it could be faster."""
    monkeypatch.setattr(policy, "WORTH", 4)
    problem, *inputs = start(torchopt.radam(0.1))
    for estimator in (Unrolled(), OneStep()):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for _ in range(4):
                estimator(problem, *inputs, steps=3)
        mine = [str(warning.message) for warning in said if warning.category is CompileWarning]
        assert len(mine) == 1
        assert mine[0].startswith("Steps run eagerly, not compiled: theta and the optimiser's state hold")
        assert "a Python int" in mine[0]
        policy._taken.clear()
    assert built == []
