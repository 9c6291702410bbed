"""`noisy-digits` as a task: one training, its measures, and its figure."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from bilevel.experiment.improvement import probability_of_improvement
from bilevel.report.style import save
from bilevel.tasks.digits import CLASSES, PIXELS, Images
from bilevel.tasks.noisy_digits.data import draw_data
from bilevel.tasks.noisy_digits.figure import ACCURACY, noisy_digits_figure
from bilevel.tasks.noisy_digits.settings import NoisyDigitsSettings
from bilevel.tasks.noisy_digits.ways import WAYS, Classifier
from bilevel.tasks.task import Advance, Measure, Trial

LOOKS = 60
"""So many times on the way the test accuracy is written down, and the clean set's loss looked at."""


class NoisyDigits:
    """A weight for each sample of digits of which many are labelled wrongly; a small set is labelled right.

    The clean set is the validation objective. It is seen by `learned`, `learned-after`, `reweight` and
    `early-stopping`, which do not train on it otherwise, and by the two ways that do.

    Source:
        The kind of task: Shu et al., Meta-Weight-Net, arXiv 1902.07379, there on CIFAR.

    >>> small = NoisyDigitsSettings(train=50, clean=20, hidden=4, steps=5)
    >>> trial = NoisyDigits().run(small, "learned", 0, lambda part: None)
    >>> list(trial.measures)
    ['test accuracy (%)', 'weight of wrong labels', 'detection (AUC)']
    """

    summary = "handwritten digits, 40 % labelled wrongly, and a small clean set: a weight for each sample"
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
