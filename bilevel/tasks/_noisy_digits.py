"""`noisy-digits` as a task: one training, its measures, and its figure.

The figure of `noisy-digits`: who weighs how much, and what that is worth.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from bilevel.experiments import interquartile_mean, probability_of_improvement
from bilevel.report import BLACK, BLUE, RED, looks, save, style
from bilevel.tasks._digits import CLASSES, PIXELS, Images
from bilevel.tasks._noisy_digits_ways import WAYS, Classifier, NoisyDigitsSettings, draw_data
from bilevel.tasks._summary import Marks, draw_final
from bilevel.tasks._task import Advance, Measure, Trial

ACCURACY = "test accuracy (%)"
BINS = 40
KINDS = {"right labels": (BLUE, False), "wrong labels": (RED, True)}
"""Name -> color, and what `wrong` says of them."""

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
    for kind, (color, is_wrong) in KINDS.items():
        some = weights[known & (wrong == is_wrong)].clip(max=bins[-1])
        if len(some):
            axes.hist(
                some,
                bins=bins,
                weights=np.full(len(some), 100 / len(some)),
                color=color,
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
        color = of_way[way]["color"]
        seeds = {"marker": "|", "color": color, "alpha": 0.5, "markersize": 10}
        return Marks(seeds, {"color": color, "markersize": 7})

    draw_final(axes, trials, ACCURACY, marks)
    axes.set_title("at the end (95 % interval; lines: seeds)")


LOOKS = 60
"""So many times on the way the test accuracy is written down, and the clean set's loss looked at."""


class NoisyDigits:
    """A weight for each sample of digits of which many are labeled wrongly; a small set is labeled right.

    The clean set is the validation objective. It is seen by `learned`, `learned-after`, `reweight` and
    `early-stopping`, which do not train on it otherwise, and by the two ways that do.

    Source:
        The kind of task: Shu et al., Meta-Weight-Net, arXiv 1902.07379, there on CIFAR.

    >>> small = NoisyDigitsSettings(train=50, clean=20, hidden=4, steps=5)
    >>> trial = NoisyDigits().run(small, "learned", 0, lambda part: None)
    >>> list(trial.measures)
    ['test accuracy (%)', 'weight of wrong labels', 'detection (AUC)']
    """

    summary = "handwritten digits, 40 % labeled wrongly, and a small clean set: a weight for each sample"
    measures: Sequence[Measure] = (
        Measure(ACCURACY, "of images that nothing was learned from.", "higher"),
        Measure(
            "weight of wrong labels",
            "the mean weight of wrong labels over that of right ones, each sample's last one in training.",
            "lower",
        ),
        Measure(
            "detection (AUC)",
            "the chance that a right label weighs more than a wrong one, ties counting half.",
            "higher",
        ),
    )
    weightings: Mapping[str, str] = {name: way.text for name, way in WAYS.items()}
    settings = NoisyDigitsSettings

    def run(self, settings: NoisyDigitsSettings, weighting: str, seed: int, advance: Advance) -> Trial:
        """Train one classifier; see `Task.run`. One seed is one split, one noise and one first model."""
        way, generator = WAYS[weighting], torch.Generator().manual_seed(seed)
        data = draw_data(settings, generator)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # torch's layers take no generator
            classifier = _classifier(settings)
            step = way.begin(classifier, data, settings)
        model, pool = classifier.model, way.pool(data)
        weights = torch.full((len(pool.labels),), math.nan)
        course, places = [], []
        best, best_loss = model, math.inf
        look_every = max(1, settings.steps // LOOKS)
        for done, index in zip(
            range(1, settings.steps + 1), _batches(pool, settings, generator), strict=False
        ):
            given = step(pool.chosen(index))
            if given is not None:
                weights[index] = given
            if done % look_every and done < settings.steps:
                continue
            course.append(data.test.accuracy(model))
            places.append(done)
            advance(done / settings.steps)
            if way.stops_early and (loss := _clean_loss(model, data.clean)) < best_loss:
                best, best_loss = copy.deepcopy(model), loss
        final = data.test.accuracy(best if way.stops_early else model)
        told = tell_apart(weights, data.wrong) if way.weighs else (math.nan, math.nan)
        return Trial(
            dict(zip((measure.name for measure in self.measures), (final, *told), strict=True)),
            {ACCURACY: course, f"{ACCURACY} at": places},
            {"weights": weights.numpy(), "wrong": data.wrong.numpy()} if way.weighs else {},
        )

    def draw(self, trials: Mapping[str, Sequence[Trial]], path: Path) -> None:
        """Draw how wrong and right labels weigh, and accuracies; see `Task.draw`."""
        save(noisy_digits_figure(trials), path)


def tell_apart(weights: Tensor, wrong: Tensor) -> tuple[float, float]:
    """How weights tell wrong labels from right ones.

    Args:
        weights: [sample]; NaN where a sample had none yet, which is left out.
        wrong: [sample], bool.

    Returns:
        the ratio of means, wrong over right, and the area under the curve: the chance that a right label
        weighs more than a wrong one. NaN where one kind has no weights, and for the ratio where right labels
        weigh nothing.

    >>> tell_apart(torch.tensor([0.5, 2.0, 2.0, 0.0]), torch.tensor([True, False, False, True]))
    (0.125, 1.0)
    """
    known = ~weights.isnan()
    bad, good = (weights[known & kind].double().numpy() for kind in (wrong, ~wrong))
    if not len(bad) or not len(good):
        return math.nan, math.nan
    ratio = float(bad.mean() / good.mean()) if good.mean() > 0 else math.nan
    return ratio, float(probability_of_improvement(good, bad))


def _classifier(settings: NoisyDigitsSettings) -> Classifier:
    model = nn.Sequential(nn.Linear(PIXELS, settings.hidden), nn.ReLU(), nn.Linear(settings.hidden, CLASSES))
    return Classifier(
        model, torch.optim.SGD(model.parameters(), lr=settings.learning_rate, momentum=settings.momentum)
    )


def _batches(pool: Images, settings: NoisyDigitsSettings, generator: torch.Generator) -> Iterator[Tensor]:
    """Epoch after epoch, each in an order of its own: places in the pool."""
    while True:
        yield from torch.randperm(len(pool.labels), generator=generator).split(settings.batch)


def _clean_loss(model: nn.Module, clean: Images) -> float:
    with torch.no_grad():
        return float(clean.losses(model).mean())
