"""What the tuner refuses, in one sentence, before the model has changed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bilevel.loss_weights import (
    FixedWeights,
    HyperParameter,
    LossWeights,
    LossWeightTuner,
    Reweighter,
    Trainer,
)
from tests.bilevel.loss_weights.loops import Regression, regression

NAMES = ("square", "large")


def build(task: Regression, **changed: Any) -> LossWeightTuner:
    weights = changed.pop("weights", None) or LossWeights(NAMES).double()
    given: dict[str, Any] = {
        "model": task.model,
        "optimizer": torch.optim.SGD(task.model.parameters(), lr=0.1),
        "weights": weights,
        "outer_optimizer": torch.optim.Adam(weights.parameters(), lr=0.1),
    }
    return LossWeightTuner(**{**given, **changed})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"virtual_steps": 0}, "virtual_steps must be a whole number, 1 or more, not 0"),
        ({"every": 1.5}, r"every must be a whole number, 1 or more, not 1\.5"),
        ({"accumulate": -1}, "accumulate must be a whole number, 1 or more, not -1"),
        ({"estimator": "unroled"}, r"There is no estimator 'unroled'\. Did you mean 'unrolled'"),
        (
            {"estimator": "directional", "virtual_steps": 2},
            "The estimator directional looks through one virtual step, not 2: use unrolled",
        ),
        (
            {"estimator": "directional", "also": [HyperParameter("temperature", 1.0)]},
            "The estimator directional cannot look through hyper-parameters that losses read",
        ),
        ({"max_norm": 0.0}, r"max_norm must be a number above 0, or None, not 0\.0"),
        ({"max_value": float("nan")}, "max_value must be a number above 0, or None, not nan"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build(regression(), **settings)


def test_optimizers_that_move_the_wrong_things() -> None:
    task, other = regression(), regression()
    with pytest.raises(
        ValueError, match=r"Parameter 0 of the optimizer, of the shape \[4, 3\], is none of the"
    ):
        build(task, optimizer=torch.optim.SGD(other.model.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="The steps of Rprop cannot be differentiated"):
        build(task, optimizer=torch.optim.Rprop(task.model.parameters()))
    with pytest.raises(ValueError, match="The outer optimizer moves 4 parameters, and 1 are learned"):
        build(task, outer_optimizer=torch.optim.SGD(task.model.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="The outer optimizer moves 1 parameters, and 2 are learned"):
        build(task, also=[HyperParameter("temperature", 1.0)])
    weights = LossWeights(NAMES).double()
    task.model.add_module("weights", weights)
    with pytest.raises(ValueError, match="A learned weight is also moved by the model's optimizer"):
        build(task, weights=weights)


def test_a_generator_of_parameters_is_used_up_only_once() -> None:
    """Torch's optimizers copy what they are given; the tuner asks them, not the generator."""
    task, weights = regression(), LossWeights(NAMES).double()
    inner: Iterator[nn.Parameter] = task.model.parameters()
    outer = weights.parameters()
    tuner = LossWeightTuner(
        task.model, torch.optim.SGD(inner, lr=0.1), weights, torch.optim.SGD(outer, lr=0.1)
    )
    before = weights.free.detach().clone()
    tuner.step(task.losses, task.validation)
    assert (weights.free != before).all()
    with pytest.raises(ValueError, match="empty parameter list"):
        torch.optim.SGD(inner, lr=0.1)


LOSSES: list[tuple[Callable[[Regression], Any], str]] = [
    (
        lambda task: {"squared": task.losses()["square"]},
        "There are weights for 'square', 'large', but losses for 'squared': each loss needs a weight",
    ),
    (lambda task: {}, "but losses for nothing: each loss needs a weight, and there must be a loss"),
    (
        lambda task: {**task.losses(), "large": task.losses()["large"].detach()},
        "The loss 'large' does not depend on the model's parameters: it is detached",
    ),
    (
        lambda task: {**task.losses(), "large": 3.0},
        "The loss 'large' does not depend on the model's parameters",
    ),
    (lambda task: {**task.losses(), "large": task.each()}, r"The loss 'large' must have the shape \[\]"),
]


