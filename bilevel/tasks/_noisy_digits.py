"""The task `noisy-digits`: handwritten digits with many wrong labels, and a weight for each sample."""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from bilevel.core import Range
from bilevel.experiments import interquartile_mean, probability_of_improvement
from bilevel.loss_weights import LossWeightTuner, Reweighter, SampleWeights
from bilevel.report import BLACK, BLUE, RED, looks, save, style
from bilevel.tasks._digits import CLASSES, PIXELS, Images, check_settings, split_digits
from bilevel.tasks._results import Trials, draw_final
from bilevel.tasks._task import Measure, Progress, Trial
from games.core import require

ACCURACY = "test accuracy (%)"
EVALUATIONS = 60  # evaluations of test accuracy, and of the clean set's loss, during training


@dataclass(frozen=True, kw_only=True)
class NoisyDigitsSettings:
    """Data, model and training of `noisy-digits`.

    Raises:
        ValueError: a setting is out of range.

    >>> NoisyDigitsSettings(noise=0.2).steps
    600
    >>> NoisyDigitsSettings(noise=2.0)
    Traceback (most recent call last):
    ValueError: noise must be ...
    """

    noise: float = 0.4
    """Fraction of wrong training labels, from 0 to 1."""
    train_size: int = 1000
    """Number of training images, 1 or more."""
    clean_size: int = 100
    """Number of correctly labeled images, 1 or more; the rest of the 1797 is the test set."""
    hidden_size: int = 128
    """Units of the classifier's one hidden layer, 1 or more."""
    steps: int = 600
    """Number of training steps of every weighting, 1 or more."""
    batch_size: int = 100
    """Batch size in images, 1 or more."""
    learning_rate: float = 0.1
    """Learning rate of the classifier, above 0."""
    momentum: float = 0.9
    """Momentum of the classifier's gradient descent, from 0 to below 1."""
    outer_learning_rate: float = 0.001
    """Learning rate of Adam on the weighting network, 0 or more."""
    burn_in: int = 50
    """Steps before the weighting network is used and trained, 0 or more: initial losses do not indicate wrong
    labels, and a preference for large losses that is learned then can persist."""
    weight_hidden_size: int = 100
    """Hidden units of the weighting network, 1 or more."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            "train_size clean_size hidden_size steps batch_size weight_hidden_size",
            "train_size clean_size",
        )
        require(self.burn_in >= 0, f"burn_in must be 0 or more, not {self.burn_in}.")
        Range(min=0, max=1).require("noise", self.noise)


class NoisyDigitsData(NamedTuple):
    """Disjoint training, validation and test data."""

    train: Images
    wrong: Tensor  # mask of the training set's wrong labels: [image], bool
    clean: Images
    test: Images


def draw_data(settings: NoisyDigitsSettings, generator: torch.Generator) -> NoisyDigitsData:
    """Split the digits at random, and replace some training labels by another class, drawn uniformly.

    Source:
        Uniform noise as in Shu et al., Meta-Weight-Net, arXiv 1902.07379.
    """
    train, clean, test = split_digits((settings.train_size, settings.clean_size), generator)
    wrong = torch.zeros(settings.train_size, dtype=torch.bool)
    replaced = torch.randperm(settings.train_size, generator=generator)[
        : round(settings.noise * settings.train_size)
    ]
    wrong[replaced] = True
    shift = torch.randint(1, CLASSES, (settings.train_size,), generator=generator)
    labels = torch.where(wrong, (train.labels + shift) % CLASSES, train.labels)
    return NoisyDigitsData(Images(train.pixels, labels), wrong, clean, test)


TrainStep = Callable[[Images], Tensor | None]
"""Trains on a batch, and returns its weights, [image], scaled to mean 1 (or all 0), or None without any."""


class Classifier(NamedTuple):
    """A model of the images and its optimizer."""

    model: nn.Module
    optimizer: torch.optim.Optimizer


def uniform(classifier: Classifier, data: NoisyDigitsData, settings: NoisyDigitsSettings) -> TrainStep:
    """Give all images the same weight."""
    model, optimizer = classifier

    def step(batch: Images) -> None:
        loss = batch.losses(model).mean()
        if not loss.isfinite():
            raise FloatingPointError("The training loss is not finite: try a smaller learning rate.")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def learned(
    classifier: Classifier,
    data: NoisyDigitsData,
    settings: NoisyDigitsSettings,
    *,
    first: Literal["weights", "model"] = "weights",
) -> TrainStep:
    """Weight each image by a network of its loss, learned from the clean set's loss one step later."""
    model, optimizer = classifier
    weights = SampleWeights((settings.weight_hidden_size,))
    outer_optimizer = torch.optim.Adam(weights.parameters(), lr=settings.outer_learning_rate)
    tuner = LossWeightTuner(model, optimizer, weights, outer_optimizer, first=first)
    plain, steps = uniform(classifier, data, settings), itertools.count()

    def step(batch: Images) -> Tensor | None:
        if next(steps) < settings.burn_in:
            return plain(batch)
        with torch.no_grad():
            losses = batch.losses(model)
        tuner.step(lambda: batch.losses(model), lambda: data.clean.losses(model).mean())
        values = weights.values(losses).detach()
        return values / values.mean().clamp(min=torch.finfo(values.dtype).tiny)

    return step


