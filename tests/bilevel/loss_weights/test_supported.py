"""Optimizers that are not torch's own class: subclasses, hooks, patched steps, wrappers, gradient scalers."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bilevel.loss_weights import LossWeightTuner
from bilevel.loss_weights._lifted import rule_of, unwrapped
from bilevel.loss_weights._torch_steps import RULES
from tests.bilevel.loss_weights.loops import Regression, regression
from tests.bilevel.loss_weights.test_tuner import parameters, two_weights


class Labeled(torch.optim.AdamW):
    """Adds things, and overrides nothing of the step."""

    label = "mine"

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)

    def rate(self) -> float:
        return float(self.param_groups[0]["lr"])


class Centralized(torch.optim.SGD):
    """Takes another step."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                p.grad -= p.grad.mean()
        return super().step(closure)


class OtherState(torch.optim.Adam):
    def _init_group(self, *arguments: Any) -> Any:
        return super()._init_group(*arguments)


def tuner_with(task: Regression, optimizer: torch.optim.Optimizer, rate: float = 0.1) -> LossWeightTuner:
    weights = two_weights()
    outer = torch.optim.SGD(weights.parameters(), lr=rate)
    return LossWeightTuner(task.model, optimizer, weights, outer)


def test_a_subclass_that_leaves_the_step_as_it_is_is_its_base() -> None:
    found = []
    for cls in (torch.optim.AdamW, Labeled):
        task = regression()
        tuner = tuner_with(task, cls(task.model.parameters(), lr=0.1))
        for index in range(2):
            tuner.step(task.loss_of(index), task.validation)
        found.append((parameters(task.model), parameters(tuner.weights)))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize(
    ("cls", "sentence"),
    [
        (Centralized, "Centralized overrides step of SGD, so that its steps may be others"),
        (OtherState, "OtherState overrides _init_group of Adam, so that"),
    ],
)
def test_a_subclass_that_may_take_another_step_is_refused_by_name(cls: Any, sentence: str) -> None:
    task = regression()
    with pytest.raises(ValueError, match=sentence):
        tuner_with(task, cls(task.model.parameters(), lr=0.1))


def test_what_is_hung_on_the_step_later_is_refused_and_nothing_has_moved() -> None:
    task = regression()
    optimizer = torch.optim.SGD(task.model.parameters(), lr=0.1)
    tuner = tuner_with(task, optimizer)
    tuner.step(task.losses, task.validation)
    before = copy.deepcopy(task.model.state_dict())

    def halve(*_: Any) -> None:
        for p in task.model.parameters():
            p.grad.mul_(0.5)  # type: ignore[union-attr]

    handle = optimizer.register_step_pre_hook(halve)
    with pytest.raises(
        ValueError, match=r"has a hook around its step \(.*halve\), which virtual steps do not"
    ):
        tuner.step(task.losses, task.validation)
    handle.remove()
    plain = optimizer.step
    optimizer.step = lambda closure=None: None  # type: ignore[method-assign, assignment]
    with pytest.raises(ValueError, match="SGD overrides step of SGD"):
        tuner.step(task.losses, task.validation)
    optimizer.step = plain  # type: ignore[method-assign]
    assert all(
        torch.equal(a, b) for a, b in zip(before.values(), task.model.state_dict().values(), strict=True)
    )
    tuner.step(task.losses, task.validation)


def test_schedulers_wrap_the_step_and_change_nothing_of_it() -> None:
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=0.1)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    assert rule_of(optimizer) is RULES[torch.optim.Adam]


@pytest.mark.parametrize("where", ["training", "validation"])
def test_scaled_losses_are_refused_before_anything_has_changed(where: str) -> None:
    task, scaler = regression(nn.BatchNorm1d(4)), torch.amp.GradScaler("cpu")
    tuner, before = tuner_with(task, torch.optim.SGD(task.model.parameters(), lr=0.1)), None
    before = copy.deepcopy(task.model.state_dict())

    def losses() -> dict[str, Tensor]:
        return {n: scaler.scale(v) if where == "training" else v for n, v in task.losses().items()}

    def validation() -> Tensor:
        return scaler.scale(task.validation()) if where == "validation" else task.validation()

    with pytest.raises(
        ValueError, match=r"A GradScaler cannot be used .* use torch\.autocast with dtype=torch"
    ):
        tuner.step(losses, validation)
    assert all(
        torch.equal(a, b) for a, b in zip(before.values(), task.model.state_dict().values(), strict=True)
    )
    assert scaler.scale(torch.ones(1)).item() == 65536


def test_a_scaler_that_is_switched_off_is_let_through() -> None:
    task, scaler = regression(), torch.amp.GradScaler("cpu", enabled=False)
    tuner = tuner_with(task, torch.optim.SGD(task.model.parameters(), lr=0.1))
    tuner.step(lambda: {n: scaler.scale(v) for n, v in task.losses().items()}, task.validation)


@pytest.fixture
def accelerate() -> Iterator[Any]:
    """The library, with none of its singletons left behind."""
    library = pytest.importorskip("accelerate")
    yield library
    for name in ("AcceleratorState", "GradientState", "PartialState"):
        getattr(library.state, name)._reset_state()


def test_accelerates_wrapper_steps_as_the_optimizer_inside(accelerate: Any) -> None:
    found = []
    for wrapped in (False, True):
        task = regression()
        optimizer: Any = torch.optim.Adam(task.model.parameters(), lr=0.1)
        scheduler: Any = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        if wrapped:
            accelerator = accelerate.Accelerator(cpu=True)
            task.model, optimizer, scheduler = accelerator.prepare(task.model, optimizer, scheduler)
            assert type(unwrapped(optimizer)) is torch.optim.Adam
        tuner = tuner_with(task, optimizer)
        for index in range(3):
            tuner.step(task.loss_of(index), task.validation)
            scheduler.step()
        found.append((parameters(task.model), parameters(tuner.weights), scheduler.get_last_lr()))
    plain, through = found
    assert torch.equal(plain[0], through[0])
    assert torch.equal(plain[1], through[1])
    assert plain[2] == through[2]


def test_a_step_that_accelerate_would_skip_is_refused(accelerate: Any) -> None:
    task = regression()
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    model, optimizer = accelerator.prepare(task.model, torch.optim.SGD(task.model.parameters(), lr=0.1))
    tuner, before = tuner_with(task, optimizer), parameters(task.model)
    with accelerator.accumulate(model), pytest.raises(ValueError, match=r"Accelerate skips this optimizer's"):
        tuner.step(task.losses, task.validation)
    assert torch.equal(parameters(task.model), before)


def test_accelerates_scaler_is_refused(accelerate: Any) -> None:
    task = regression()
    accelerate.Accelerator(cpu=True)
    inside = torch.optim.SGD(task.model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"A GradScaler cannot be used with learned weights"):
        tuner_with(
            task, accelerate.optimizer.AcceleratedOptimizer(inside, scaler=torch.amp.GradScaler("cpu"))
        )
