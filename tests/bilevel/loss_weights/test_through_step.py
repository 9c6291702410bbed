"""The estimators of the functional core, chosen by name, agree with `unrolled` where they should."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bilevel.compile import Compiled
from bilevel.hypergradient import ESTIMATORS, Implicit, Unrolled
from bilevel.loss_weights import HyperParameter, LossWeights, LossWeightTuner, SampleWeights
from tests.bilevel.loss_weights.loops import OPTIMIZERS, Regression, regression

NAMES = ("square", "large")
STEPS = 3
EXACT = ("truncated(steps=3)", "forward", "unrolled(segments=sqrt)")
"""The gradient of all three steps, whatever the optimizer."""


class Smooth(Regression):
    """Losses that torch has every derivative of; of Huber's it lacks one."""

    def losses(self, index: int = 0) -> dict[str, Tensor]:
        inputs, targets = self.batches[index]
        out = self.model(inputs)
        return {
            "square": (out - targets).square().mean(),
            "large": (out - targets.roll(1, 0)).cosh().log().mean(),
        }


def smooth(*extra: nn.Module) -> Regression:
    return Smooth(**vars(regression(*extra)))


def two_weights() -> LossWeights:
    return LossWeights(NAMES, {"square": 0.7, "large": 1.3}).double()  # type: ignore[return-value]


def moved(estimator: Any, task: Regression, optimizer: str, steps: int, **settings: Any) -> list[Tensor]:
    """What a warm tuner moved by in one outer step of plain descent with step size 1."""
    weights, also = two_weights(), settings.pop("knobs", [])
    learned = [*weights.parameters(), *(p for knob in also for p in knob.parameters())]
    outer = torch.optim.SGD(learned, lr=0.0)
    tuner = LossWeightTuner(
        task.model,
        OPTIMIZERS[optimizer](list(task.model.parameters())),
        weights,
        outer,
        estimator="unrolled",
        virtual_steps=steps,
        **settings,
    )
    torch.manual_seed(7)
    train = [task.loss_of(index) for index in range(steps)]
    tuner.step(train, task.validation)
    again = LossWeightTuner(
        task.model, tuner.optimizer, weights, outer, estimator=estimator, virtual_steps=steps, **settings
    )
    outer.param_groups[0]["lr"] = 1.0
    before = [p.detach().clone() for p in learned]
    again.step(train, task.validation)
    return [a - b.detach() for a, b in zip(before, learned, strict=True)]


def both(estimator: Any, make: Callable[[], Regression], optimizer: str, steps: int, **settings: Any) -> Any:
    """By the estimator, and by `unrolled`: of two copies that saw the same."""
    found = []
    for name in (estimator, "unrolled"):
        found += [moved(name, make(), optimizer, steps, **copy.deepcopy(settings))]
    return found


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("estimator", EXACT)
def test_exact_estimators_agree_with_unrolled(estimator: str, optimizer: str) -> None:
    (found,), (expected,) = both(estimator, smooth, optimizer, STEPS, max_norm=1.0)
    assert expected.abs().max() > 1e-6
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_of_one_step_the_last_step_is_all(optimizer: str) -> None:
    for estimator, rtol in (("one-step", 1e-8), ("finite-difference()", 1e-6)):
        (found,), (expected,) = both(estimator, regression, optimizer, 1)
        torch.testing.assert_close(found, expected, rtol=rtol, atol=1e-9)


def test_truncation_leaves_out_the_first_steps() -> None:
    """The last of two steps alone is what a look ahead of one step from after the first gives."""
    (found,), (all_steps,) = both("truncated(steps=1)", regression, "sgd", 2)
    (last,), _ = both("one-step", regression, "sgd", 2)
    torch.testing.assert_close(found, last, rtol=1e-10, atol=1e-14)
    assert (found - all_steps).abs().max() > 1e-3 * all_steps.abs().max()


@pytest.mark.parametrize("estimator", ["truncated(steps=3)", Unrolled()])
def test_dropout_is_drawn_as_in_the_steps_themselves(estimator: Any) -> None:
    (found,), (expected,) = both(estimator, lambda: regression(nn.Dropout(0.5)), "adam", STEPS)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-12)


def test_rates_and_hyper_parameters_are_learned_too() -> None:
    rate, knob = HyperParameter("rate", 0.05).double(), HyperParameter("scale", 1.5).double()

    def scaled(task: Regression, knob: HyperParameter) -> Callable[[], dict[str, Tensor]]:
        return lambda: {name: loss * knob() for name, loss in task.losses().items()}

    found = []
    for estimator in ("unrolled", "forward", "truncated(steps=2)"):
        task, weights, own, own_rate = smooth(), two_weights(), copy.deepcopy(knob), copy.deepcopy(rate)
        learned = [*weights.parameters(), *own.parameters(), *own_rate.parameters()]
        tuner = LossWeightTuner(
            task.model,
            torch.optim.Adam(task.model.parameters(), eps=1e-3),
            weights,
            torch.optim.SGD(learned, lr=1.0),
            also=[own],
            learning_rate=own_rate,
            virtual_steps=2,
            accumulate=2,
            estimator=estimator,
        )
        tuner.step([scaled(task, own)] * 4, task.validation)
        found.append(torch.cat([p.detach().flatten() for p in learned]))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-9, atol=1e-12)


