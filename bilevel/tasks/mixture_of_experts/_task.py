"""The task `mixture-of-experts`: dense, sparse and annealed routers, with and without balance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import cross_entropy

from bilevel import report
from bilevel.loss_weights import HyperParameter, LossWeights, LossWeightTuner
from bilevel.tasks._results import Trials, draw_final
from bilevel.tasks._task import Measure, Progress, Trial
from bilevel.tasks.mixture_of_experts._environment import Environment, States
from bilevel.tasks.mixture_of_experts._measures import Collapse, accuracies, collapse
from bilevel.tasks.mixture_of_experts._model import MixtureModel
from bilevel.tasks.mixture_of_experts._routing import (
    ExpertRouting,
    dense,
    entmax,
    importance_loss,
    switch_loss,
    top_k,
    update_bias,
)
from bilevel.tasks.mixture_of_experts._settings import MixtureSettings

ACCURACY, EFFECTIVE, SUPPORT = "accuracy (%)", "effective experts", "experts per state"
ENDS = 1.001, 2.0  # bounds of a learned alpha
POINTS = 60  # approximate number of points of a curve


class Router(NamedTuple):
    """A router and its training."""

    text: str
    """A one-line description."""
    alpha: float | str = 1.0
    """Alpha of entmax; curriculum: by the schedule; learned: by the training loss; outer: by validation."""
    active: int | None = None
    """Experts that are selected by their scores, 0 for the setting `active`; None: by entmax."""
    balance: str = "none"
    """none, switch, importance, bias, or outer (Switch's loss with a learned weight)."""


ROUTERS: Mapping[str, Router] = {
    "softmax": Router("all experts, by softmax"),
    "softmax-balance": Router("softmax with the balance loss of Switch", balance="switch"),
    "sparsemax": Router("few experts, by sparsemax from the start", 2.0),
    "sparsemax-balance": Router("sparsemax with the balance loss of Switch", 2.0, balance="switch"),
    "sparsemax-importance": Router("sparsemax with the importance loss", 2.0, balance="importance"),
    "entmax": Router("entmax between them, its alpha learned by the training loss", "learned"),
    "curriculum": Router("from softmax to sparsemax, by the curriculum", "curriculum"),
    "curriculum-balance": Router(
        "the curriculum with the balance loss of Switch", "curriculum", balance="switch"
    ),
    "learned": Router(
        "entmax: alpha, from 1 on, and the balance weight learned from the validation loss",
        "outer",
        balance="outer",
    ),
    "top-1": Router("the best expert, weighted by its softmax probability", active=1),
    "top-1-balance": Router("the same with the balance loss of Switch", active=1, balance="switch"),
    "top-1-bias": Router("the same with selection biases (loss-free balance)", active=1, balance="bias"),
    "top-k": Router("the best `active` experts", active=0),
    "top-k-balance": Router("the same with the balance loss of Switch", active=0, balance="switch"),
}
"""Name -> router."""


class MixtureTraining:
    """A model, its router, and the losses of the next batch."""

    def __init__(self, settings: MixtureSettings, router: Router, seed: int) -> None:
        self.settings, self.router = settings, router
        generator = torch.Generator().manual_seed(seed)
        self.environment = Environment(settings, generator)
        self.validation_set = self.environment.draw(settings.validation_size, generator)
        self.test_set = self.environment.draw(settings.test_size, generator)
        self.stream = generator
        torch.manual_seed(seed)  # torch's layers take no generator
        self.model = MixtureModel(settings)
        start, constraint = (1.5, "bounded") if router.alpha == "learned" else (ENDS[0] + 0.05, "bounded")
        self.learned_alpha = HyperParameter("alpha", start, constraint, bounds=ENDS)
        self.bias = torch.zeros(settings.experts)
        self.step = 0
        self.batch = self.draw()

    def draw(self) -> States:
        """Draw the next batch."""
        return self.environment.draw(self.settings.batch_size, self.stream)

    @property
    def alpha(self) -> float | Tensor:
        """Alpha of entmax in this step."""
        if isinstance(self.router.alpha, float):
            return self.router.alpha
        if self.router.alpha == "curriculum":
            return self.settings.alpha(self.step)
        value: Tensor = self.learned_alpha()
        return value

    def gate(self, scores: Tensor) -> ExpertRouting:
        """Routing of these scores in this step."""
        if self.router.active is None:
            return dense(entmax(scores, self.alpha))
        bias = self.bias if self.router.balance == "bias" else None
        return top_k(scores, self.router.active or self.settings.active, bias)

    def losses(self) -> dict[str, Tensor]:
        """Losses of the batch: `action`, and `balance` where the router has one."""
        logits, routing = self.model(self.batch.entities, self.gate)
        losses = {"action": cross_entropy(logits, self.batch.actions)}
        if self.router.balance in ("switch", "outer"):
            losses["balance"] = switch_loss(routing)
        elif self.router.balance == "importance":
            losses["balance"] = importance_loss(routing)
        return losses

    def validation(self) -> Tensor:
        """Cross-entropy of the validation set's actions."""
        logits, _ = self.model(self.validation_set.entities, self.gate)
        return cross_entropy(logits, self.validation_set.actions)

    def advance(self) -> None:
        """Go on to the next batch, after biases were updated by this one."""
        if self.router.balance == "bias":
            with torch.no_grad():
                routing = self.gate(self.model.scores(self.batch.entities))
            self.bias = update_bias(self.bias, routing, self.settings.bias_rate)
        self.batch = self.draw()
        self.step += 1


def _trainer(training: MixtureTraining) -> Callable[[], float]:
    """Function that takes a step, and returns the weight of the balance loss in it."""
    settings, model = training.settings, training.model
    if training.router.balance == "outer":
        optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
        weights = LossWeights(["balance"], max(settings.balance_coef, 1e-4))
        tuner = LossWeightTuner(
            model,
            optimizer,
            _Beside(weights),
            torch.optim.Adam(
                [*weights.parameters(), *training.learned_alpha.parameters()], lr=settings.outer_learning_rate
            ),
            also=[training.learned_alpha],
        )

        def tune() -> float:
            tuner.step(training.losses, training.validation)
            return weights.as_dict()["balance"]

        return tune

    own = [*model.parameters(), *training.learned_alpha.parameters()]
    optimizer = torch.optim.Adam(own, lr=settings.learning_rate)

    def step() -> float:
        losses = training.losses()
        total = losses["action"] + settings.balance_coef * losses.get("balance", torch.zeros(()))
        if not total.isfinite():
            raise FloatingPointError("The training loss is not finite: try a smaller learning rate.")
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        return settings.balance_coef if "balance" in losses else 0.0

    return step


class _Beside(torch.nn.Module):
    """The loss of actions with weight 1, and the others by their learned weights."""

    def __init__(self, weights: LossWeights) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        total: Tensor = losses["action"] + self.weights({"balance": losses["balance"]})
        return total


class MixtureOfExperts:
    """Does a curriculum from softmax to sparsemax help beyond a balance loss? Keeps the contract of `Task`.

    >>> from bilevel.tasks.mixture_of_experts import MixtureSettings
    >>> trial = MixtureOfExperts().run(MixtureSettings(steps=2), "top-1", 0, lambda fraction: None)
    >>> trial.measures["experts per state"]
    1.0
    """

    summary = "state, graph attention, router, experts, action: do the experts collapse?"
    settings = MixtureSettings
    measures: Sequence[Measure] = (
        Measure(ACCURACY, "right actions on held-out states.", "higher"),
        Measure(
            EFFECTIVE, "exp of the entropy of the mean gates; all are used equally at the maximum.", "higher"
        ),
        Measure(SUPPORT, "mean number of experts with a gate above 0.", "lower"),
        Measure(
            "mode information (NMI)",
            "normalized mutual information of the expert with the largest gate and the true mode.",
            "higher",
        ),
        Measure("MaxVio", "largest load of an expert over the mean load, minus 1.", "lower"),
        Measure(
            "accuracy without an expert (%)",
            "mean over the experts that are left out, one at a time.",
            "neither",
        ),
        Measure(
            "states that train the router (%)",
            "states whose gates change with the router's scores; a sparse gate of one expert is constant.",
            "higher",
        ),
    )
    weightings: Mapping[str, str] = {name: router.text for name, router in ROUTERS.items()}

    def run(self, settings: MixtureSettings, weighting: str, seed: int, progress: Progress) -> Trial:
        """Train one model; see `Task.run`. A seed determines modes, states and initial model."""
        training = MixtureTraining(settings, ROUTERS[weighting], seed)
        step = _trainer(training)
        stride = max(1, settings.steps // POINTS)
        curves: dict[str, list[float]] = {
            "at": [],
            EFFECTIVE: [],
            SUPPORT: [],
            "alpha": [],
            "balance weight": [],
        }
        for done in range(1, settings.steps + 1):
            coef = step()
            if done % stride == 0 or done == settings.steps:
                with torch.no_grad():
                    now = _collapse(training, training.validation_set)
                    alpha = float(training.alpha) if training.router.active is None else math.nan
                for name, value in zip(curves, (done, now.effective, now.support, alpha, coef), strict=True):
                    curves[name].append(float(value))
                progress(done / settings.steps)
            if done < settings.steps:
                training.advance()
        accuracy, without = accuracies(training.model, training.gate, training.test_set)
        final = _collapse(training, training.test_set)
        values = (
            accuracy,
            final.effective,
            final.support,
            final.information,
            final.max_violation,
            sum(without) / len(without),
            100 * _trained(training),
        )
        times = curves.pop("at")
        recorded = {name: values for name, values in curves.items() if not np.isnan(values).any()}
        return Trial(
            {measure.name: value for measure, value in zip(self.measures, values, strict=True)},
            recorded | {f"{name} at": times for name in recorded},
            {"gates by mode": _gates_by_mode(training)},
        )

    def draw(self, trials: Trials, path: Path) -> None:
        """Draw accuracy, effective experts, experts per state, and mode information of every router."""
        with report.style():
            figure = Figure(figsize=(14, 1.5 + 0.42 * len(trials)))
            panels = figure.subplots(1, 4, sharey=True)
            for axes, measure in zip(panels, self.measures[:4], strict=True):
                draw_final(axes, trials, measure.name)
        report.save(figure, path)


@torch.no_grad()
def _collapse(training: MixtureTraining, states: States) -> Collapse:
    return collapse(training.gate(training.model.scores(states.entities)).gates, states.modes)


def _trained(training: MixtureTraining) -> float:
    """Share of test states whose gates have a derivative with respect to the scores."""
    scores = training.model.scores(training.test_set.entities).detach().requires_grad_()
    gates = training.gate(scores).gates
    slopes = torch.zeros(len(scores))
    for expert in range(gates.shape[-1]):
        (slope,) = torch.autograd.grad(
            gates[:, expert].sum(), scores, retain_graph=True, materialize_grads=True
        )
        slopes = slopes + slope.abs().sum(-1)
    return float((slopes > 1e-7).double().mean())


@torch.no_grad()
def _gates_by_mode(training: MixtureTraining) -> np.ndarray[Any, Any]:
    """Mean gates of the test states of each mode, [mode, expert]."""
    states = training.test_set
    gates = training.gate(training.model.scores(states.entities)).gates
    means = [gates[states.modes == mode].mean(0) for mode in range(training.settings.modes)]
    return torch.stack(means).numpy()
