"""Compiled where the time saved over the rest of a run exceeds what compiling costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from bilevel import compile as compilation
from bilevel.compile import _aoti as aoti
from bilevel.compile import _cache as cache
from bilevel.compile._forecast import Forecast
from bilevel.experiments import _execution as execution
from bilevel.experiments import default_config
from bilevel.experiments._execution import LOADING, execution_mode, worth_compiling


def learner(method: str = "tos", *, game: str = "chicken", settings: Mapping[str, Any] | None = None) -> Any:
    chosen = default_config(game, method)
    return chosen.method.with_settings(settings or {}).build(chosen.game, chosen.placement)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """An estimate takes a second."""
    times = iter(range(1000))
    monkeypatch.setattr(execution.time, "perf_counter", lambda: float(next(times)))


def expect(monkeypatch: pytest.MonkeyPatch, expected: Forecast | None, *, there: bool = False) -> None:
    monkeypatch.setattr(compilation, "forecast", lambda *_: expected)
    monkeypatch.setattr(compilation, "built_before", lambda *_: there)
    monkeypatch.setattr(compilation, "build_solve", lambda *_: True)


@pytest.mark.parametrize(
    ("outer_steps", "seconds", "there", "expected"),
    [
        (100, 49.7, False, True),  # half of 100 s, but for loading, is more than 49.7 s
        (100, 49.9, False, False),
        (100, 49.9, True, True),
        (1, 0.4, True, True),  # half of a second pays for loading
        (1, 0.4, False, False),
    ],
)
def test_it_is_won_back_in_what_is_left_of_the_run(
    outer_steps: int,
    seconds: float,
    there: bool,
    expected: bool,
    clock: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert LOADING == 0.2
    expect(monkeypatch, Forecast(seconds, 0.5), there=there)
    tos = learner()
    state = tos.init(0)
    assert worth_compiling(tos, state, outer_steps) is expected
    later = {**state, "outer_step": torch.tensor(outer_steps)}
    assert not worth_compiling(tos, later, outer_steps)


def test_steps_without_a_hypergradient_are_not_counted(clock: None, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, Forecast(10.0, 0.5))
    staged = learner(settings={"training": "staged", "training.outer_steps": 20})
    assert not worth_compiling(staged, staged.init(0), 1000)
    assert not worth_compiling(learner("selfish"), learner("selfish").init(0), 1000)


def test_what_cannot_be_compiled_is_not(clock: None, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, None)
    tos = learner()
    assert not worth_compiling(tos, tos.init(0), 10**6)
    assert execution_mode(tos) == execution_mode(learner("selfish")) == ""


@pytest.mark.parametrize("estimator", ["evolution", "finite-difference", "persistent-evolution"])
def test_estimators_that_step_one_by_one_are_compiled_on_request_alone(
    estimator: str, clock: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect(monkeypatch, Forecast(0.0, 1.0), there=True)
    tos = learner(settings={"outer.hypergradient": estimator})
    assert not worth_compiling(tos, tos.init(0), 10**6)


@pytest.mark.parametrize(
    ("game", "expected"), [("chicken", True), ("repeated-public-goods", False), ("braess", False)]
)
def test_what_is_too_large_for_c_stays_eager(
    game: str, expected: bool, clock: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All three are forecast to be small; PyTorch's compiler takes half a minute for the last two."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "packages"))
    monkeypatch.setattr(aoti, "compile_graph", None)
    tos = learner(game=game)
    assert worth_compiling(tos, tos.init(0), 10**6) is expected
