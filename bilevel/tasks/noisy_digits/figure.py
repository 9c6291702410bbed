"""The figure of `noisy-digits`: who weighs how much, and what that is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bilevel.experiment.statistics import interquartile_mean
from bilevel.report.style import BLACK, BLUE, RED, looks, style
from bilevel.tasks.noisy_digits.ways import WAYS
from bilevel.tasks.seeds_figure import Marks, draw_final
from bilevel.tasks.task import Trial

ACCURACY = "test accuracy (%)"
BINS = 40
KINDS = {"right labels": (BLUE, False), "wrong labels": (RED, True)}
"""Name -> colour, and what `wrong` says of them."""

Trials = Mapping[str, Sequence[Trial]]


def noisy_digits_figure(trials: Trials) -> Figure:
    """Draw the weights of right and wrong labels, accuracy over training, and where it ends.

    Args:
        trials: way to weigh -> its trials, seed by seed.
    """
    weighing = [name for name, some in trials.items() if some[0].arrays]
    with style():
        figure = Figure(figsize=(12, 8.5 if weighing else 4.5))
        rows = list(np.atleast_1d(np.asarray(figure.subfigures(2 if weighing else 1, 1))).flat)
        if weighing:
            for name, axes in zip(
                weighing, rows[0].subplots(1, len(weighing), squeeze=False)[0], strict=True
            ):
                _draw_weights(axes, name, trials[name])
        course, final = rows[-1].subplots(1, 2)
        _draw_course(course, trials)
        _draw_final(final, trials)
    return figure


def _draw_weights(axes: Axes, name: str, trials: Sequence[Trial]) -> None:
    """Histograms over the samples of all seeds."""
    weights, wrong = (np.concatenate([trial.arrays[key] for trial in trials]) for key in ("weights", "wrong"))
    known = ~np.isnan(weights)
    bins = np.linspace(0, max(2.0, float(np.quantile(weights[known], 0.995))), BINS + 1).tolist()
    for kind, (colour, is_wrong) in KINDS.items():
        some = weights[known & (wrong == is_wrong)].clip(max=bins[-1])
        if len(some):
            axes.hist(
                some,
                bins=bins,
                weights=np.full(len(some), 100 / len(some)),
                color=colour,
                alpha=0.6,
                label=kind,
            )
    axes.axvline(1.0, color=BLACK, linestyle=":", linewidth=1.5, label="uniform")
    axes.set_yscale("log")
    axes.set_xlabel("weight (1: the mean of its batch)")
    axes.set_ylabel("samples of the kind (%)")
    axes.set_title(f"{name}: the samples of all seeds")
    axes.legend(loc="upper center", frameon=True, framealpha=1, edgecolor="none")


def _draw_course(axes: Axes, trials: Trials) -> None:
    """Interquartile means over seeds along training; who stops early goes the way of uniform."""
    for name, look in looks(list(trials)).items():
        if WAYS[name].stops_early and len(trials) > 1:
            continue
        steps = np.asarray(trials[name][0].courses[f"{ACCURACY} at"])
        values = np.array([trial.courses[ACCURACY] for trial in trials[name]])
        axes.plot(steps, interquartile_mean(values, axis=0), label=name, **look)
    axes.set_xlabel("training step")
    axes.set_ylabel(ACCURACY)
    axes.set_title("on the way (interquartile mean over seeds)")
    axes.legend(fontsize=10)


def _draw_final(axes: Axes, trials: Trials) -> None:
    """Where each way ends: the interquartile mean with its interval, and every seed."""
    of_way = looks(list(trials))

    def marks(way: str) -> Marks:
        colour = of_way[way]["color"]
        seeds = {"marker": "|", "color": colour, "alpha": 0.5, "markersize": 10}
        return Marks(seeds, {"color": colour, "markersize": 7})

    draw_final(axes, trials, ACCURACY, marks)
    axes.set_title("at the end (95 % interval; lines: seeds)")
