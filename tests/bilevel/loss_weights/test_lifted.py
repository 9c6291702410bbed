"""Lifted steps are torch's own, and their derivatives are those of what they do."""

import pytest
import torch
from torch import nn

from bilevel.loss_weights._lifted import RULES, LiftedOptimizer
from tests.bilevel.loss_weights.loops import OPTIMIZERS


def start() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [
        nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)) for shape in ((3,), ())
    ]


def loss(params: list[torch.Tensor], weight: torch.Tensor) -> torch.Tensor:
    first, second = params
    return weight * first.cos().sum() + 0.1 * (first.sum() - second).square().sum() + second.sin().sum()


def warmed(name: str, params: list[nn.Parameter], steps: int) -> torch.optim.Optimizer:
    optimizer = OPTIMIZERS[name](params)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(params, torch.tensor(1.0)).backward()
        optimizer.step()
    return optimizer


def after_steps(name: str, warm: int, weight: torch.Tensor) -> list[torch.Tensor]:
    params = start()
    step = LiftedOptimizer(warmed(name, params, warm))
    fast = [p.detach().clone().requires_grad_() for p in params]
    for _ in range(3):
        fast = step(loss(fast, weight), fast)
    return fast


def test_every_lifted_optimizer_is_tested() -> None:
    assert {type(make(start())) for make in OPTIMIZERS.values()} | {torch.optim.Muon} == set(RULES)


@pytest.mark.parametrize("warm", [0, 2])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_torchs(name: str, warm: int) -> None:
    params = start()
    optimizer = warmed(name, params, warm)
    expected = after_steps(name, warm, torch.tensor(1.5).double())
    for _ in range(3):
        optimizer.zero_grad()
        loss(params, torch.tensor(1.5)).backward()
        optimizer.step()
    for ours, theirs in zip(expected, params, strict=True):
        # Of the averaged one torch rounds the step size to float32.
        torch.testing.assert_close(ours, theirs.detach(), rtol=0, atol=1e-7 if name == "asgd" else 1e-13)


@pytest.mark.parametrize("warm", [0, 2])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_derivatives_are_those_of_the_steps(name: str, warm: int) -> None:
    weight = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda w: torch.hstack(after_steps(name, warm, w)), (weight,), atol=1e-7, check_undefined_grad=False
    )


def test_groups_keep_their_settings_and_learning_rates_can_be_learned() -> None:
    params = start()
    optimizer = torch.optim.SGD([{"params": params[:1], "lr": 0.1}, {"params": params[1:], "lr": 0.2}])
    rates = [torch.tensor(rate, dtype=torch.float64, requires_grad=True) for rate in (0.1, 0.2)]
    groups = [{**g, "lr": rate} for g, rate in zip(optimizer.param_groups, rates, strict=True)]
    step = LiftedOptimizer(optimizer, groups=groups)
    first, second = step(params[0].sum() + 3 * params[1].sum(), params)
    torch.testing.assert_close(first, params[0] - 0.1, rtol=0, atol=1e-15)
    torch.testing.assert_close(second, params[1] - 0.6, rtol=0, atol=1e-15)
    gradients = torch.autograd.grad(first.sum() + second.sum(), rates)
    torch.testing.assert_close(torch.stack(gradients), torch.tensor([-3.0, -3.0]).double())


def test_what_cannot_be_lifted_is_refused() -> None:
    with pytest.raises(ValueError, match=r"The steps of Rprop cannot be differentiated; those of SGD, Adam,"):
        LiftedOptimizer(torch.optim.Rprop(start()))
    with pytest.raises(ValueError, match=r"This SGD ascends \(maximize=True\)"):
        LiftedOptimizer(torch.optim.SGD(start(), lr=0.1, maximize=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_parameter_that_joined_later_has_a_count_of_its_own(name: str) -> None:
    params = start()
    optimizer = warmed(name, params, 2)
    optimizer.state.pop(params[1], None)  # as if it had no gradient until now
    if name == "adagrad":
        optimizer.state[params[1]] = {"step": torch.tensor(0.0), "sum": torch.zeros_like(params[1])}
    step = LiftedOptimizer(optimizer)
    fast = [p.detach().clone().requires_grad_() for p in params]
    for _ in range(2):
        fast = step(loss(fast, torch.tensor(1.5)), fast)
        optimizer.zero_grad()
        loss(params, torch.tensor(1.5)).backward()
        optimizer.step()
    for ours, theirs in zip(fast, params, strict=True):
        torch.testing.assert_close(
            ours, theirs, rtol=0, atol=1e-7 if name == "asgd" else 1e-13, check_dtype=True
        )


def test_adams_flag_of_decoupled_decay_is_seen() -> None:
    params = start()
    optimizer = torch.optim.Adam(params, lr=0.1, weight_decay=0.5, decoupled_weight_decay=True)
    found = LiftedOptimizer(optimizer)(loss(params, torch.tensor(1.0)), params)
    loss(params, torch.tensor(1.0)).backward()
    optimizer.step()
    for ours, theirs in zip(found, params, strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=0, atol=1e-14)


def test_where_nothing_was_descended_the_derivative_is_finite() -> None:
    """Adam's root at 0, as of inputs that are always 0."""
    p, w = torch.zeros(2, requires_grad=True), torch.ones((), requires_grad=True)
    (after,) = LiftedOptimizer(torch.optim.Adam([p], lr=0.1))(w * p[0], [p])
    (gradient,) = torch.autograd.grad(after.sum(), w)
    assert gradient.isfinite()