def reweighted(classifier: Classifier, data: NoisyDigitsData, settings: NoisyDigitsSettings) -> TrainStep:
    """Weight each batch by the samples' effect on the clean set's loss (Learning to Reweight)."""
    model, reweighter = classifier.model, Reweighter(*classifier)

    def step(batch: Images) -> Tensor:
        reweighter.step(lambda: batch.losses(model), lambda: data.clean.losses(model).mean())
        return len(reweighter.weights) * reweighter.weights

    return step


class SampleWeighting(NamedTuple):
    """A weighting of samples."""

    text: str  # A one-line description
    pool: Callable[[NoisyDigitsData], Images] = lambda data: data.train  # the training data
    begin: Callable[[Classifier, NoisyDigitsData, NoisyDigitsSettings], TrainStep] = uniform
    stops_early: bool = False  # keep the model with the lowest loss on the clean set instead of the last one


WEIGHTINGS = {
    "uniform": SampleWeighting("equal weights of all samples"),
    "learned": SampleWeighting("weights by a network of each sample's loss (Meta-Weight-Net)", begin=learned),
    "learned-after": SampleWeighting(
        "as learned, but the model steps first, and the network learns through this step",
        begin=functools.partial(learned, first="model"),
    ),
    "reweight": SampleWeighting(
        "weights by alignment with the clean set's gradient (Learning to Reweight)", begin=reweighted
    ),
    "early-stopping": SampleWeighting(
        "uniform, with the model of the lowest loss on the clean set during training", stops_early=True
    ),
    "clean-set-added": SampleWeighting(
        "uniform, with the clean set added to the training data",
        lambda data: data.train.with_others(data.clean),
    ),
    "clean-set-alone": SampleWeighting("uniform, on the clean set alone", lambda data: data.clean),
    "clean": SampleWeighting(
        "uniform, on the correct labels alone (oracle)",
        lambda data: data.train.chosen(~data.wrong),
    ),
}


