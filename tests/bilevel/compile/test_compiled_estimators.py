"""Compiled estimators give what eager ones give, for every estimator, optimizer, form of data and of members.

Graphs of plain tensors are run as they are here; that their machine code agrees too is for
`test_compiled_packages`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torchopt
from torch import Tensor

from bilevel.compile import Compiled
from bilevel.compile import _c_source as c_source
from bilevel.compile import _solve as solve
from bilevel.core import inner_step, leaves
from bilevel.hypergradient import (
    BilevelProblem,
    Estimate,
    FixedData,
    Forward,
    Implicit,
    OneStep,
    Truncated,
    Unrolled,
)
from bilevel.optimizers import (
    adam,
    adamw,
    chain,
    clip_by_norm,
    clip_by_value,
    momentum,
    per_member,
    rmsprop,
    sgd,
)

ESTIMATORS: dict[str, Any] = {
    "unrolled": Unrolled(),
    "segments": Unrolled(segments="sqrt"),
    "truncated": Truncated(steps=2),
    "one-step": OneStep(),
    "forward": Forward(),
    "forward of members": Forward(batch_dims=1),
    "implicit": Implicit(max_distance=torch.inf),
    "implicit of members": Implicit(max_distance=torch.inf, batch_dims=1, solver="normal-cg"),
}
OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "sgd": lambda: sgd(0.1),
    "momentum": lambda: momentum(0.1, 0.9),
    "adam": lambda: adam(0.1),
    "adamw": lambda: adamw(0.1, weight_decay=0.1),
    "rmsprop": lambda: rmsprop(0.1),
    "clipped by norm": lambda: chain(clip_by_norm(0.5), sgd(0.1)),
    "clipped by each member's norm": lambda: per_member(chain(clip_by_norm(0.5), sgd(0.1))),
    "clipped by value": lambda: chain(clip_by_value(0.5), sgd(0.1)),
    "adam of each member": lambda: per_member(adam(0.1)),
    "torchopt sgd": lambda: torchopt.sgd(0.1, momentum=0.9),
    "torchopt adam": lambda: torchopt.adam(0.1),
    "torchopt rmsprop": lambda: torchopt.rmsprop(0.1),
}

SGD = sgd(0.05)
MIX = torch.tensor([1.0, 0.5], dtype=torch.float64)

pytestmark = pytest.mark.usefixtures("built")


class Begun(NamedTuple):
    problem: BilevelProblem
    theta: Any
    opt_state: Any
    phi: Any


def begin(problem: BilevelProblem, theta: Any, phi: Any, opt_state: Any = ()) -> Begun:
    """A start; sgd's state is always the same."""
    return Begun(problem, theta, opt_state or SGD.init(theta), phi)


def both(estimator: Any, start: Any, steps: int = 4) -> tuple[Estimate, Estimate]:
    """What an estimator gives with and without compiling."""
    found = [
        (Compiled(estimator) if choice else estimator)(
            start.problem, start.theta, start.opt_state, start.phi, steps=steps
        )
        for choice in (True, False)
    ]
    return found[0], found[1]


def assert_same(found: Estimate, expected: Estimate, tolerance: float = 1e-12) -> None:
    for name in ("gradient", "outer_loss", "theta", "opt_state"):
        parts = zip(leaves(getattr(found, name)), leaves(getattr(expected, name)), strict=True)
        for one, other in parts:
            assert one.shape == other.shape
            assert one.dtype == other.dtype
            scale = float(other.abs().max()) if other.numel() else 0.0
            torch.testing.assert_close(one, other, rtol=0, atol=tolerance * max(scale, 1e-30), equal_nan=True)


