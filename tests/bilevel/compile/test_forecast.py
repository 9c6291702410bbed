"""What compiling is expected to cost, and whether it was done before."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torchopt

from bilevel.compile import built_before, forecast
from bilevel.compile._c_compiler import VARIABLE
from bilevel.core import inner_step
from bilevel.experiments import default_config
from bilevel.hypergradient import BilevelProblem
from bilevel.methods import OuterLearner
from bilevel.optimizers import sgd


def problem(optimizer: Any = None) -> tuple[Any, ...]:
    inner = optimizer or sgd(0.1)
    theta = torch.zeros(3, 2, dtype=torch.float64)
    built = BilevelProblem(
        step=inner_step(lambda theta, phi, data: (theta - phi).square().sum(-1), inner),
        outer_loss=lambda theta, phi, data: theta.sum(-1),
    )
    return built, theta, inner.init(theta), torch.ones_like(theta)


def test_a_forecast_counts_operations_and_builds_nothing(built: list[str]) -> None:
    few = forecast(*problem())
    assert few is not None
    assert 0 < few.seconds < 2
    assert 0 < few.saved < 1
    more = forecast(*problem(torchopt.adam(0.1)))
    assert more is not None
    assert more.seconds > few.seconds
    assert built == []


def test_there_is_no_forecast_of_what_cannot_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert forecast(*problem(torchopt.radam(0.1))) is None  # its counter is a Python int
    monkeypatch.setenv(VARIABLE, "/nowhere/cc")
    assert forecast(*problem()) is None


def test_packages_that_were_built_are_found() -> None:
    chosen = default_config("chicken", "tos")
    compiled, eager = (
        chosen.method.build(chosen.game, dataclasses.replace(chosen.placement, compile=choice))
        for choice in (True, False)
    )
    assert isinstance(eager, OuterLearner)
    state = eager.init(0)
    start = (eager.problem_at(state, torch.Generator()), state["theta"], state["opt_state"], state["phi"])
    assert not built_before(*start)
    compiled.update(state)
    assert built_before(*start)