class NoisyDigits:
    """A weight for each sample of digits with many wrong labels; a small clean set has the right ones.

    The clean set is the validation objective of `learned`, `learned-after`, `reweight` and `early-stopping`,
    which do not train on it; the two weightings named after it do.

    Source:
        The kind of task: Shu et al., Meta-Weight-Net, arXiv 1902.07379, there on CIFAR.

    >>> from bilevel.tasks import NoisyDigitsSettings
    >>> small = NoisyDigitsSettings(train_size=50, clean_size=20, hidden_size=4, steps=5)
    >>> trial = NoisyDigits().run(small, "learned", 0, lambda fraction: None)
    >>> list(trial.measures)
    ['test accuracy (%)', 'weight of wrong labels', 'detection (AUC)']
    """

    summary = "handwritten digits, 40 % labeled wrongly, and a small clean set: a weight for each sample"
    measures: Sequence[Measure] = (
        Measure(ACCURACY, "on held-out images.", "higher"),
        Measure(
            "weight of wrong labels",
            "mean weight of wrongly labeled samples over that of correctly labeled ones, "
            "using each sample's last weight in training.",
            "lower",
        ),
        Measure(
            "detection (AUC)",
            "the chance that a right label weighs more than a wrong one, with ties counted half.",
            "higher",
        ),
    )
    weightings: Mapping[str, str] = {name: each.text for name, each in WEIGHTINGS.items()}
    settings = NoisyDigitsSettings

    def run(self, settings: NoisyDigitsSettings, weighting: str, seed: int, progress: Progress) -> Trial:
        """Train one classifier; see `Task.run`. A seed determines split, label noise and initial model."""
        sample_weighting, generator = WEIGHTINGS[weighting], torch.Generator().manual_seed(seed)
        data = draw_data(settings, generator)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # torch's layers take no generator
            model = nn.Sequential(
                nn.Linear(PIXELS, settings.hidden_size), nn.ReLU(), nn.Linear(settings.hidden_size, CLASSES)
            )
            optimizer = torch.optim.SGD(
                model.parameters(), lr=settings.learning_rate, momentum=settings.momentum
            )
            step = sample_weighting.begin(Classifier(model, optimizer), data, settings)
        pool = sample_weighting.pool(data)
        weights = torch.full((len(pool.labels),), math.nan)
        accuracies, steps = [], []
        best, best_loss = model, math.inf
        interval = max(1, settings.steps // EVALUATIONS)
        batches = _batches(pool, settings, generator)
        for done, index in zip(range(1, settings.steps + 1), batches, strict=False):
            if (batch_weights := step(pool.chosen(index))) is not None:
                weights[index] = batch_weights
            if done % interval and done < settings.steps:
                continue
            accuracies.append(data.test.accuracy(model))
            steps.append(done)
            progress(done / settings.steps)
            if sample_weighting.stops_early:
                with torch.no_grad():
                    loss = float(data.clean.losses(model).mean())
                if loss < best_loss:
                    best, best_loss = copy.deepcopy(model), loss
        final = data.test.accuracy(best if sample_weighting.stops_early else model)
        weighs = sample_weighting.begin is not uniform
        detection_measures = detection(weights, data.wrong) if weighs else (math.nan, math.nan)
        return Trial(
            dict(zip((measure.name for measure in self.measures), (final, *detection_measures), strict=True)),
            {ACCURACY: accuracies, f"{ACCURACY} at": steps},
            {"weights": weights.numpy(), "wrong": data.wrong.numpy()} if weighs else {},
        )

    def draw(self, trials: Trials, path: Path) -> None:
        """Draw the weights of wrong and right labels, where known, and accuracies; see `Task.draw`."""
        weighing = [
            name
            for name, done in trials.items()
            if any(not np.isnan(trial.arrays.get("weights", np.nan)).all() for trial in done)
        ]
        with style():
            figure = Figure(figsize=(12, 8.5 if weighing else 4.5))
            rows = figure.subfigures(2 if weighing else 1, 1, squeeze=False)[:, 0]
            panels = rows[0].subplots(1, len(weighing), squeeze=False)[0] if weighing else []
            for name, axes in zip(weighing, panels, strict=True):
                _draw_weights(axes, name, trials[name])
            if weighing:
                rows[0].legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
            curves, final = rows[-1].subplots(1, 2)
            _draw_curves(curves, trials)
            _draw_final(final, trials)
            rows[-1].legend(*curves.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        save(figure, path)


def detection(weights: Tensor, wrong: Tensor) -> tuple[float, float]:
    """Ratio of mean weights, wrong over right labels, and the AUC of telling them apart, both [sample].

    NaN weights are left out; results are NaN where one kind has no weights, or right labels weigh nothing.
    """
    known = ~weights.isnan()
    bad, good = (weights[known & kind].double().numpy() for kind in (wrong, ~wrong))
    if not len(bad) or not len(good):
        return math.nan, math.nan
    ratio = float(bad.mean() / good.mean()) if good.mean() > 0 else math.nan
    return ratio, float(probability_of_improvement(good, bad))


def _batches(pool: Images, settings: NoisyDigitsSettings, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices into the pool, epoch after epoch, each in a random order."""
    while True:
        yield from torch.randperm(len(pool.labels), generator=generator).split(settings.batch_size)


def _draw_weights(axes: Axes, name: str, trials: Sequence[Trial]) -> None:
    """Draw histograms over the samples of all seeds."""
    weights, wrong = (np.concatenate([trial.arrays[key] for trial in trials]) for key in ("weights", "wrong"))
    known = ~np.isnan(weights)
    bins = np.linspace(0, max(2.0, float(np.quantile(weights[known], 0.995))), 41).tolist()
    filled: Any = {"color": BLUE, "alpha": 0.6}
    outlined: Any = {"color": RED, "histtype": "step", "linewidth": 2}
    for kind, look, is_wrong in (("right labels", filled, False), ("wrong labels", outlined, True)):
        values = weights[known & (wrong == is_wrong)].clip(max=bins[-1])
        if len(values):
            percent = np.full(len(values), 100 / len(values))
            axes.hist(values, bins=bins, weights=percent, label=kind, **look)
    axes.axvline(1.0, color=BLACK, linestyle=":", linewidth=1.5, label="uniform")
    axes.set_yscale("log")
    axes.set_xlabel("weight (1: the mean of its batch)")
    axes.set_ylabel("samples of the kind (%)")
    axes.set_title(f"{name}: the samples of all seeds")


def _draw_curves(axes: Axes, trials: Trials) -> None:
    """Draw interquartile means over seeds along training; early stopping trains as uniform does."""
    for name, look in looks(list(trials)).items():
        if WEIGHTINGS[name].stops_early and len(trials) > 1:
            continue
        steps = np.asarray(trials[name][0].curves[f"{ACCURACY} at"])
        values = np.array([trial.curves[ACCURACY] for trial in trials[name]])
        axes.plot(steps, interquartile_mean(values, axis=0), label=name, **look)
    axes.set_xlabel("training step")
    axes.set_ylabel(ACCURACY)
    axes.set_title("during training (interquartile mean over seeds)")


def _draw_final(axes: Axes, trials: Trials) -> None:
    """Draw final accuracies: the interquartile mean with its interval, and every seed."""
    draw_final(axes, trials, ACCURACY)
    axes.set_title("after training (95 % interval; circles: seeds)")
