"""A whole solve in C gives what `Unrolled` gives step by step, whatever the state, data and outer loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchopt
from torch import Tensor

from bilevel.compile import Compiled
from bilevel.compile import _c_source as c_source
from bilevel.compile import _solve as solving
from bilevel.compile._solve import solve
from bilevel.core import inner_step, leaves
from bilevel.hypergradient import (
    BilevelProblem,
    FixedData,
    Forward,
    OneStep,
    RecordedData,
    Truncated,
    Unrolled,
)
from bilevel.optimizers import adam, momentum, rmsprop, sgd

pytestmark = pytest.mark.usefixtures("built")  # what C cannot hold is traced, not compiled


def assert_solved(start: Any, steps: int, tolerance: float = 1e-12) -> None:
    problem, *inputs = start
    found = solve(problem, *inputs, steps)
    assert found is not None
    expected = Unrolled()(problem, *inputs, steps=steps)
    for name in ("gradient", "outer_loss", "theta", "opt_state", "inner_data", "outer_data"):
        parts = zip(leaves(getattr(found, name)), leaves(getattr(expected, name)), strict=True)
        for one, other in parts:
            assert (one.shape, one.dtype) == (other.shape, other.dtype)
            atol = tolerance * float(other.abs().max())
            torch.testing.assert_close(one, other, rtol=0, atol=atol, msg=name)


@pytest.mark.parametrize("per_agent_objective", [False, True], ids=["one", "several"])
@pytest.mark.parametrize("members", [None, 1, 2, 11])
def test_members_and_objectives(
    members: int | None, per_agent_objective: bool, start: Callable[..., Any]
) -> None:
    for steps in (1, 2, 5):
        assert_solved(start(members=members, per_agent_objective=per_agent_objective), steps)


@pytest.mark.parametrize(
    "optimizer",
    [momentum(0.1, 0.9), adam(0.1), rmsprop(0.1), torchopt.adam(0.1)],
    ids=["momentum", "adam", "rmsprop", "torchopt"],
)
def test_optimizers(optimizer: Any, start: Callable[..., Any]) -> None:
    assert_solved(start(optimizer, members=5), 4)


def test_single_precision(start: Callable[..., Any]) -> None:
    assert_solved(start(adam(0.1), members=20, dtype=torch.float32), 4, 2e-5)


@pytest.mark.parametrize(
    "estimator",
    [Truncated(steps=2), Truncated(steps=9), OneStep(), Forward(), Forward(batch_dims=1)],
    ids=repr,
)
def test_estimators_of_the_same_derivative_are_one_call(
    estimator: Any, start: Callable[..., Any], built: list[str]
) -> None:
    problem, *inputs = start(adam(0.1), members=6)
    found, expected = (each(problem, *inputs, steps=4) for each in (Compiled(estimator), estimator))
    torch.testing.assert_close(found.gradient, expected.gradient, rtol=1e-11, atol=1e-13)
    assert len(built) == 1


def test_forward_keeps_its_limit(start: Callable[..., Any]) -> None:
    problem, *inputs = start(members=6)
    with pytest.raises(ValueError, match="more than max_entries, 2"):
        Compiled(Forward(max_entries=2))(problem, *inputs, steps=4)


def with_data(inner: Any, outer: Any, members: int = 5) -> Any:
    """Two leaves of theta and a number that all members share, as outer variable."""
    generator = torch.Generator().manual_seed(3)
    theta = {"a": torch.randn(members, 2, generator=generator, dtype=torch.float64)}
    theta["b"] = torch.randn(members, generator=generator, dtype=torch.float64)
    phi = (torch.tensor(0.3, dtype=torch.float64), theta["a"].cos())

    def loss(theta: Any, phi: Any, data: Tensor) -> Tensor:
        weight, target = phi
        return weight * ((theta["a"] - target) ** 2).sum(-1) * data + (theta["b"] - data) ** 2 / 2

    def outer_loss(theta: Any, phi: Any, data: Tensor) -> Tensor:
        return (theta["a"][:, 0] * theta["a"][:, 1] * theta["b"] - data).square()

    problem = BilevelProblem(
        step=inner_step(loss, sgd(0.1)), outer_loss=outer_loss, inner_data=inner, outer_data=outer
    )
    return problem, theta, sgd(0.1).init(theta), phi


@pytest.mark.parametrize("recorded", [False, True], ids=["always", "recorded"])
def test_data_and_a_number_that_all_members_share(recorded: bool) -> None:
    lots = torch.linspace(0.5, 1, 20, dtype=torch.float64).reshape(4, 5)
    inner = RecordedData(tuple(lots)) if recorded else FixedData(lots[0])
    for steps in (1, 2, 4):
        assert_solved(with_data(inner, FixedData(lots[3])), steps)


def test_one_package_serves_any_number_of_steps_and_members(
    start: Callable[..., Any], built: list[str], as_new: Callable[[], None]
) -> None:
    for members, steps in ((2, 3), (9, 1), (300, 7)):
        as_new()
        assert_solved(start(adam(0.1), members=members), steps)
        assert len(built) == 1


def test_threads_share_the_members(start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    one = solve(*start(adam(0.1), members=3000), 3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    three = solve(*start(adam(0.1), members=3000), 3)
    assert one is not None
    assert three is not None
    assert torch.equal(one.gradient, three.gradient)
    assert torch.equal(one.theta, three.theta)


def test_data_that_are_drawn_go_step_by_step(built: list[str]) -> None:
    data = torch.ones(5, dtype=torch.float64)
    assert solve(*with_data(lambda theta, phi, k: data, FixedData(data)), 3) is None
    assert solve(*with_data(FixedData(data), lambda theta, phi: data), 3) is None
    assert solve(*with_data(RecordedData((data,)), FixedData(data)), 3) is None
    assert built == []


def test_members_that_meet_or_have_no_axis_in_common_are_one(
    start: Callable[..., Any], built: list[str]
) -> None:
    problem, theta, opt_state, phi = start()

    def meeting(theta: Tensor, opt_state: Any, phi: Tensor, data: None) -> Any:
        after, opt_state = problem.step(theta, opt_state, phi, data)
        return after - 0.1 * theta.mean(0), opt_state

    assert_solved((BilevelProblem(step=meeting, outer_loss=problem.outer_loss), theta, opt_state, phi), 3)
    x, y = torch.randn(2, 5, 3, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)
    ridge = BilevelProblem(
        step=inner_step(
            lambda theta, phi, data: ((data @ theta - y[0]) ** 2).mean() + (phi.exp() * theta**2).sum(),
            sgd(0.1),
        ),
        outer_loss=lambda theta, phi, data: ((x[1] @ theta - y[1]) ** 2).mean(),
        inner_data=FixedData(x[0]),
    )
    weights = torch.zeros(3, dtype=torch.float64)
    assert_solved((ridge, weights, sgd(0.1).init(weights), weights - 1), 4)
    assert {name.partition(".")[2] for name in built} == {"so"}


def test_what_is_too_large_for_c_is_one_graph_if_that_is_small(
    start: Callable[..., Any], built: list[str], monkeypatch: pytest.MonkeyPatch, as_new: Callable[[], None]
) -> None:
    monkeypatch.setattr(c_source, "MAX_SCALARS", 10)
    assert_solved(start(), 3)
    assert [name.partition(".")[2] for name in built] == ["pt2"]
    as_new()
    monkeypatch.setattr(solving, "MAX_WHOLE", 10)
    assert solve(*start(), 3) is None


def test_a_gradient_of_zero_is_left_to_the_long_way(start: Callable[..., Any]) -> None:
    problem, theta, opt_state, phi = start()
    flat = BilevelProblem(step=problem.step, outer_loss=lambda theta, phi, data: theta.sum(-1) * 0)
    assert solve(flat, theta, opt_state, phi, 3) is None
