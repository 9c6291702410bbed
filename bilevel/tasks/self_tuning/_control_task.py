"""The task `actor-critic`: fixed and self-tuned hyper-parameters on CartPole and Acrobot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from bilevel import report
from bilevel.core import init_outer, inner_step_per_agent, outer_step
from bilevel.hypergradient import BilevelProblem, Unrolled, bootstrapped
from bilevel.nn import sigmoid
from bilevel.optimizers import adam
from bilevel.tasks._results import Trials
from bilevel.tasks._task import Measure, Progress, Trial
from bilevel.tasks.self_tuning._control_agent import ActorCritic, Fragment, Rollouts
from bilevel.tasks.self_tuning._control_settings import BOUNDS, ActorCriticSettings

TRAINING, END = "return in training", "return at the end"
SHOWN = ("discount", "trace_lambda", "leak", "ent_coef")
TITLES = {
    "trace_lambda": "lambda of the traces",
    "leak": "leak of V-trace",
    "ent_coef": "entropy coefficient",
}
"""Hyper-parameters as figures call them, where that is not the setting's name."""
POINTS = 60
"""Points of a curve, at most."""


class Tuning(NamedTuple):
    """Self-tuning under one weighting."""

    text: str
    """A one-line description."""
    learned: tuple[str, ...] = ()
    """Names of the tuned hyper-parameters."""
    regularized: bool = False
    """Add the divergence from the old policy to the outer loss."""
    auxiliary: bool = False
    """Learn auxiliary heads, each with hyper-parameters of its own."""
    target: bool = False
    """The outer loss is the distance from a bootstrapped target."""


EVERY = tuple(BOUNDS)
TUNINGS: Mapping[str, Tuning] = {
    "fixed": Tuning("hyper-parameters as in the settings"),
    "mgrl": Tuning(
        "discount and lambda tuned by the loss of the next rollout (Xu et al. 2018)",
        ("discount", "trace_lambda"),
    ),
    "stac": Tuning("all tuned, with leaky V-trace (Zahavy et al. 2020)", EVERY, regularized=True),
    "stacx": Tuning("stac with auxiliary heads, each with its own", EVERY, regularized=True, auxiliary=True),
    "bootstrapped": Tuning(
        "all tuned by the distance from a bootstrapped target (Flennerhag et al. 2021)", EVERY, target=True
    ),
}
"""Name -> self-tuning."""


class OuterData(NamedTuple):
    """The data of the outer loss of `mgrl`, `stac` and `stacx`."""

    rollout: Fragment
    """The next rollout, which is also the next to learn from."""
    old: Tensor
    """Parameters before the inner steps, [seed, parameter]."""