@pytest.mark.parametrize("estimator", ["unrolled", "directional", "finite-difference"])
@pytest.mark.parametrize(("losses", "sentence"), LOSSES)
def test_training_losses_that_teach_nothing(
    losses: Callable[[Regression], Any], sentence: str, estimator: str
) -> None:
    task = regression(nn.BatchNorm1d(4))
    tuner, before = build(task, estimator=estimator), copy.deepcopy(task.model.state_dict())
    with pytest.raises(ValueError, match=sentence):
        tuner.step(lambda: losses(task), task.validation)
    assert all(
        torch.equal(a, b) for a, b in zip(before.values(), task.model.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("estimator", ["unrolled", "directional", "finite-difference"])
def test_validation_losses_that_do_not_reach_the_weights(estimator: str) -> None:
    task, other = regression(), regression(seed=1)
    tuner = build(task, estimator=estimator)
    cases: list[tuple[Callable[[], Tensor], str]] = [
        (lambda: task.validation().detach(), "The validation loss does not reach the model's parameters"),
        (lambda: task.each(), "The validation loss must be one number"),
        (other.validation, "The validation loss depends on none of the learned weights"),
    ]
    for validation, sentence in cases:
        with pytest.raises(ValueError, match=sentence):
            tuner.step(task.losses, validation)


def test_losses_that_are_not_finite_leave_the_model_as_it_was() -> None:
    task = regression()
    tuner, before = build(task), copy.deepcopy(task.model.state_dict())
    with pytest.raises(FloatingPointError, match="is not finite in step 0: try a smaller learning rate"):
        tuner.step(lambda: {n: v * torch.inf for n, v in task.losses().items()}, task.validation)
    assert all(
        torch.equal(a, b) for a, b in zip(before.values(), task.model.state_dict().values(), strict=True)
    )


def test_the_number_of_functions_is_that_of_steps_and_parts() -> None:
    task = regression()
    tuner = build(task, virtual_steps=2, accumulate=2)
    with pytest.raises(ValueError, match=r"a list of 4 functions of no arguments, virtual_steps = 2 times"):
        tuner.step([task.losses] * 3, task.validation)


class Shrinking(nn.Module):
    """Changes its own weight whenever it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4).double())

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            self.scale.mul_(0.5)
        return inputs * self.scale


def test_a_module_that_changes_its_parameters_is_named() -> None:
    task = regression(Shrinking())
    with pytest.raises(
        ValueError, match=r"The module '0\.2' \(Shrinking\) changes its parameter 'scale' in place"
    ):
        build(task).step(task.losses, task.validation)


def everything(task: Regression, weights: nn.Module) -> list[Tensor]:
    return [value.clone() for value in [*task.model.state_dict().values(), *weights.state_dict().values()]]


def test_values_in_the_place_of_functions() -> None:
    task, weights = regression(), LossWeights(NAMES).double()
    tuner, before = build(task, weights=weights), everything(task, weights)
    cases: list[tuple[Any, Any, str, str]] = [
        (task.losses(), task.validation, "train_losses", "dict"),
        (task.each(), task.validation, "train_losses", "Tensor"),
        ([task.losses()], task.validation, "train_losses", "dict"),
        (task.losses, task.validation(), "validation_loss", "Tensor"),
        (task.losses, 3.0, "validation_loss", "float"),
        (task.losses, None, "validation_loss", "NoneType"),
    ]
    rivals = [
        Reweighter(task.model, tuner.optimizer),
        Trainer(tuner.optimizer, FixedWeights(dict.fromkeys(NAMES, 1.0))),
    ]
    for train, validation, name, kind in cases:
        steps = (
            [tuner.step, rivals[0].step]
            if name == "validation_loss"
            else [tuner.step, *(r.step for r in rivals)]
        )
        if isinstance(train, list):
            steps = steps[:1]
        for step in steps:
            with pytest.raises(
                ValueError,
                match=f"^{name} must be a function of no arguments.*this is a {kind}: wrap .* in `lambda:`",
            ):
                step(train, validation)
    assert all(torch.equal(a, b) for a, b in zip(before, everything(task, weights), strict=True))


@pytest.mark.parametrize(
    "estimator", ["unrolled", "directional", "finite-difference", "implicit", "one-step"]
)
def test_a_step_under_no_grad_is_a_step(estimator: str) -> None:
    found = []
    for context in (torch.enable_grad, torch.no_grad):
        task, weights = regression(), LossWeights(NAMES).double()
        tuner = build(task, weights=weights, estimator=estimator, every=2)
        with context():
            for _ in range(3):
                tuner.step(task.losses, task.validation)
        found.append(everything(task, weights))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_rivals_step_under_no_grad_too() -> None:
    task = regression()
    optimizer = torch.optim.SGD(task.model.parameters(), lr=0.1)
    with torch.no_grad():
        Reweighter(task.model, optimizer).step(task.each, task.validation)
        Trainer(optimizer, FixedWeights(dict.fromkeys(NAMES, 1.0))).step(task.losses)


def test_inference_mode_is_refused() -> None:
    task, weights = regression(), LossWeights(NAMES).double()
    tuner, before = build(task, weights=weights), everything(task, weights)
    for step in (tuner.step, Reweighter(task.model, tuner.optimizer).step):
        with (
            torch.inference_mode(),
            pytest.raises(ValueError, match=r"under torch.inference_mode\(\): call step"),
        ):
            step(task.losses, task.validation)
    assert all(torch.equal(a, b) for a, b in zip(before, everything(task, weights), strict=True))
