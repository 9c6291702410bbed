"""The task `mixture-of-experts`: dense, sparse and annealed routers, with and without balance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from bilevel.nn import ExpertUse, expert_use
from bilevel.tasks._results import Trials
from bilevel.tasks._task import Measure, Progress, Trial
from bilevel.tasks.mixture_of_experts._environment import States
from bilevel.tasks.mixture_of_experts._figure import draw_mixtures
from bilevel.tasks.mixture_of_experts._measures import accuracies
from bilevel.tasks.mixture_of_experts._settings import MixtureSettings
from bilevel.tasks.mixture_of_experts._training import ROUTERS, MixtureTraining, trainer

ACCURACY, EFFECTIVE, SUPPORT = "accuracy (%)", "effective experts", "experts per state"
ROUTED, ATTENTION = "states that train the router (%)", "attention gradient"
POINTS = 60  # approximate number of points of a curve
LEAST_SLOPE = 1e-7  # smaller derivatives of gates count as 0


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
            ROUTED,
            "states whose gates change with the router's scores; a sparse gate of one expert is constant.",
            "higher",
        ),
        Measure(
            "attention gradient (%)",
            "norm of the loss's gradient at the graph attention, mean over the last third of training, in "
            "% of the first third's.",
            "neither",
        ),
    )
    weightings: Mapping[str, str] = {name: router.text for name, router in ROUTERS.items()}

    def run(self, settings: MixtureSettings, weighting: str, seed: int, progress: Progress) -> Trial:
        """Train one model; see `Task.run`. A seed determines modes, states and initial model."""
        training = MixtureTraining(settings, ROUTERS[weighting], seed)
        step = trainer(training)
        stride = max(1, settings.steps // POINTS)
        curves: dict[str, list[float]] = {
            "at": [],
            EFFECTIVE: [],
            SUPPORT: [],
            ROUTED: [],
            ATTENTION: [],
            "alpha": [],
            "balance weight": [],
        }
        for done in range(1, settings.steps + 1):
            coef = step()
            if done % stride == 0 or done == settings.steps:
                now = _use(training, training.validation_set)
                routed, attention = _gradients(training, training.validation_set)
                with torch.no_grad():
                    alpha = float(training.alpha) if training.router.active is None else math.nan
                row = done, now.effective, now.support, routed, attention, alpha, coef
                for name, value in zip(curves, row, strict=True):
                    curves[name].append(float(value))
                progress(done / settings.steps)
            if done < settings.steps:
                training.advance()
        accuracy, without = accuracies(training.model, training.gate, training.test_set)
        final = _use(training, training.test_set)
        values = (
            accuracy,
            final.effective,
            final.support,
            final.information,
            final.max_violation,
            sum(without) / len(without),
            _gradients(training, training.test_set)[0],
            _last_third(curves[ATTENTION]),
        )
        times = curves.pop("at")
        recorded = {name: values for name, values in curves.items() if not np.isnan(values).any()}
        return Trial(
            {measure.name: value for measure, value in zip(self.measures, values, strict=True)},
            recorded | {f"{name} at": times for name in recorded},
            {"gates by mode": _gates_by_mode(training), "accuracy without expert": np.array(without)},
        )

    def draw(self, trials: Trials, path: Path) -> None:
        """Draw final measures of every router, and its use of experts and its gradients over the steps."""
        finals = [measure.name for measure in self.measures[:4]]
        draw_mixtures(trials, finals, [SUPPORT, ROUTED, ATTENTION], path)


@torch.no_grad()
def _use(training: MixtureTraining, states: States) -> ExpertUse:
    return expert_use(training.gate(training.model.scores(states.entities)).gates, states.modes)


def _gradients(training: MixtureTraining, states: States) -> tuple[float, float]:
    """Measure how much of the loss's gradient passes the gates.

    Returns:
        The share of states whose gates have a derivative with respect to the scores, in %, and the norm of
        the gradient of the mean loss at the graph attention.
    """
    model = training.model
    scores = model.scores(states.entities)
    gates = training.gate(scores).gates
    loss = cross_entropy(model.logits(states.entities, gates), states.actions)
    attention = torch.autograd.grad(loss, list(model.attention.parameters()), retain_graph=True)
    slopes = torch.zeros(len(scores))
    for expert in range(gates.shape[-1]):
        (slope,) = torch.autograd.grad(gates[:, expert].sum(), scores, retain_graph=True)
        slopes = slopes + slope.abs().sum(-1)
    norm = torch.cat([gradient.flatten() for gradient in attention]).norm()
    return 100 * float((slopes > LEAST_SLOPE).double().mean()), float(norm)


def _last_third(values: Sequence[float]) -> float:
    """Mean of the last third in % of the mean of the first third; NaN if that is 0."""
    third = math.ceil(len(values) / 3)
    first = float(np.mean(values[:third]))
    return 100 * float(np.mean(values[-third:])) / first if first else math.nan


@torch.no_grad()
def _gates_by_mode(training: MixtureTraining) -> np.ndarray[Any, Any]:
    """Mean gates of the test states of each mode, [mode, expert]."""
    states = training.test_set
    gates = training.gate(training.model.scores(states.entities)).gates
    means = [gates[states.modes == mode].mean(0) for mode in range(training.settings.modes)]
    return torch.stack(means).numpy()
