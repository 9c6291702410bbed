"""NAdam, RAdam, Adafactor and Muon under all their settings, from any state in the middle of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bilevel.loss_weights._lifted import LiftedOptimizer
from tests.bilevel.loss_weights.reference import ESTIMATORS, SCENARIOS, STEPS, found
from tests.bilevel.loss_weights.scenarios import Loop, plain_step
from tests.bilevel.loss_weights.scenarios.data import loop_of

Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
DECAY = ({}, {"weight_decay": 0.1}, {"weight_decay": 0.1, "decoupled_weight_decay": True})
CASES: list[tuple[type[torch.optim.Optimizer], dict[str, Any]]] = [
    *((torch.optim.NAdam, {"momentum_decay": 0.2, "betas": (0.8, 0.9), **decay}) for decay in DECAY),
    (torch.optim.NAdam, {}),
    *((torch.optim.RAdam, {"betas": (0.8, 0.9), **decay}) for decay in DECAY),
    (torch.optim.RAdam, {"betas": (0.9, 0.6), "eps": 1e-2}),  # the average is never long enough
    (torch.optim.RAdam, {"foreach": True, "betas": (0.8, 0.9)}),
    (torch.optim.Adafactor, {}),
    (torch.optim.Adafactor, {"weight_decay": 0.1, "lr": 0.9}),
    (torch.optim.Adafactor, {"eps": (0.01, 0.5), "d": 2.0, "beta2_decay": -0.5}),
    (torch.optim.Muon, {}),
    (torch.optim.Muon, {"nesterov": False, "weight_decay": 0.0, "adjust_lr_fn": "match_rms_adamw"}),
    (torch.optim.Muon, {"momentum": 0.5, "ns_steps": 3, "ns_coefficients": (3.0, -4.0, 2.0)}),
]


def parameters(cls: type, dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4), (4, 2), (2, 2)] + ([] if cls is torch.optim.Muon else [(3,), (), (2, 3, 2)])
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return [nn.Parameter(values.to(dtype)) for values in drawn]


def loss(params: list[Tensor], weight: Tensor) -> Tensor:
    own = torch.stack([weight * p.cos().sum() + 0.1 * (p - 1).square().sum() for p in params]).sum()
    return own + 0.1 * params[0].sum() * params[1].sum()


def descend(optimizer: torch.optim.Optimizer, params: list[nn.Parameter], weight: float, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        loss(list(params), torch.tensor(weight)).backward()
        optimizer.step()


@pytest.mark.parametrize("warm", [0, 1, 8])
@pytest.mark.parametrize(("cls", "settings"), CASES)
def test_steps_are_torchs_to_rounding(cls: Any, settings: dict[str, Any], warm: int) -> None:
    params = parameters(cls)
    optimizer = cls(params, **{"lr": 0.05, **settings})
    descend(optimizer, params, 1.0, warm)
    step, weight = LiftedOptimizer(optimizer), torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    fast: list[Tensor] = [p.detach().clone().requires_grad_() for p in params]
    for _ in range(3):
        fast = step(loss(fast, weight), fast)
    descend(optimizer, params, 1.5, 3)
    for ours, theirs in zip(fast, params, strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-13, atol=1e-14)
    (slope,) = torch.autograd.grad(torch.stack([p.sum() for p in fast]).sum(), weight)
    assert slope.isfinite()
    assert slope != 0


def test_muon_in_bfloat16_divides_its_trace_as_torch_does() -> None:
    params = parameters(torch.optim.Muon, torch.bfloat16)
    optimizer = torch.optim.Muon(params, lr=0.05, nesterov=False, weight_decay=0.0)
    descend(optimizer, params, 1.0, 1)
    step, fast = LiftedOptimizer(optimizer), [p.detach().clone().requires_grad_() for p in params]
    for _ in range(2):
        fast = step(loss(fast, torch.tensor(1.5)), fast)  # type: ignore[assignment]
    descend(optimizer, params, 1.5, 2)
    for ours, theirs, index in zip(fast, params, range(3), strict=True):
        assert torch.equal(ours, theirs)
        assert torch.equal(
            step.state[0][index]["momentum_buffer"], optimizer.state[theirs]["momentum_buffer"]
        )


def test_a_loaded_nadam_goes_on_in_the_precision_that_torch_loads() -> None:
    params = parameters(torch.optim.NAdam)
    saved = torch.optim.NAdam(params, lr=0.05)
    descend(saved, params, 1.0, 2)
    optimizer = torch.optim.NAdam(params, lr=0.05)
    optimizer.load_state_dict(saved.state_dict())
    assert optimizer.state[params[0]]["mu_product"].dtype is torch.float64
    step, fast = LiftedOptimizer(optimizer), [p.detach().clone().requires_grad_() for p in params]
    for _ in range(3):
        fast = step(loss(fast, torch.tensor(1.5)), fast)  # type: ignore[arg-type, assignment]
    descend(optimizer, params, 1.5, 3)
    for ours, theirs in zip(fast, params, strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-13, atol=1e-14)


def muon_loop() -> Loop:
    net = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 2, bias=False))
    loop = loop_of(net, lambda p: torch.optim.Muon(p, lr=0.1))
    plain_step(loop, 3)
    return loop


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_muon_without_its_rounding_is_right_or_refused(
    estimator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch iterates in bfloat16, whose steps have no slope; in float64 differences through them exist."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", Tensor.clone)
    monkeypatch.setitem(SCENARIOS, "muon without its rounding", muon_loop)
    for steps in STEPS:
        cell = found("muon without its rounding", estimator, steps)
        assert cell.outcome in ("right", "refused"), cell


def test_muons_derivative_is_that_of_the_iteration_without_rounding() -> None:
    """The value is torch's own, and as good as the same at the scale of the derivative."""
    found = {}
    for rounded in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not rounded:
                patch.setattr(torch.Tensor, "bfloat16", Tensor.clone)
            params, weight = parameters(torch.optim.Muon), torch.tensor(1.5).double().requires_grad_()
            step = LiftedOptimizer(torch.optim.Muon(params, lr=0.05))
            after = step(loss(list(params), weight), params)
            found[rounded] = torch.autograd.grad(torch.stack([p.sum() for p in after]).sum(), weight)[0]
    torch.testing.assert_close(found[True], found[False], rtol=1e-12, atol=0)