@pytest.mark.parametrize("per_agent_objective", [False, True], ids=["one", "several"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator(
    name: str, per_agent_objective: bool, start: Callable[..., Any], built: list[str]
) -> None:
    found, expected = both(ESTIMATORS[name], start(per_agent_objective=per_agent_objective))
    assert_same(found, expected, 1e-10 if "implicit" in name else 1e-12)
    assert built


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(name: str, start: Callable[..., Any], built: list[str]) -> None:
    problem = start(OPTIMIZERS[name]())
    for _ in range(2):
        assert_same(*both(Unrolled(), problem))
    assert built


@pytest.mark.parametrize("name", ["unrolled", "forward", "truncated"])
def test_single_precision(name: str, start: Callable[..., Any]) -> None:
    found, expected = both(ESTIMATORS[name], start(adam(0.1), dtype=torch.float32))
    assert found.gradient.dtype == torch.float32
    assert_same(found, expected, 2e-5)


@pytest.mark.parametrize("members", [None, 1, 2, 7])
def test_any_number_of_members(members: int | None, start: Callable[..., Any]) -> None:
    assert_same(*both(Unrolled(), start(adam(0.1), members=members)))


def test_a_window_slides(start: Callable[..., Any]) -> None:
    problem, theta, opt_state, phi = start(adam(0.1))
    gradients = []
    for choice in (True, False):
        estimator = Compiled(Truncated(steps=5, window=True)) if choice else Truncated(steps=5, window=True)
        first, state = estimator.estimate(problem, theta, opt_state, phi, steps=2)
        second, _ = estimator.estimate(problem, first.theta, first.opt_state, phi + 0.1, state, steps=2)
        gradients.append(second.gradient)
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


def test_no_package_is_built_for_another_number_of_members(
    start: Callable[..., Any], built: list[str], as_new: Callable[[], None]
) -> None:
    estimator = Compiled(Unrolled())
    for members in (3, 8, 5, 200):
        assert_same(*both(estimator, start(adam(0.1), members=members)))
        assert len(built) == 1
    as_new()
    assert_same(*both(estimator, start(adam(0.1), members=4)))
    assert len(built) == 1


def test_what_is_plain_has_a_package_for_each_number_of_members(
    built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members that a plain package was not made for would be read from beyond its tensors."""
    monkeypatch.setattr(c_source, "MAX_SCALARS", 10)
    monkeypatch.setattr(solve, "MAX_WHOLE", 0)
    for count, members in ((3, 2), (6, 3), (6, 2)):
        assert_same(*both(Unrolled(), coupled(members)), 1e-12)
        assert len(built) == count


def coupled(members: int) -> Any:
    """Members that see each other's mean."""
    generator = torch.Generator().manual_seed(members)
    theta = torch.randn(members, 2, generator=generator, dtype=torch.float64)

    def loss(theta: Tensor, phi: Tensor, data: None) -> Tensor:
        return ((theta - phi) * MIX).square().sum(-1) + (theta - theta.mean(0)).pow(4).sum(-1)

    problem = BilevelProblem(
        step=inner_step(loss, SGD), outer_loss=lambda theta, phi, data: (theta.mean() - phi) ** 2
    )
    return begin(problem, theta, theta.cos())


@pytest.mark.parametrize("outer", ["mean", "sum"])
def test_members_that_meet_are_not_taken_for_independent(outer: str) -> None:
    theta = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(4, 2)

    def loss(theta: Tensor, phi: Tensor, data: None) -> Tensor:
        return (theta - phi).square().sum(-1) * theta.mean().exp()

    def outer_loss(theta: Tensor, phi: Tensor, data: None) -> Tensor:
        return getattr(theta.square(), outer)()

    start = begin(BilevelProblem(step=inner_step(loss, SGD), outer_loss=outer_loss), theta, theta.sin())
    assert_same(*both(Unrolled(), start))


def test_numbers_that_all_members_share() -> None:
    """0-dim outer variables: their gradient is the sum over members, through every step."""
    theta = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)
    phi = {"pull": torch.tensor(0.5, dtype=torch.float64), "to": torch.ones(3, dtype=torch.float64)}

    def loss(theta: Tensor, phi: Any, data: None) -> Tensor:
        return phi["pull"] * (theta - phi["to"].unsqueeze(-1)).square().sum(-1)

    problem = BilevelProblem(
        step=inner_step(loss, sgd(0.1)), outer_loss=lambda theta, phi, data: theta.pow(3).sum(-1)
    )
    assert_same(*both(Unrolled(), begin(problem, theta, phi)))


def test_trees_of_tensors_and_networks() -> None:
    """Shapes without a common axis: the whole problem is one member, or goes as plain tensors."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    theta = {"in": draw(3, 4), "out": (draw(4), draw(1))}
    phi = {"weights": draw(5), "decay": draw(())}
    x, y = draw(5, 3), draw(5)

    def predict(theta: Any) -> Tensor:
        return torch.tanh(x @ theta["in"]) @ theta["out"][0] + theta["out"][1]

    def loss(theta: Any, phi: Any, data: None) -> Tensor:
        fit = phi["weights"].sigmoid() * (predict(theta) - y) ** 2
        return fit.sum() + phi["decay"].exp() * sum(leaf.square().sum() for leaf in leaves(theta))

    def outer_loss(theta: Any, phi: Any, data: None) -> Tensor:
        return (predict(theta) - y).square().mean()

    optimizer = adam(0.05)
    problem = BilevelProblem(step=inner_step(loss, optimizer), outer_loss=outer_loss)
    start = begin(problem, theta, phi, optimizer.init(theta))
    for _ in range(2):
        assert_same(*both(Unrolled(), start))
    assert_same(*both(Forward(), start))


@pytest.mark.parametrize("source", ["always", "drawn", "changing shape"])
def test_data_of_steps(source: str, start: Callable[..., Any]) -> None:
    _, theta, opt_state, phi = start()
    generator = torch.Generator().manual_seed(7)
    lots = [torch.randn(3, 2, generator=generator, dtype=torch.float64) for _ in range(4)]
    if source == "changing shape":
        lots[2] = torch.cat((lots[2], lots[2]), 1)
    always, last = FixedData(lots[0]), FixedData({"target": lots[1]})

    def loss(theta: Tensor, phi: Tensor, data: Tensor) -> Tensor:
        return ((theta - data[:, :2]) ** 2 * phi[:, :2].exp()).sum(-1)

    def outer_loss(theta: Tensor, phi: Tensor, data: Any) -> Tensor:
        return (theta - data["target"]).square().sum(-1)

    problem = BilevelProblem(
        step=inner_step(loss, sgd(0.1)),
        outer_loss=outer_loss,
        inner_data=always if source == "always" else lambda theta, phi, k: lots[k],
        outer_data=last if source == "always" else lambda theta, phi: {"target": lots[3]},
    )
    for estimator in (Unrolled(), Truncated(steps=2), Forward()):
        for _ in range(2):
            assert_same(*both(estimator, begin(problem, theta, phi, opt_state)))


def test_integer_data_that_pick_entries_go_as_plain_tensors(built: list[str]) -> None:
    theta = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4)
    actions = torch.tensor([[0, 3], [2, 1], [1, 1]])

    def loss(theta: Tensor, phi: Tensor, data: Tensor) -> Tensor:
        return -(theta.log_softmax(-1).gather(-1, data) * phi).sum(-1)

    problem = BilevelProblem(
        step=inner_step(loss, sgd(0.1)),
        outer_loss=lambda theta, phi, data: theta.square().sum(-1),
        inner_data=lambda theta, phi, k: actions,
    )
    assert_same(*both(Unrolled(), begin(problem, theta, theta[:, :2].exp())))
    suffixes = [name.partition(".")[2] for name in built]
    assert suffixes == ["pt2", "so", "pt2"]  # the step, the outer loss, the vector-Jacobian product


def test_inputs_may_lie_anyhow_in_memory(start: Callable[..., Any]) -> None:
    given = start(members=3)
    turned = given._replace(theta=given.theta.T.contiguous().T, phi=given.phi.expand(3, 3).T.contiguous().T)
    assert not turned.theta.is_contiguous()
    for _ in range(2):
        assert_same(*both(Unrolled(), turned))


@pytest.mark.parametrize("name", ["radam", "adamax"])
def test_python_numbers_in_the_state_are_refused(name: str, start: Callable[..., Any]) -> None:
    problem, theta, opt_state, phi = start(getattr(torchopt, name)(0.1))
    with pytest.raises(
        ValueError, match=r"cannot be compiled: .* hold a Python int .*leave it uncompiled"
    ) as error:
        Compiled(Unrolled())(problem, theta, opt_state, phi, steps=2)
    assert str(error.value).count(".") <= 3
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("estimator", [Unrolled(), Truncated(steps=2), Forward()], ids=repr)
def test_a_step_that_is_no_pure_function_is_refused(estimator: Any, start: Callable[..., Any]) -> None:
    problem, theta, opt_state, phi = start()

    def noisy(*inputs: Any) -> Any:
        theta, opt_state = problem.step(*inputs)
        return theta + torch.randn_like(theta), opt_state

    impure = dataclasses.replace(problem, step=noisy)
    for _ in range(2):
        with pytest.raises(ValueError, match="not a pure function"):
            Compiled(estimator)(impure, theta, opt_state, phi, steps=2)


def test_what_changes_gets_a_package_of_its_own(built: list[str], as_new: Callable[[], None]) -> None:
    """A name that misses a change costs a trace, not a wrong gradient."""
    theta = torch.ones(3, 2, dtype=torch.float64)
    box = {"factor": torch.ones(2, dtype=torch.float64)}

    class Slotted:
        __slots__ = ()

        def __repr__(self) -> str:
            return "always the same"

        def __call__(self, theta: Tensor) -> Tensor:
            return box["factor"] * theta

    slotted = Slotted()
    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: (slotted(theta) - phi).square().sum(-1), sgd(0.1)),
        outer_loss=lambda theta, phi, data: theta.sum(-1),
    )
    start = begin(problem, theta, theta.cos())
    for factor in (1.0, 2.0):
        box["factor"] = torch.full((2,), factor, dtype=torch.float64)
        as_new()
        assert_same(*both(Unrolled(), start))
    assert len(built) == 2


def test_an_outer_loss_that_does_not_depend_on_theta_says_so(start: Callable[..., Any]) -> None:
    problem, theta, opt_state, phi = start()
    blind = dataclasses.replace(problem, outer_loss=lambda theta, phi, data: phi.sum(-1))
    with pytest.raises(ValueError, match="outer loss does not depend on theta"):
        Compiled(Unrolled())(blind, theta, opt_state, phi, steps=2)