def test_frozen_and_unused_parameters_stay_in_the_steps() -> None:
    def partly_frozen() -> Regression:
        task = regression()
        task.model[0].weight.requires_grad_(False)
        task.model.add_module("spare", Spare())
        return task

    (found,), (expected,) = both("truncated(steps=3)", partly_frozen, "momentum", STEPS)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-12)


class Spare(nn.Module):
    """Counts in validation alone, where the model is not in training."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.ones(2).double())

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs if inputs.shape[0] == 6 else inputs + self.shift


def quadratic(estimator: Any, **settings: Any) -> tuple[Tensor, LossWeights]:
    """Two pulls on one number, descended to rest at sum w_k c_k / sum w_k, and a linear validation loss."""
    torch.manual_seed(0)
    guess = nn.Linear(1, 1, bias=False).double()
    weights = LossWeights(["a", "b"], {"a": 0.5, "b": 1.5}, "free").double()
    tuner = LossWeightTuner(
        guess,
        torch.optim.SGD(guess.parameters(), lr=0.1),
        weights,  # type: ignore[arg-type]
        torch.optim.SGD(weights.parameters(), lr=1.0),
        estimator=estimator,
        **settings,
    )
    value = lambda: guess.weight.sum()  # noqa: E731
    before = weights.free.detach().clone()
    tuner.step(lambda: {"a": (value() - 3) ** 2, "b": (value() + 1) ** 2}, value)
    return before - weights.free.detach(), weights  # type: ignore[return-value]


def test_at_rest_implicit_has_a_closed_form() -> None:
    """d/dw_k of sum w c / sum w = (c_k - rest) / sum w, with w = (0.5, 1.5), c = (3, -1): the rest is 0."""
    for estimator in (Implicit(), "implicit(solver=cg)", "unrolled"):
        found, _ = quadratic(estimator, virtual_steps=100)
        torch.testing.assert_close(found, torch.tensor([1.5, -0.5]).double(), rtol=1e-8, atol=1e-12)
    with pytest.raises(ValueError, match="Implicit needs the step's fixed point"):
        quadratic(Implicit(), virtual_steps=1)


def test_evolution_is_right_within_its_own_noise() -> None:
    expected, _ = quadratic("unrolled")
    found, _ = quadratic("evolution(samples=4000, sigma=0.01)")
    # Of pairs, F linear: the variance of an entry is at most 2 (P + 1) |gradient|^2 / samples.
    spread = (2 * 3 * expected.square().sum() / 4000).sqrt()
    assert ((found - expected).abs() < 4 * spread).all()
    assert not torch.equal(found, expected)


def test_what_an_estimator_cannot_do_is_one_sentence() -> None:
    task = regression()
    refused = {
        "persistent-evolution": "carries a state from one outer step to the next",
        "truncated(steps=2, window=True)": "carries a state from one outer step to the next",
        Compiled(Unrolled()): "Losses that use a model as it is cannot be compiled",
        "unrolled(compile=True)": "An estimator has no setting compile",
        "truncated": "The hypergradient 'truncated' needs the setting 'steps'",
        "truncatd(steps=2)": r"There is no estimator 'truncatd'\. Did you mean 'truncated'",
    }
    for estimator, sentence in refused.items():
        with pytest.raises(ValueError, match=sentence):
            moved(estimator, task, "sgd", 1)
    with pytest.raises(
        ValueError, match=r"The module '0\.2' \(BatchNorm1d\) changes its buffer 'running_mean'"
    ):
        moved("forward", regression(nn.BatchNorm1d(4)), "sgd", 1)
    with pytest.raises(ValueError, match=r"cannot differentiate these losses \(vmap: called random"):
        moved("forward", smooth(nn.Dropout(0.5)), "sgd", 1)
    with pytest.raises(ValueError, match=r"cannot differentiate these losses \(Trying to use forward AD"):
        moved("forward", regression(), "sgd", 1)


def test_batch_norm_that_is_not_in_training_is_fine() -> None:
    def evaluated() -> Regression:
        task = smooth(nn.BatchNorm1d(4))
        task.model.eval()
        return task

    (found,), (expected,) = both("forward", evaluated, "adam", 2)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-12)


def test_every_registered_estimator_can_be_named() -> None:
    tried = {"truncated", "forward", "unrolled", "implicit", "one-step", "finite-difference", "evolution"}
    assert set(ESTIMATORS) - tried == {"persistent-evolution"}
    for name in ("forward", "one-step", "evolution"):
        samples = SampleWeights((3,)).double()
        task = smooth()
        tuner = LossWeightTuner(
            task.model,
            OPTIMIZERS["adam"](list(task.model.parameters())),
            samples,
            torch.optim.SGD(samples.parameters(), lr=0.1),
            estimator=name,
        )
        before = samples.theta.detach().clone()
        tuner.step(task.each, task.validation)
        assert (samples.theta != before).any()