class ControlLearning:
    """Actor-critics that learn, seed by seed in one batch, with fixed or tuned hyper-parameters."""

    def __init__(self, settings: ActorCriticSettings, weighting: str, seeds: Sequence[int]) -> None:
        self.settings, self.tuning = settings, TUNINGS[weighting]
        self.heads = 1 + settings.auxiliary_heads * self.tuning.auxiliary
        self.agent = ActorCritic.of(settings, self.heads)
        self.rollouts = Rollouts(settings, self.agent, seeds)
        self.theta, self.optimizer = self.rollouts.theta, adam(settings.learning_rate)
        self.opt_state = self.optimizer.init(self.theta)
        start = torch.tensor([getattr(settings, name) / BOUNDS[name] for name in self.tuning.learned])
        self.phi = start.logit().expand(len(seeds), self.heads, -1).clone()
        self.outer_optimizer = adam(settings.outer_learning_rate)
        self.outer_state = init_outer(self.phi, self.outer_optimizer)
        self.hyper: list[Tensor] = []  # main head's in each outer step, [seed, SHOWN]
        self.step = inner_step_per_agent(self._loss, self.optimizer)
        self.latest: Fragment | None = None
        self.ahead: Fragment | None = None
        self.problem = self._problem()

    def values(self, phi: Tensor) -> list[dict[str, Tensor | float]]:
        """Hyper-parameters of each head: numbers, or tensors [seed] where they are tuned."""
        fixed = {name: getattr(self.settings, name) for name in BOUNDS}
        bounded = sigmoid(phi)
        return [
            fixed
            | {name: BOUNDS[name] * bounded[:, head, place] for place, name in enumerate(self.tuning.learned)}
            for head in range(self.heads)
        ]

    def _weighted(
        self, own: Tensor, others: Tensor, data: Fragment, values: Sequence[Mapping[str, Tensor | float]]
    ) -> Tensor:
        traces = [[one["discount"], one["trace_lambda"], one["leak"]] for one in values]
        terms = self.agent.terms(own, others, data, traces)
        losses = [
            term.total(one["policy_coef"], one["value_coef"], one["ent_coef"])
            for term, one in zip(terms, values, strict=True)
        ]
        return torch.stack(losses).sum(0)

    def _loss(self, own: Tensor, others: Tensor, phi: Tensor, data: Fragment) -> Tensor:
        return self._weighted(own, others, data, self.values(phi))

    def _reference_loss(self, own: Tensor, others: Tensor, data: Fragment) -> Tensor:
        """The main head's loss with the hyper-parameters of the settings, [seed]."""
        return self._weighted(own, others, data, [{name: getattr(self.settings, name) for name in BOUNDS}])

    def _outer_loss(self, theta: Tensor, phi: Tensor, data: OuterData) -> Tensor:
        loss = self._reference_loss(theta, theta.detach(), data.rollout)
        if not self.tuning.regularized:
            return loss
        return loss + self.settings.kl_coef * self.agent.divergence(theta, data.old, data.rollout)

    def _matching(self, target: Tensor, theta: Tensor, data: tuple[Fragment, ...]) -> Tensor:
        """Divergence of the policies, and half the squared distance of the values, means over samples."""
        observed = data[-1].observed
        values = [self.agent.network(each, observed)[..., self.agent.actions] for each in (target, theta)]
        distance = (values[0] - values[1]).square().mean(-1) / 2
        return self.agent.divergence(target, theta, data[-1]) + self.settings.value_coef * distance

    def _problem(self) -> BilevelProblem:
        epochs = self.settings.update_epochs

        def draw(theta: Tensor, phi: Tensor, k: int) -> Fragment:
            """A new rollout, or the same one again for its later epochs."""
            if k % epochs == 0:
                self.latest = self.rollouts.draw(theta) if self.ahead is None else self.ahead
                self.ahead = None
            assert self.latest is not None
            return self.latest

        def draw_ahead(theta: Tensor, phi: Tensor) -> OuterData:
            self.ahead = self.rollouts.draw(theta)
            return OuterData(self.ahead, self.theta)

        problem = BilevelProblem(
            step=self.step, outer_loss=self._outer_loss, inner_data=draw, outer_data=draw_ahead
        )
        if not self.tuning.target:
            return problem
        return bootstrapped(
            problem,
            steps=self.settings.target_rollouts * epochs,
            target_step=inner_step_per_agent(
                lambda own, others, phi, data: self._reference_loss(own, others, data), self.optimizer
            ),
            matching=self._matching,
            data=draw,
        )

    def update(self) -> int:
        """Learn from a rollout, or in one outer step from several; return the number of rollouts."""
        steps = self.settings.update_epochs
        with torch.no_grad():
            hyper = self.values(self.phi)[0]
            self.hyper.append(
                torch.stack([torch.as_tensor(hyper[name]).expand(len(self.phi)) for name in SHOWN], -1)
            )
        if not self.tuning.learned:
            with torch.no_grad():
                for k in range(steps):
                    rollout = self.problem.inner_data(self.theta, self.phi, k)
                    self.theta, self.opt_state = self.step(self.theta, self.opt_state, self.phi, rollout)
            return 1
        estimate = Unrolled()(self.problem, self.theta, self.opt_state, self.phi, steps=steps)
        self.phi, self.outer_state = outer_step(
            self.phi, estimate.gradient, self.outer_state, self.outer_optimizer
        )
        end: Any = estimate.outer_data if self.tuning.target else estimate
        self.theta, self.opt_state = end.theta, end.opt_state
        return 1 + self.settings.target_rollouts * self.tuning.target


