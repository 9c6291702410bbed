"""The task `two-color-grid`: fixed and self-tuned weights of the entropy while rewards keep swapping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from bilevel import report
from bilevel.agents import divergence
from bilevel.core import init_outer, inner_step, outer_step
from bilevel.hypergradient import BilevelProblem, Unrolled, bootstrapped
from bilevel.optimizers import adam, sgd
from bilevel.tasks._results import Trials
from bilevel.tasks._task import Measure, Progress, Trial
from bilevel.tasks.self_tuning._grid_agent import Experience, Rollout
from bilevel.tasks.self_tuning._grid_settings import TwoColorSettings

TOTAL, ADAPTATION = "cumulative reward (thousands)", "adaptation (thousand steps)"
BEFORE, WEIGHT_AFTER, WEIGHT_BEFORE = (
    "reward before a swap",
    "entropy weight after a swap",
    "entropy weight before a swap",
)
GOOD_REWARD = 0.135
"""Half the reward per step of a good policy: an agent that earns it has adapted to a swap."""
BINS = 50
"""Parts of the time between two swaps, at most, and points of the curve of the cumulative reward."""


class Learning:
    """Agents that learn, seed by seed in one batch, with a fixed or tuned weight of the entropy."""

    def __init__(self, settings: TwoColorSettings, weighting: str, seeds: Sequence[int]) -> None:
        self.settings, self.weighting = settings, weighting
        self.experience = Experience(settings, seeds)
        agents = self.experience.agents
        self.optimizer = sgd(settings.learning_rate)
        self.theta, self.phi = self.experience.theta, self.experience.phi
        self.opt_state = self.optimizer.init(self.theta)
        self.outer_optimizer = adam(settings.outer_learning_rate)
        self.outer_state = init_outer(self.phi, self.outer_optimizer)
        self.weights: list[Tensor] = []  # of the entropy in each update, [seed]
        fixed = weighting == "fixed"

        def loss(theta: Tensor, phi: Tensor, data: Rollout) -> Tensor:
            policy, entropy = agents.terms(theta, data)
            weight = settings.ent_coef if fixed else agents.entropy_weight(phi, data)
            return policy - weight * entropy

        def outer_loss(theta: Tensor, phi: Tensor, data: Rollout) -> Tensor:
            policy, entropy = agents.terms(theta, data)
            return policy - settings.outer_ent_coef * entropy

        def plain_loss(theta: Tensor, phi: Tensor, data: Rollout) -> Tensor:
            return agents.terms(theta, data)[0]

        def matching(target: Tensor, theta: Tensor, data: tuple[Rollout, ...]) -> Tensor:
            observed = data[-1].observed
            return divergence(agents.policy(target, observed), agents.policy(theta, observed)).mean(-1)

        draw, draw_ahead = self.experience.draw, self.experience.draw_ahead
        self.step = inner_step(loss, self.optimizer)
        self.problem = BilevelProblem(
            step=self.step,
            outer_loss=outer_loss,
            inner_data=lambda theta, phi, k: draw(theta),
            outer_data=lambda theta, phi: draw_ahead(theta),
        )
        if weighting == "bootstrapped":
            last = settings.target_steps - 1
            self.problem = bootstrapped(
                self.problem,
                steps=settings.target_steps,
                target_step=inner_step(plain_loss, self.optimizer),
                matching=matching,
                data=lambda theta, phi, place: (draw if place < last else draw_ahead)(theta),
            )

    @property
    def updates(self) -> int:
        """Updates of one call of `update`."""
        settings = self.settings
        tuned = {
            "mgrl": settings.mgrl_steps,
            "bootstrapped": settings.inner_steps + settings.target_steps - 1,
        }
        return tuned.get(self.weighting, 1)

    def update(self) -> None:
        """Learn from one rollout; with a tuned weight, from those of one outer step."""
        settings, weigh = self.settings, self.experience.agents.entropy_weight
        if self.weighting == "fixed":
            with torch.no_grad():
                rollout = self.experience.draw(self.theta)
                self.theta, self.opt_state = self.step(self.theta, self.opt_state, self.phi, rollout)
            return
        steps = settings.mgrl_steps if self.weighting == "mgrl" else settings.inner_steps
        estimate = Unrolled()(self.problem, self.theta, self.opt_state, self.phi, steps=steps)
        rollouts = list(estimate.inner_data)
        self.theta, self.opt_state = estimate.theta, estimate.opt_state
        if self.weighting == "bootstrapped":
            bootstrap = estimate.outer_data
            self.theta, self.opt_state = bootstrap.theta, bootstrap.opt_state
            rollouts += bootstrap.data[:-1]
        with torch.no_grad():
            self.weights += [weigh(self.phi, rollout) for rollout in rollouts]
        self.phi, self.outer_state = outer_step(
            self.phi, estimate.gradient, self.outer_state, self.outer_optimizer
        )


class TwoColorGrid:
    """Does a self-tuned weight of the entropy adapt faster than a fixed one? A `BatchTask`.

    >>> from bilevel.tasks.self_tuning import TwoColorSettings
    >>> settings = TwoColorSettings(environment_steps=4000, swap_steps=1000, num_envs=8)
    >>> trials = TwoColorGrid().run_many(settings, "mgrl", [0, 1], lambda fraction: None)
    >>> len(trials), 0 < float(trials[0].measures["entropy weight before a swap"]) < 1
    (2, True)
    """

    summary = "a grid whose rewards swap: when should an actor-critic explore again?"
    settings = TwoColorSettings
    measures: Sequence[Measure] = (
        Measure(TOTAL, "sum of the rewards of all environment steps of a seed.", "higher"),
        Measure(
            ADAPTATION,
            f"environment steps after a swap until a fiftieth of the time between swaps earns {GOOD_REWARD} "
            "per step, at most that whole time; mean over swaps.",
            "lower",
        ),
        Measure(BEFORE, "in the last tenth of the time between swaps; the optimum is near 0.27.", "higher"),
        Measure(WEIGHT_AFTER, "in the first tenth of the time between swaps.", "neither"),
        Measure(WEIGHT_BEFORE, "in the last tenth of that time.", "neither"),
    )
    weightings: Mapping[str, str] = {
        "fixed": "actor-critic with the weight ent_coef of the entropy",
        "mgrl": "tuned by the policy-gradient loss after mgrl_steps updates (Xu et al. 2018)",
        "bootstrapped": "tuned by the divergence from a bootstrapped target (Flennerhag et al. 2021)",
    }

    def run(self, settings: TwoColorSettings, weighting: str, seed: int, progress: Progress) -> Trial:
        """Learn with one seed; see `Task.run`."""
        (trial,) = self.run_many(settings, weighting, [seed], progress)
        return trial

    def run_many(
        self, settings: TwoColorSettings, weighting: str, seeds: Sequence[int], progress: Progress
    ) -> list[Trial]:
        """Learn with several seeds in one batch; see `BatchTask.run_many`."""
        learning = Learning(settings, weighting, seeds)
        done = 0
        while done + learning.updates <= settings.steps:
            learning.update()
            done += learning.updates
            progress(done / settings.steps)
        rewards = torch.stack(learning.experience.sums[:done]) / settings.update_steps
        if not rewards.isfinite().all() or not learning.theta.isfinite().all():
            raise FloatingPointError("A policy is not finite: try a smaller learning rate.")
        weights = (
            torch.stack(learning.weights) if learning.weights else torch.full_like(rewards, settings.ent_coef)
        )
        progress(1.0)
        return [
            _trial(settings, *(values[:, place].double().numpy() for values in (rewards, weights)))
            for place in range(len(seeds))
        ]

    def draw(self, trials: Trials, path: Path) -> None:
        """Draw cumulative rewards, and rewards and weights of the entropy after a swap, means over swaps."""
        with report.style():
            figure = Figure(figsize=(13, 3.8), layout="constrained")
            total, reward, weight = figure.subplots(1, 3)
            _draw(total, trials, TOTAL, 1e-6)
            total.set(xlabel="environment steps (millions)", ylabel=TOTAL)
            for axes, name in ((reward, "reward per step"), (weight, "weight of the entropy")):
                _draw(axes, trials, name, 1e-3)
                axes.set(xlabel="steps since a swap (thousands)", ylabel=name)
            weight.set_ylim(bottom=0)
            figure.legend(*total.get_legend_handles_labels(), loc="outside right center")
        report.save(figure, path)


def _draw(axes: Axes, trials: Trials, curve: str, scale: float) -> None:
    for (weighting, runs), look in zip(trials.items(), report.looks(list(trials)).values(), strict=True):
        if curve in runs[0].curves:
            samples = np.array([run.curves[curve] for run in runs]).T
            report.draw_band(
                axes, scale * np.array(runs[0].curves[f"{curve} at"]), samples, {**look, "label": weighting}
            )


def _trial(settings: TwoColorSettings, rewards: NDArray[Any], weights: NDArray[Any]) -> Trial:
    """Measure one seed by its mean rewards and its weights of the entropy, [update] each."""
    total = np.cumsum(rewards) * settings.update_steps / 1000
    points = np.unique(np.linspace(0, len(total) - 1, 4 * BINS).round().astype(int))
    curves = {TOTAL: total[points].tolist(), f"{TOTAL} at": ((points + 1) * settings.update_steps).tolist()}
    measures = dict.fromkeys((ADAPTATION, BEFORE, WEIGHT_AFTER, WEIGHT_BEFORE), float("nan"))
    folded = _by_swap(settings, rewards)
    if len(folded):
        folded_weights = _by_swap(settings, weights)
        bins = folded.shape[1]
        tenth, width = -(-bins // 10), settings.swap_steps / bins
        good = folded >= GOOD_REWARD
        needed = np.where(good.any(1), good.argmax(1) + 1, bins) * width / 1000
        measures = {
            ADAPTATION: needed.mean(),
            BEFORE: folded[:, -tenth:].mean(),
            WEIGHT_AFTER: folded_weights[:, :tenth].mean(),
            WEIGHT_BEFORE: folded_weights[:, -tenth:].mean(),
        }
        at = ((np.arange(bins) + 0.5) * width).tolist()
        for name, values in (("reward per step", folded), ("weight of the entropy", folded_weights)):
            curves |= {name: values.mean(0).tolist(), f"{name} at": at}
    return Trial({TOTAL: total[-1], **measures}, curves)


def _by_swap(settings: TwoColorSettings, values: NDArray[Any]) -> NDArray[Any]:
    """Means of values [update] by the time since a swap: [swap, bin]; not of the time before the first one.

    The time after the last swap counts if it is whole.
    """
    bins = max(1, min(BINS, settings.swap_steps // (2 * settings.update_steps)))
    begun = np.arange(len(values)) * settings.update_steps
    swaps = (len(values) * settings.update_steps) // settings.swap_steps
    place = begun // settings.swap_steps * bins + begun % settings.swap_steps * bins // settings.swap_steps
    counted = place < swaps * bins
    sums = np.bincount(place[counted], values[counted], swaps * bins)
    counts = np.bincount(place[counted], minlength=swaps * bins)
    return (sums / np.maximum(counts, 1)).reshape(swaps, bins)[1:]
