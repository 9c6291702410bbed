"""Implicit hypergradients against closed forms and unrolled steps from a stationary point; refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bilevel.loss_weights import HyperParameter, InverseHessian, LossWeights, LossWeightTuner
from tests.bilevel.loss_weights.loops import regression

NAMES = ("one", "other")
START = {"one": 0.75, "other": 1.25}


class Quadratic:
    """Two quadratic losses of three numbers, and theta where their weighted sum (and decay) is least."""

    def __init__(self, decay: float = 0.0, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, dtype=torch.float64, generator=generator)

        self.curves = {name: (r := draw(3, 3)) @ r.T + 0.5 * torch.eye(3).double() for name in NAMES}
        self.centers = {name: draw(3) for name in NAMES}
        self.goal, self.decay = draw(3), decay
        self.model = nn.Linear(3, 1, bias=False).double()
        with torch.no_grad():
            self.model.weight.copy_(self.rest(torch.tensor(list(START.values())).double()))

    def rest(self, weights: Tensor) -> Tensor:
        both = list(zip(weights, NAMES, strict=True))
        total = sum(w * self.curves[n] for w, n in both) + self.decay * torch.eye(3).double()
        return torch.linalg.solve(total, sum(w * self.curves[n] @ self.centers[n] for w, n in both))

    def losses(self) -> dict[str, Tensor]:
        away = {name: self.model.weight[0] - self.centers[name] for name in NAMES}
        return {name: away[name] @ self.curves[name] @ away[name] / 2 for name in NAMES}

    def validation(self) -> Tensor:
        return (self.model.weight - self.goal).pow(2).sum()

    def tuner(
        self, estimator: Any, make: Callable[..., torch.optim.Optimizer] = torch.optim.SGD, **settings: Any
    ) -> LossWeightTuner:
        weights = LossWeights(NAMES, START, "free").double()
        optimizer = make(self.model.parameters(), lr=0.05, weight_decay=self.decay)
        outer = torch.optim.SGD(weights.parameters(), lr=1.0)
        return LossWeightTuner(self.model, optimizer, weights, outer, estimator=estimator, **settings)

    def gradient(self, estimator: Any, **settings: Any) -> Tensor:
        tuner = self.tuner(estimator, **settings)
        before = tuner.weights.free.detach().clone()
        tuner.step([self.losses] * settings.get("virtual_steps", 1), self.validation)
        moved: Tensor = before - tuner.weights.free.detach()
        return moved


def exact(task: Quadratic) -> Tensor:
    """d L_val / d weights through the closed form of the point of rest."""
    weights = torch.tensor(list(START.values()), dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad((task.rest(weights) - task.goal).pow(2).sum(), weights)
    return gradient


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize(
    "settings", [{"solver": "cg"}, {"solver": "gmres"}, {"solver": "normal-cg", "terms": 50}, {"terms": 4000}]
)
def test_at_rest_it_is_the_closed_form(settings: dict[str, Any], decay: float) -> None:
    task = Quadratic(decay)
    found = task.gradient(InverseHessian(**{"terms": 10, **settings}))
    torch.testing.assert_close(found, exact(task), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop])
def test_coupled_weight_decay_is_part_of_what_is_descended(make: Any) -> None:
    task = Quadratic(decay=0.3)
    found = task.gradient(InverseHessian(solver="cg", terms=10), make=make)
    torch.testing.assert_close(found, exact(task), rtol=1e-9, atol=1e-11)


def test_decoupled_weight_decay_is_not() -> None:
    task, decayed = Quadratic(), Quadratic()
    decayed.decay = 0.3
    found = decayed.gradient(InverseHessian(solver="cg", terms=10), make=torch.optim.AdamW)
    torch.testing.assert_close(found, exact(task), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("terms", [0, 1, 3])
def test_a_short_series_is_what_unrolled_descent_from_rest_shows(terms: int) -> None:
    found = Quadratic(0.3).gradient(InverseHessian(terms=terms))
    steps = Quadratic(0.3).gradient("unrolled", virtual_steps=terms + 1)
    torch.testing.assert_close(found, steps, rtol=1e-10, atol=1e-12)
    assert (found - exact(Quadratic(0.3))).abs().max() > 1e-2  # and not the inverse


def test_by_name_it_has_three_terms_of_the_learning_rate() -> None:
    expected = Quadratic().gradient(InverseHessian(terms=3, scale=0.05))
    assert torch.equal(Quadratic().gradient("implicit"), expected)


def test_damping_is_added_to_the_curvature() -> None:
    task, damped = Quadratic(), Quadratic(decay=0.5)
    with torch.no_grad():
        task.model.weight.copy_(damped.model.weight)  # the same point, where the decayed losses are at rest
    found = task.gradient(InverseHessian(solver="cg", terms=10, damping=0.5))
    torch.testing.assert_close(found, exact(damped), rtol=1e-9, atol=1e-11)


def test_what_losses_and_validation_read_is_learned_too() -> None:
    """Rest at t, L_val = (theta - 1)^2 + t: slope 2 (t - 1) through rest, and 1 directly."""
    theta = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        theta.weight.fill_(3.0)
    target, weights = HyperParameter("target", 3.0, "free").double(), LossWeights(["a"]).double()
    outer = torch.optim.SGD([*weights.parameters(), *target.parameters()], lr=1.0)
    tuner = LossWeightTuner(
        theta,
        torch.optim.SGD(theta.parameters(), lr=0.1),
        weights,
        outer,
        also=[target],
        estimator=InverseHessian(solver="cg", terms=1),
    )
    tuner.step(
        lambda: {"a": (theta.weight - target()).square().sum()},
        lambda: (theta.weight - 1).square().sum() + target(),
    )
    assert target.free.item() == pytest.approx(3.0 - (2 * 2.0 + 1), abs=1e-12)


def test_any_module_may_weigh_a_network_with_frozen_and_unused_parameters() -> None:
    """A network over losses; batch norm's buffers are those of the model's own steps alone."""

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1).double()

        def forward(self, losses: dict[str, Tensor]) -> Tensor:
            total: Tensor = self.layer(torch.stack([losses["square"], losses["large"]])).exp().sum()
            return total

    task, spare, mixed = regression(nn.BatchNorm1d(4)), nn.Linear(2, 2).double(), Mixed()
    task.model[0].weight.requires_grad_(False)
    optimizer = torch.optim.Adam([*task.model.parameters(), *spare.parameters()], lr=0.01)
    outer = torch.optim.SGD(mixed.parameters(), lr=0.1)
    before = mixed.layer.weight.detach().clone()
    frozen = task.model[0].weight.detach().clone()
    tuner = LossWeightTuner([task.model, spare], optimizer, mixed, outer, estimator="implicit")
    for _ in range(3):
        tuner.step(task.losses, task.validation)
    assert (mixed.layer.weight != before).all()
    assert torch.equal(task.model[0].weight, frozen)
    assert int(task.model.get_buffer("2.num_batches_tracked")) == 3


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"solver": "newton"}, "There is no solver 'newton'"),
        ({"terms": -1}, "terms must be a whole number, 0 or more with neumann, not -1"),
        ({"terms": 0, "solver": "cg"}, "terms must be a whole number, 1 or more with cg, not 0"),
        ({"scale": 0.0}, r"scale must be a number above 0, or None for the learning rate, not 0\.0"),
        ({"damping": -1.0}, r"damping must be a number, 0 or more, not -1\.0"),
        ({"tolerance": float("nan")}, "tolerance must be a number, 0 or more, not nan"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        InverseHessian(**settings)


def test_what_it_cannot_look_through_is_refused() -> None:
    for changed in ({"virtual_steps": 2}, {"learning_rate": HyperParameter("learning rate", 0.1)}):
        with pytest.raises(ValueError, match="implicit takes no virtual step"):
            Quadratic().tuner("implicit", **changed)


def test_a_series_that_grows_is_refused_before_anything_has_changed() -> None:
    task = Quadratic()
    before = task.model.weight.detach().clone()
    with pytest.raises(ValueError, match="The Neumann series does not converge: each of its terms is"):
        task.gradient(InverseHessian(scale=10.0))
    assert torch.equal(task.model.weight, before)


def test_generators_of_parameters_work_or_say_so() -> None:
    """A generator can be read once: a second reader gets nothing, and would learn nothing."""
    task = Quadratic()
    weights = LossWeights(NAMES, START).double()
    inner, outer = task.model.parameters(), weights.parameters()
    tuner = LossWeightTuner(
        (module for module in [task.model]),  # type: ignore[arg-type]
        torch.optim.SGD(inner, lr=0.05),
        weights,
        torch.optim.SGD(outer, lr=0.1),
        estimator="implicit",
    )
    before = weights.values().detach().clone()
    tuner.step(task.losses, task.validation)
    assert (weights.values() != before).all()
    for read in (inner, outer):
        with pytest.raises(ValueError, match="empty parameter list"):
            torch.optim.SGD(read, lr=0.1)
    used = iter([task.model])
    list(used)
    with pytest.raises(ValueError, match="is none of the model's"):
        LossWeightTuner(used, tuner.optimizer, weights, tuner.outer_optimizer)  # type: ignore[arg-type]