class ActorCriticTask:
    """Do self-tuned hyper-parameters beat fixed ones on CartPole and Acrobot? A `BatchTask`.

    >>> from bilevel.tasks.self_tuning import ActorCriticSettings
    >>> settings = ActorCriticSettings(environment_steps=1024)
    >>> trials = ActorCriticTask().run_many(settings, "stac", [0, 1], lambda fraction: None)
    >>> len(trials), 0 < trials[0].measures["discount at the end"] < 1
    (2, True)
    """

    summary = "CartPole and Acrobot: does an actor-critic tune its own hyper-parameters?"
    settings = ActorCriticSettings
    measures: Sequence[Measure] = (
        Measure(TRAINING, "mean over all episodes, each weighed by the rollout that it ends in.", "higher"),
        Measure(END, "mean over episodes that end in the last tenth of training.", "higher"),
        *(
            Measure(f"{name} at the end", "of the head that acts, in the last outer step.", "neither")
            for name in SHOWN
        ),
    )
    weightings: Mapping[str, str] = {name: tuning.text for name, tuning in TUNINGS.items()}

    def run(self, settings: ActorCriticSettings, weighting: str, seed: int, progress: Progress) -> Trial:
        """Learn with one seed; see `Task.run`."""
        (trial,) = self.run_many(settings, weighting, [seed], progress)
        return trial

    def run_many(
        self, settings: ActorCriticSettings, weighting: str, seeds: Sequence[int], progress: Progress
    ) -> list[Trial]:
        """Learn with several seeds in one batch; see `BatchTask.run_many`."""
        learning = ControlLearning(settings, weighting, seeds)
        done, at = 0, []
        longest = 1 + settings.target_rollouts * learning.tuning.target
        while done + longest <= settings.steps:
            at.append(done * settings.update_steps)
            done += learning.update()
            progress(done / settings.steps)
        if not learning.theta.isfinite().all():
            raise FloatingPointError("A policy is not finite: try a smaller learning rate.")
        progress(1.0)
        returns, hyper = np.stack(learning.rollouts.returns[:done], -1), torch.stack(learning.hyper, 1)
        return [
            _trial(settings, returns[:, place], hyper[place].double().numpy(), at)
            for place in range(len(seeds))
        ]

    def draw(self, trials: Trials, path: Path) -> None:
        """Draw the returns, and the hyper-parameters of the head that acts, over environment steps."""
        names = ("return", *SHOWN)
        with report.style():
            figure = Figure(figsize=(11, 6.2), layout="constrained")
            *panels, empty = figure.subplots(2, 3).flat
            for axes, name in zip(panels, names, strict=True):
                for (weighting, runs), look in zip(
                    trials.items(), report.looks(list(trials)).values(), strict=True
                ):
                    steps = np.array(runs[0].curves[f"{name} at"]) / 1000
                    samples = np.array([run.curves[name] for run in runs]).T
                    report.draw_band(axes, steps, samples, {**look, "label": weighting})
                axes.set_title(TITLES.get(name, name))
            figure.supxlabel("environment steps (thousands)")
            empty.set(xticks=[], yticks=[], frame_on=False)
            empty.legend(*panels[0].get_legend_handles_labels(), loc="center")
        report.save(figure, path)


def _trial(
    settings: ActorCriticSettings, returns: NDArray[Any], hyper: NDArray[Any], at: Sequence[int]
) -> Trial:
    """Measure one seed by the sums and counts of returns [2, rollout], and its hyper-parameters."""
    sums, counts = returns
    tenth = -(-len(sums) // 10)
    parts = np.array_split(np.arange(len(sums)), min(POINTS, len(sums)))
    means = np.array([sums[part].sum() / max(counts[part].sum(), 1) for part in parts])
    filled = np.array([counts[part].sum() > 0 for part in parts])
    means = means[np.maximum.accumulate(np.where(filled, np.arange(len(parts)), filled.argmax()))]
    curves = {
        "return": means.tolist(),
        "return at": [(part[-1] + 1) * settings.update_steps for part in parts],
    }
    points = np.unique(np.linspace(0, len(at) - 1, POINTS).round().astype(int))
    for place, name in enumerate(SHOWN):
        curves |= {name: hyper[points, place].tolist(), f"{name} at": [at[point] for point in points]}
    ended = counts[-tenth:].sum()
    measures = {
        TRAINING: float(np.average(means, weights=[len(part) for part in parts]))
        if counts.sum()
        else float("nan"),
        END: float(sums[-tenth:].sum() / ended) if ended else float("nan"),
    }
    ends = {f"{name} at the end": float(hyper[-1, place]) for place, name in enumerate(SHOWN)}
    return Trial(measures | ends, curves)
