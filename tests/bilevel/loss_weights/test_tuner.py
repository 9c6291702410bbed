"""The tuner changes nothing that it is not asked to, and its hypergradients are those of what it does."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bilevel.loss_weights import (
    HyperParameter,
    LossWeights,
    LossWeightTuner,
    SampleWeights,
    ScheduledLossWeights,
)
from tests.bilevel.loss_weights.loops import OPTIMIZERS, Regression, regression

NAMES = ("square", "large")


def two_weights(**settings: object) -> LossWeights:
    return LossWeights(NAMES, {"square": 0.7, "large": 1.3}, **settings).double()  # type: ignore[arg-type, return-value]


def tuner_of(
    task: Regression, weights: nn.Module, optimizer: str = "sgd", rate: float = 0.1, **settings: object
) -> LossWeightTuner:
    return LossWeightTuner(
        task.model,
        OPTIMIZERS[optimizer](list(task.model.parameters())),
        weights,
        torch.optim.SGD(weights.parameters(), lr=rate),
        **settings,  # type: ignore[arg-type]
    )


def parameters(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def hypergradient(tuner: LossWeightTuner, train: object, validation: Callable[[], Tensor]) -> Tensor:
    """What one outer step of plain descent with step size 1 moved the weights by."""
    before = parameters(tuner.weights)
    tuner.outer_optimizer.param_groups[0]["lr"] = 1.0
    tuner.step(train, validation)  # type: ignore[arg-type]
    return before - parameters(tuner.weights)


@pytest.mark.parametrize("first", ["weights", "model"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_with_outer_learning_rate_0_nothing_but_the_weights_steps_is_added(
    optimizer: str, first: str
) -> None:
    """Dropout, batch norm, clipping and a warm optimizer, too, to the last bit."""
    tuned = regression(nn.BatchNorm1d(4), nn.Dropout(0.3))
    plain = copy.deepcopy(tuned)
    weights = two_weights()
    tuner = tuner_of(
        tuned, weights, optimizer, rate=0.0, max_norm=0.5, max_value=0.2, virtual_steps=2, first=first
    )
    own = OPTIMIZERS[optimizer](list(plain.model.parameters()))
    torch.manual_seed(1)
    for index in (0, 1, 2):
        tuner.step(tuned.loss_of(index), tuned.validation)
    torch.manual_seed(1)
    for index in (0, 1, 2):
        own.zero_grad()
        weights(plain.losses(index)).backward()
        nn.utils.clip_grad_value_(plain.model.parameters(), 0.2)
        nn.utils.clip_grad_norm_(plain.model.parameters(), 0.5)
        own.step()
    for (name, ours), theirs in zip(
        tuned.model.state_dict().items(), plain.model.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("virtual_steps", [1, 3])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_hypergradients_are_those_of_finite_differences(optimizer: str, virtual_steps: int) -> None:
    """The validation loss after the steps that torch's optimizer itself takes, from a warm start."""
    task, batches = regression(nn.BatchNorm1d(4)), (0, 1, 2)[:virtual_steps]
    warm = tuner_of(task, two_weights(), optimizer, rate=0.0)
    warm.step(task.loss_of(3), task.validation)
    state = copy.deepcopy((task, warm.optimizer.state_dict()))

    def after(free: Tensor) -> float:
        own, of_optimizer = copy.deepcopy(state)
        steps = OPTIMIZERS[optimizer](list(own.model.parameters()))
        steps.load_state_dict(of_optimizer)
        weights = two_weights()
        for index in batches:
            steps.zero_grad()
            losses = own.losses(index)
            (torch.stack([losses[name] for name in NAMES]) * weights.constraint.values(free)).sum().backward()
            steps.step()
        return float(own.validation().detach())

    center, eye = warm.weights.free.detach().clone(), torch.eye(2).double()
    expected = torch.tensor([after(center + 1e-5 * e) - after(center - 1e-5 * e) for e in eye]) / 2e-5
    warm.virtual_steps = virtual_steps
    found = hypergradient(warm, [task.loss_of(index) for index in batches], task.validation)
    # Of the averaged one torch rounds the step size to float32.
    torch.testing.assert_close(
        found, expected.double(), rtol=1e-3 if optimizer == "asgd" else 1e-6, atol=1e-8
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_estimators_agree(optimizer: str) -> None:
    for module in (two_weights(), SampleWeights((5,)).double()):
        found = {}
        for estimator in ("unrolled", "directional", "finite-difference"):
            task = regression(nn.BatchNorm1d(4), nn.Dropout(0.3))
            torch.manual_seed(0)
            tuner = tuner_of(
                task, copy.deepcopy(module), optimizer, rate=0.0, estimator=estimator, max_norm=1.0
            )
            train = task.losses if isinstance(module, LossWeights) else task.each
            tuner.step(train, task.validation)
            found[estimator] = hypergradient(tuner, train, task.validation)
        assert found["unrolled"].abs().max() > 1e-6
        torch.testing.assert_close(found["directional"], found["unrolled"], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(found["finite-difference"], found["unrolled"], rtol=1e-2, atol=1e-6)


def test_one_plain_step_has_a_closed_form() -> None:
    """theta' = theta - alpha sum_k w_k grad L_k, so dL_val/dw_k = -alpha grad L_val(theta') grad L_k."""
    theta = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        theta.weight.fill_(2.0)
    weights = LossWeights(["a", "b"], {"a": 0.5, "b": 0.25}, "free").double()
    tuner = LossWeightTuner(
        theta,
        torch.optim.SGD(theta.parameters(), lr=0.1),
        weights,
        torch.optim.SGD(weights.parameters(), lr=1.0),
    )
    value = lambda: theta.weight.sum()  # noqa: E731
    # grad a = 4, grad b = 12: theta' = 2 - 0.1 (2 + 3) = 1.5, where the validation loss has slope 3.
    moved = hypergradient(tuner, lambda: {"a": value() ** 2, "b": value() ** 3}, lambda: value() ** 2)
    torch.testing.assert_close(moved, -0.1 * 3.0 * torch.tensor([4.0, 12.0]).double(), rtol=0, atol=1e-14)


def test_a_learned_learning_rate_has_a_closed_form() -> None:
    """dL_val/d alpha = -grad L_val(theta') grad L; the step that follows has the new rate."""
    theta = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        theta.weight.fill_(2.0)
    rate = HyperParameter("learning rate", 0.1, "free").double()
    weights = LossWeights(["a"], constraint="free").double()
    outer = torch.optim.SGD([*weights.parameters(), *rate.parameters()], lr=0.01)
    optimizer = torch.optim.SGD(theta.parameters(), lr=0.7)
    for estimator in ("unrolled", "directional"):
        with torch.no_grad():
            theta.weight.fill_(2.0)
            rate.free.fill_(0.1)
            weights.free.fill_(1.0)
        tuner = LossWeightTuner(theta, optimizer, weights, outer, learning_rate=rate, estimator=estimator)  # type: ignore[arg-type]
        tuner.step(lambda: {"a": theta.weight.sum() ** 2}, lambda: theta.weight.sum() ** 2)
        learned = 0.1 + 0.01 * (2 * 1.6) * 4
        assert float(rate().detach()) == pytest.approx(learned, abs=1e-14)
        assert float(weights.free.detach()) == pytest.approx(1 + 0.01 * 0.1 * 3.2 * 4, abs=1e-14)
        assert theta.weight.item() == pytest.approx(2 - learned * weights.free.item() * 4, abs=1e-14)
        assert tuner.history.values["learning rate"] == [pytest.approx(learned)]


def test_a_hyper_parameter_that_losses_read_is_learned() -> None:
    task = regression()
    scale = HyperParameter("scale", 1.5).double()
    found = []
    for estimator in ("unrolled", "finite-difference"):
        own, knob, weights = copy.deepcopy(task), copy.deepcopy(scale), two_weights()
        tuner = LossWeightTuner(
            own.model,
            torch.optim.SGD(own.model.parameters(), lr=0.1),
            weights,
            torch.optim.SGD([*weights.parameters(), *knob.parameters()], lr=1.0),
            also=[knob],
            estimator=estimator,  # type: ignore[arg-type]
        )
        tuner.step(lambda: {n: v * knob() for n, v in own.losses().items()}, own.validation)  # noqa: B023
        found.append(knob.free.item())
        assert list(tuner.history.values) == [*NAMES, "scale"]
    assert found[0] == pytest.approx(found[1], rel=1e-3)
    assert abs(found[0] - scale.free.item()) > 1e-6


def test_parts_of_a_batch_are_averaged() -> None:
    whole, parts = regression(), regression()
    inputs, targets = (torch.cat(each) for each in zip(*whole.batches[:2], strict=True))
    whole.batches[0] = inputs, targets
    results = []
    for task, train, accumulate in (
        (whole, whole.each, 1),
        (
            parts,
            [
                lambda: parts.each(),
                lambda: (parts.model(parts.batches[1][0]) - parts.batches[1][1]).square().mean(-1),
            ],
            2,
        ),
    ):
        weights = SampleWeights((5,), normalize=False).double()
        with torch.no_grad():
            weights.theta.copy_(torch.linspace(-1, 1, len(weights.theta)))
        tuner = tuner_of(task, weights, "adam", accumulate=accumulate)
        result = tuner.step(train, task.validation)  # type: ignore[arg-type]
        results.append((parameters(weights), parameters(task.model), result.loss, result.validation_loss))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-13)


def test_weights_move_in_every_so_many_th_step() -> None:
    task, weights = regression(), two_weights()
    tuner = tuner_of(task, weights, every=3)
    seen = [tuner.step(task.losses, task.validation).validation_loss is not None for _ in range(7)]
    assert seen == [True, False, False, True, False, False, True]
    assert tuner.history.steps == [1, 4, 7]


def test_parameters_that_are_frozen_or_not_used_stay() -> None:
    for estimator in ("unrolled", "directional", "finite-difference"):
        task = regression()
        task.model.add_module("unused", nn.Identity())
        spare = nn.Linear(2, 2).double()
        task.model[0].weight.requires_grad_(False)
        frozen, unused = task.model[0].weight.clone(), spare.weight.detach().clone()
        weights = two_weights()
        both = [*task.model.parameters(), *spare.parameters()]
        optimizer = torch.optim.SGD(both, lr=0.1, momentum=0.9, weight_decay=0.1)
        outer = torch.optim.SGD(weights.parameters(), lr=0.1)
        tuner = LossWeightTuner([task.model, spare], optimizer, weights, outer, estimator=estimator)  # type: ignore[arg-type]
        for _ in range(2):
            tuner.step(task.losses, task.validation)
        assert torch.equal(task.model[0].weight, frozen)
        assert torch.equal(spare.weight, unused)


def test_a_schedule_is_learned_at_its_knots() -> None:
    task = regression()
    weights = ScheduledLossWeights(NAMES, knots=(0, 4), constraint="free").double()
    tuner = tuner_of(task, weights)
    for _ in range(3):
        tuner.step(task.losses, task.validation)
    assert int(weights.step) == 3
    assert (weights.free[0] != 1).all()
    assert (weights.free[1] != 1).all()
    late = weights.free[1].detach().clone()
    for _ in range(3):
        tuner.step(task.losses, task.validation)
    assert (weights.free[1] != late).all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_saved_is_resumed(optimizer: str) -> None:
    def everything(task: Regression, tuner: LossWeightTuner) -> dict[str, object]:
        return {
            "model": task.model.state_dict(),
            "own": tuner.optimizer.state_dict(),
            "tuner": tuner.state_dict(),
        }

    task = regression()
    tuner = tuner_of(task, two_weights(), optimizer, every=2)
    for index in range(3):
        tuner.step(task.loss_of(index), task.validation)
    saved = copy.deepcopy(everything(task, tuner))
    again = regression(seed=5)
    again.batches, again.held_out = task.batches, task.held_out
    resumed = tuner_of(again, two_weights(), optimizer, every=2)
    again.model.load_state_dict(saved["model"])  # type: ignore[arg-type]
    resumed.optimizer.load_state_dict(saved["own"])  # type: ignore[arg-type]
    resumed.load_state_dict(saved["tuner"])  # type: ignore[arg-type]
    for each, of in ((tuner, task), (resumed, again)):
        for index in (3, 0):
            each.step(of.loss_of(index), of.validation)
    if optimizer == "nadam":  # torch itself loads its product of momenta in another precision
        torch.testing.assert_close(parameters(task.model), parameters(again.model), rtol=1e-6, atol=0)
        return
    assert torch.equal(parameters(task.model), parameters(again.model))
    assert torch.equal(parameters(tuner.weights), parameters(resumed.weights))
    assert tuner.history.state_dict() == resumed.history.state_dict()
    assert resumed.history.steps == [1, 3, 5]
