"""A function in C gives what it gives eagerly; outer steps use one to move outer variables and to measure."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bilevel.compile import CompiledFunction
from bilevel.experiments import default_config
from bilevel.methods import OuterLearner


def moments(state: dict[str, Tensor], rate: Tensor, power: int) -> dict[str, Any]:
    """A tree of every kind of leaf: by member, shared, counted."""
    x = state["x"]
    return OrderedDict(
        up=x + rate * x.sin().sum(-1, keepdim=True), count=state["count"] + 1, pair=(x**power, x.sum())
    )


def inputs(members: int, dtype: torch.dtype = torch.float64) -> tuple[dict[str, Tensor], Tensor]:
    x = torch.linspace(-2, 3, members * 4, dtype=dtype).reshape(members, 4)
    return {"x": x, "count": torch.tensor(3)}, torch.tensor(0.5, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("members", [1, 2, 9])
def test_same_results_in_the_same_tree(members: int, dtype: torch.dtype, built: list[str]) -> None:
    function = CompiledFunction(lambda state, rate: moments(state, rate, 3), "moments")
    given = inputs(members, dtype)
    found, expected = function(*given), moments(*given, 3)
    assert list(found) == ["up", "count", "pair"]
    torch.testing.assert_close(found, expected)
    assert len(built) == 1


def test_one_package_for_any_number_of_members(built: list[str]) -> None:
    function = CompiledFunction(lambda x: 2 * x, "double")
    for shape in ((3, 2), (5, 2), (3, 4), (3, 2)):
        assert torch.equal(function(torch.ones(shape)), torch.full(shape, 2.0))
    assert len(built) == 2, "one for rows of 2, one for rows of 4"


def test_leaves_that_are_not_contiguous(built: list[str]) -> None:
    x = torch.arange(6.0).reshape(2, 3).T
    assert torch.equal(CompiledFunction(lambda x: 2 * x, "double")(x), 2 * x)
    assert len(built) == 1


def test_what_cannot_be_written_in_c_runs_eagerly_and_the_log_says_so(
    built: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    function = CompiledFunction(lambda x: x.sort(-1).values, "sorting")
    with caplog.at_level("DEBUG", "bilevel.compiled"):
        assert function(torch.tensor([[2.0, 1.0]])).tolist() == [[1.0, 2.0]]
    assert "The sorting runs eagerly" in caplog.text
    assert not built
    assert not function.failed


def test_without_a_compiler_it_runs_eagerly_and_can_be_asked(
    built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "/nowhere/cc")
    function = CompiledFunction(lambda x: 2 * x, "double")
    assert torch.equal(function(torch.ones(2, 2)), torch.full((2, 2), 2.0))
    assert function.failed


@pytest.mark.parametrize("game", ["repeated-prisoners-dilemma", "public-goods", "chicken"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"outer.optimizer": "sgd", "cost_weight": 0.1}, {"training": "alternating", "training.rounds": 2}],
    ids=str,
)
def test_outer_steps_move_and_measure_as_eagerly(
    game: str, changes: dict[str, Any], shared_cache: Path
) -> None:
    config = default_config(game, "tos")
    config = dataclasses.replace(config, seeds=3)
    chosen = config.method.with_settings(changes)
    eager, compiled = (
        chosen.build(config.game, dataclasses.replace(config.placement, compile=request))
        for request in (False, True)
    )
    assert isinstance(compiled, OuterLearner)
    assert isinstance(compiled.outer_update, CompiledFunction)
    state, other = eager.init(0), compiled.init(0)
    for _ in range(3):
        (state, expected), (other, found) = eager.update(state), compiled.update(other)
        assert list(found) == list(expected)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    for name in ("phi", "outer_opt_state"):
        torch.testing.assert_close(other[name], state[name], rtol=1e-9, atol=1e-12)
    assert all(compiled.outer_update._found.values()), "the outer update ran eagerly"
