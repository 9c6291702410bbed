"""Rules against hand-worked numbers and against torchjd's own, and the trainer that follows them."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchjd import aggregation, scalarization
from torchjd.autojac import backward, jac_to_grad

from bilevel.loss_weights import (
    AGGREGATORS,
    Aggregated,
    DynamicAverage,
    FixedWeights,
    GradNorm,
    LinearWeights,
    Trainer,
    Uncertainty,
    Weighting,
)
from bilevel.report import write_weights_figure
from tests.bilevel.loss_weights.loops import OPTIMIZERS, Regression, regression

NAMES = ("square", "large")
RULES: dict[str, Callable[[Regression], Weighting]] = {
    "fixed": lambda task: FixedWeights({"square": 0.5, "large": 2.0}),
    "linear": lambda task: LinearWeights({"square": (0.1, 1.0, 3), "large": (1.0, 0.0, 5)}),
    "uncertainty": lambda task: Uncertainty(NAMES),
    "dynamic average": lambda task: DynamicAverage(NAMES, epoch=2),
    "gradnorm": lambda task: GradNorm(NAMES, task.model[0].parameters()),  # type: ignore[index]
    **{name: lambda task, name=name: Aggregated(NAMES, by=name) for name in AGGREGATORS},  # type: ignore[misc]
}


def trainer_of(task: Regression, name: str, rate: float = 0.05) -> Trainer:
    rule = RULES[name](task)
    own = list(rule.parameters())
    return Trainer(
        OPTIMIZERS["momentum"](list(task.model.parameters())),
        rule,
        torch.optim.SGD(own, lr=rate) if own else None,
        max_norm=5.0,
    )


def parameters(task: Regression) -> Tensor:
    return torch.cat([p.detach().flatten() for p in task.model.parameters()])


@pytest.mark.parametrize("name", RULES)
def test_training_lowers_the_losses(name: str) -> None:
    task = regression()
    trainer = trainer_of(task, name)
    before = sum(loss.item() for loss in task.losses().values())
    for _ in range(40):
        trainer.step(task.losses)
    assert sum(loss.item() for loss in task.losses().values()) < 0.8 * before


@pytest.mark.parametrize("name", sorted(set(RULES) - {"nash-mtl"}))
def test_saved_is_resumed(name: str) -> None:
    task = regression()
    trainer = trainer_of(task, name)
    for _ in range(5):
        trainer.step(task.losses)
    again = copy.deepcopy(task)
    resumed = trainer_of(again, name)
    resumed.optimizer.load_state_dict(copy.deepcopy(trainer.optimizer.state_dict()))
    resumed.load_state_dict(copy.deepcopy(trainer.state_dict()))
    for _ in range(3):
        trainer.step(task.losses)
        resumed.step(again.losses)
    assert torch.equal(parameters(task), parameters(again))
    assert trainer.history.state_dict() == resumed.history.state_dict()


def test_fixed_weights_are_the_loop_that_was_there() -> None:
    tuned, plain = regression(), regression()
    trainer = Trainer(
        OPTIMIZERS["adam"](list(tuned.model.parameters())), FixedWeights({"square": 0.5, "large": 2.0})
    )
    own = OPTIMIZERS["adam"](list(plain.model.parameters()))
    for _ in range(3):
        trainer.step(tuned.losses)
        own.zero_grad()
        losses = plain.losses()
        (0.5 * losses["square"] + 2.0 * losses["large"]).backward()
        own.step()
    torch.testing.assert_close(parameters(tuned), parameters(plain), rtol=0, atol=1e-15)


def test_lines_end_and_stay() -> None:
    rule = LinearWeights({"a": (0.1, 1.0, 3), "b": (1.0, 0.0, 2)})
    seen = []
    for _ in range(5):
        seen.append(tuple(rule.as_dict().values()))
        rule.advance()
    expected = [(0.1, 1.0), (0.4, 0.5), (0.7, 0.0), (1.0, 0.0), (1.0, 0.0)]
    assert seen == [pytest.approx(pair, abs=1e-6) for pair in expected]


def test_uncertainty_is_torchjds() -> None:
    rule, theirs, model = Uncertainty(["a", "b"]), scalarization.UW(2), nn.Linear(1, 2)
    with torch.no_grad():
        rule.log_variance.copy_(torch.tensor([0.3, -0.5]))
        theirs.log_var.copy_(rule.log_variance)
    values = model(torch.ones(1)).square()
    expected = theirs(values)
    gradients = torch.autograd.grad(expected, [theirs.log_var, *model.parameters()], retain_graph=True)
    total = rule.descend({"a": values[0], "b": values[1]}, [])
    torch.testing.assert_close(total, expected.detach())
    for parameter, gradient in zip([rule.log_variance, *model.parameters()], gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_dynamic_averages_are_torchjds() -> None:
    rule, theirs = DynamicAverage(["a", "b"], epoch=3), scalarization.DWA()
    for step in range(11):
        values = torch.rand(2, dtype=torch.float64).add(0.1).requires_grad_()
        (gradient,) = torch.autograd.grad(theirs(values), values)
        torch.testing.assert_close(rule.weights().double(), gradient, rtol=1e-6, atol=0)
        rule.descend({"a": values[0], "b": values[1]}, [])
        rule.advance()
        if step % 3 == 2:
            theirs.step()


def test_grad_norm_by_hand() -> None:
    """Two losses 3 x and x^2 at x = 1: gradients 3 and 2; then, at x = 2, paces 2 and 4 of mean 3."""
    x = nn.Parameter(torch.tensor([1.0]))
    rule = GradNorm(["line", "square"], [x], asymmetry=1.0)
    losses: Callable[[], dict[str, Tensor]] = lambda: {"line": 3 * x.sum(), "square": x.square().sum()}  # noqa: E731
    rule.descend(losses(), [x])
    # All paces are 1: the target is the mean, 2.5; |3 w_1 - 2.5| + |2 w_2 - 2.5| has the gradient (3, -2).
    assert rule.free.grad is not None
    assert rule.free.grad.tolist() == [3.0, -2.0]
    assert x.grad is not None
    assert x.grad.tolist() == [5.0]
    with torch.no_grad():
        x.fill_(2.0)
    x.grad = None
    rule.descend(losses(), [x])
    # Gradients 3 and 4, mean 3.5; targets 3.5 * 2/3 = 2.33 and 3.5 * 4/3 = 4.67: (+3, -4).
    assert rule.free.grad.tolist() == [3.0, -4.0]
    with torch.no_grad():
        rule.free.copy_(torch.tensor([1.0, 3.0]))
    rule.project_()
    assert rule.as_dict() == {"line": 0.5, "square": 1.5}


@pytest.mark.parametrize("name", AGGREGATORS)
def test_aggregated_directions_are_torchjds(name: str) -> None:
    ours, theirs = regression(), regression()
    torch.manual_seed(0)
    Aggregated(NAMES, by=name).descend(ours.losses(), list(ours.model.parameters()))
    torch.manual_seed(0)
    losses = theirs.losses()
    backward([losses[each] for each in NAMES])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="You are solving a parameterized problem")
        jac_to_grad(theirs.model.parameters(), AGGREGATORS[name](aggregation, 2))
    for one, other in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        assert one.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-9, atol=1e-12)


def test_no_loss_rises_along_upgrads_direction() -> None:
    task = regression()
    Aggregated(NAMES, by="upgrad").descend(task.losses(), list(task.model.parameters()))
    direction = torch.cat([p.grad.flatten() for p in task.model.parameters() if p.grad is not None])
    for name in NAMES:
        gradients = torch.autograd.grad(task.losses()[name], list(task.model.parameters()))
        gradient = torch.cat([g.flatten() for g in gradients])
        assert float(gradient @ direction) >= -1e-9


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: FixedWeights({"a": -1.0}), r"Weights are finite numbers, 0 or more, not \{'a': -1\.0\}"),
        (lambda: FixedWeights({"a": math.nan}), "Weights are finite numbers"),
        (lambda: FixedWeights({}), "names is a list of one or more different names"),
        (lambda: Uncertainty(["a", "a"]), "names is a list of one or more different names"),
        (lambda: Uncertainty("ab"), "names is a list of one or more different names, not 'ab'"),
        (
            lambda: LinearWeights({"a": (1.0, 0.0, 0)}),
            r"The schedule of 'a' is \(first weight, last weight, steps\)",
        ),
        (lambda: LinearWeights({"a": (-1.0, 0.0, 5)}), "The schedule of 'a' is"),
        (lambda: DynamicAverage(["a"], epoch=0), "epoch must be 1 step or more, not 0"),
        (lambda: DynamicAverage(["a"], epoch=5, temperature=0.0), "temperature must be above 0, not 0"),
        (
            lambda: GradNorm(["a"], iter([])),
            "GradNorm compares gradients in shared parameters, and there are none",
        ),
        (lambda: Aggregated(["a"], by="upgrade"), "There is no aggregator 'upgrade'. Did you mean 'upgrad'"),
    ],
)
def test_settings_out_of_range_are_refused(make: Callable[[], Weighting], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()


def test_losses_that_do_not_fit_are_refused_before_the_model_moves() -> None:
    task = regression()
    trainer, before = trainer_of(task, "dynamic average"), parameters(task)
    for losses, sentence in (
        (
            {"square": task.losses()["square"]},
            "There is a weighting for 'square', 'large', but losses for 'square'",
        ),
        (
            {n: v.detach() for n, v in task.losses().items()},
            "The loss 'square' does not depend on the model's",
        ),
        ({**task.losses(), "large": task.each()}, "The loss 'large' must be one number"),
        ({n: v - 100 for n, v in task.losses().items()}, "Rates of falling need losses above 0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            trainer.step(lambda losses=losses: losses)  # type: ignore[misc]
    with pytest.raises(FloatingPointError, match="The loss 'square' is not finite in step 0"):
        trainer.step(lambda: {n: v * torch.nan for n, v in task.losses().items()})
    assert torch.equal(parameters(task), before)


def test_a_rules_parameters_need_an_optimizer() -> None:
    task = regression()
    optimizer = OPTIMIZERS["sgd"](list(task.model.parameters()))
    with pytest.raises(ValueError, match="Uncertainty has 1 parameters, and weighting_optimizer moves 0"):
        Trainer(optimizer, Uncertainty(NAMES))
    with pytest.raises(ValueError, match="FixedWeights has 0 parameters, and weighting_optimizer moves 4"):
        Trainer(optimizer, FixedWeights({"a": 1.0}), OPTIMIZERS["sgd"](list(task.model.parameters())))


def test_weights_are_drawn_without_a_validation_loss(tmp_path: Path) -> None:
    task = regression()
    trainer = trainer_of(task, "linear")
    trainer.step(task.losses)
    assert write_weights_figure(trainer.history, tmp_path / "weights.png").stat().st_size > 1000
