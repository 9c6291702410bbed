"""Training of the network: in two stages, alternating, or jointly with fixed or learned weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bilevel.loss_weights import (
    DynamicAverage,
    FixedWeights,
    GradNorm,
    LossWeights,
    LossWeightTuner,
    Trainer,
    Uncertainty,
    Weighting,
    random_search,
)
from bilevel.tasks._task import Progress
from bilevel.tasks._weighted import Curves, make_trainer, run_steps, upgrad
from bilevel.tasks.vision_language_action._data import Data, Steps
from bilevel.tasks.vision_language_action._losses import LOSSES, info_nce, reconstruction_loss
from bilevel.tasks.vision_language_action._model import Encoded, VisionLanguageActionNetwork
from bilevel.tasks.vision_language_action._settings import VisionLanguageActionSettings

ACTION, AUXILIARY = ("action",), ("alignment", "reconstruction")


class ImitationTraining:
    """A network, its optimizer and batches; the seed determines initial parameters and batches."""

    def __init__(self, data: Data, settings: VisionLanguageActionSettings, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = VisionLanguageActionNetwork(settings)
        self.data, self.settings, self.seed = data, settings, seed
        self.steps, self.names = data.training, tuple(LOSSES)
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=settings.learning_rate)
        self.draw_batch()

    def draw_batch(self) -> None:
        """Draw the next batches of training and of validation."""
        sizes = self.settings.batch_size, self.settings.validation_batch_size
        batches = [
            steps.take(torch.randint(len(steps.actions), (size,), generator=self.generator))
            for steps, size in zip((self.steps, self.data.validation), sizes, strict=True)
        ]
        self.batch, self.held_out = batches

    def encode(self, steps: Steps) -> Encoded:
        """Encode the views and missions of these steps."""
        return self.network.encode(steps.images, self.data.tokens, steps.missions)

    def losses(self) -> dict[str, Tensor]:
        """Name -> loss on the batch, of those that are trained."""
        return self.losses_on(self.batch, self.names)

    def losses_on(self, steps: Steps, names: Sequence[str] = tuple(LOSSES)) -> dict[str, Tensor]:
        """Name -> loss on these steps."""
        encoded = self.encode(steps)
        compute: dict[str, Callable[[], Tensor]] = {
            "action": lambda: cross_entropy(self.network.act(encoded), steps.actions),
            "alignment": lambda: info_nce(self.network.align(encoded), steps.missions),
            "reconstruction": lambda: reconstruction_loss(self.network.reconstruct(encoded), steps.images),
        }
        return {name: compute[name]() for name in names}

    def validation(self) -> Tensor:
        """Cross-entropy of the actions on a batch of validation missions."""
        return self.losses_on(self.held_out, ACTION)["action"]

    @torch.no_grad()
    def mean_loss(self, steps: Steps, name: str) -> float:
        """Mean of a loss over these steps, in random batches; NaN if there are none."""
        order = torch.randperm(len(steps.actions), generator=torch.Generator().manual_seed(0))
        batches = zip(*(part.split(self.settings.batch_size) for part in steps.take(order)), strict=True)
        parts = [Steps(*batch) for batch in batches if len(batch[0])]
        total = sum(len(part.actions) * float(self.losses_on(part, (name,))[name]) for part in parts)
        return total / len(steps.actions) if len(steps.actions) else float("nan")


Train = Callable[[ImitationTraining, Progress], tuple[ImitationTraining, Curves]]
"""(new training, progress) -> the finished training, and its weights over the steps."""


def _train_by(make: Callable[[ImitationTraining], Weighting], *, with_validation: bool = False) -> Train:
    """Train by a weighting without validation loss, optionally on the validation missions, too."""

    def train(training: ImitationTraining, progress: Progress) -> tuple[ImitationTraining, Curves]:
        if with_validation:
            training.steps = training.steps.with_others(training.data.validation)
        weighting = make(training)
        training.names = tuple(weighting.names)
        trainer = make_trainer(training.optimizer, weighting, training.settings.outer_learning_rate)
        return training, run_steps(training, trainer, progress)

    return train


def _in_turn(phase: Callable[[int, int], int]) -> Train:
    """Train the auxiliary losses or the action loss alone: in step i of n, those of phase(i, n), 0 or 1.

    Parameters without a gradient in a phase do not move.
    """

    def train(training: ImitationTraining, progress: Progress) -> tuple[ImitationTraining, Curves]:
        groups, steps = (AUXILIARY, ACTION), training.settings.steps
        trainers = [Trainer(training.optimizer, FixedWeights(dict.fromkeys(names, 1.0))) for names in groups]
        for step in range(steps):
            now = phase(step, steps)
            training.names = groups[now]
            trainers[now].step(training.losses)
            training.draw_batch()
            if step % 20 == 0:
                progress(step / steps)
        return training, {}

    return train


def _learned(training: ImitationTraining, progress: Progress) -> tuple[ImitationTraining, Curves]:
    """Train with weights learned from the validation loss."""
    settings, weights = training.settings, LossWeights(list(LOSSES))
    tuner = LossWeightTuner(
        training.network,
        training.optimizer,
        weights,
        torch.optim.Adam(weights.parameters(), lr=settings.outer_learning_rate),
        first="model",
        every=settings.every,
        estimator=settings.estimator,
    )
    return training, run_steps(training, tuner, progress)


def _searched(training: ImitationTraining, progress: Progress) -> tuple[ImitationTraining, Curves]:
    """Search for the weights of the auxiliary losses with the lowest validation loss."""
    settings, seed, data = training.settings, training.seed, training.data

    def train(weights: dict[str, float]) -> tuple[float, ImitationTraining]:
        trial = ImitationTraining(data, settings, seed)
        run_steps(trial, Trainer(trial.optimizer, FixedWeights(weights)), lambda fraction: None)
        return trial.mean_loss(data.validation, "action"), trial

    ranges = dict.fromkeys(LOSSES, (settings.min_weight, settings.max_weight)) | {"action": (1.0, 1.0)}
    generator = torch.Generator().manual_seed(seed)
    result = random_search(
        train, ranges, budget=settings.search_trials, cost=1, generator=generator, progress=progress
    )
    curves = {name: [1.0, weight] for name, weight in result.weights.items()}
    return result.trained, curves | {f"{name} at": [0.0, float(settings.steps)] for name in curves}


def _fixed(alignment: float, reconstruction: float) -> Train:
    weights = {"action": 1.0, "alignment": alignment, "reconstruction": reconstruction}
    return _train_by(lambda _: FixedWeights(weights))


LEVELS = {"low": 0.1, "": 1.0, "high": 10.0}
GRID: Mapping[str, tuple[float, float]] = {
    "-".join(
        part
        for part in (alignment and f"align-{alignment}", reconstruction and f"reconstruct-{reconstruction}")
        if part
    )
    or "equal": (LEVELS[alignment], LEVELS[reconstruction])
    for alignment in LEVELS
    for reconstruction in LEVELS
}
"""Name -> fixed weights of alignment and reconstruction; the action loss has weight 1."""

WEIGHTINGS: Mapping[str, tuple[str, Train]] = {
    "equal": ("all weights 1", _fixed(1.0, 1.0)),
    "learned": ("learned from the action loss on validation missions", _learned),
    "action-only": ("the action loss alone", _train_by(lambda _: FixedWeights({"action": 1.0}))),
    "equal-more": (
        "all weights 1, trained on the validation demonstrations, too",
        _train_by(lambda _: FixedWeights(dict.fromkeys(LOSSES, 1.0)), with_validation=True),
    ),
    "two-stage": (
        "alignment and reconstruction in the first half of the steps, then the action loss",
        _in_turn(lambda step, steps: int(2 * step >= steps)),
    ),
    "alternating": (
        "alignment and reconstruction in one step, the action loss in the next",
        _in_turn(lambda step, steps: step % 2),
    ),
    **{
        name: (
            f"weight {alignment:g} of alignment, {reconstruction:g} of reconstruction",
            _fixed(alignment, reconstruction),
        )
        for name, (alignment, reconstruction) in GRID.items()
        if name != "equal"
    },
    "uncertainty": ("a learned variance for each loss", _train_by(lambda _: Uncertainty(list(LOSSES)))),
    "dynamic-average": (
        "dynamic weight averaging: larger weights for losses that fall slowly",
        _train_by(lambda training: DynamicAverage(list(LOSSES), epoch=training.settings.epoch)),
    ),
    "gradnorm": (
        "gradients of similar norm in the embedding of cells (GradNorm)",
        _train_by(lambda training: GradNorm(list(LOSSES), training.network.vision.embedding.parameters())),
    ),
    "upgrad": (
        "no weights: an aggregated direction that increases no loss (needs torchjd)",
        _train_by(lambda _: upgrad(list(LOSSES))),
    ),
    "random-search": (
        "the lowest validation loss of `search_trials` full trainings with random weights",
        _searched,
    ),
}
"""Name -> a one-line description, and the training."""
