"""The task `vision-language-action`: BabyAI's missions, learned from few demonstrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bilevel import report
from bilevel.tasks._results import Trials, draw_final
from bilevel.tasks._task import Measure, Progress, Trial
from bilevel.tasks.vision_language_action._data import draw_data
from bilevel.tasks.vision_language_action._episodes import play
from bilevel.tasks.vision_language_action._losses import LOSSES
from bilevel.tasks.vision_language_action._settings import VisionLanguageActionSettings
from bilevel.tasks.vision_language_action._training import WEIGHTINGS, ImitationTraining
from games.core import require_name
from games.render import framed

SUCCESS, NEW = "success (%)", "success, new (%)"
CLIP = "clip"
SHOWN = ("learned", "uncertainty", "gradnorm")
"""Weightings in order of preference for the figure of weights, which shows the first one present."""
DEMONSTRATING, TRAINING = 0.2, 0.7
"""Fractions of a trial's progress; the rest is for the episodes."""


class VisionLanguageAction:
    """Following BabyAI's instructions, learned from demonstrations; keeps the contract of `Task`.

    Source:
        Chevalier-Boisvert et al., BabyAI, arXiv 1810.08272; Hui et al., BabyAI 1.1, arXiv 2007.12770.

    >>> VisionLanguageAction.measures[1].name
    'success, new (%)'
    """

    summary = "BabyAI's instructions from few demonstrations: weights of action, alignment and reconstruction"
    settings: type[Any] = VisionLanguageActionSettings
    measures: Sequence[Measure] = (
        Measure(SUCCESS, "fresh episodes with trained missions that the likeliest actions solve.", "higher"),
        Measure(
            NEW, "the same with test missions: they name a pair of color and object that is new.", "higher"
        ),
        Measure("action loss, new", "cross-entropy of demonstrated actions, test missions.", "lower"),
        Measure("validation loss", "cross-entropy of demonstrated actions, validation missions.", "lower"),
        Measure("alignment loss", "InfoNCE on the validation missions.", "neither"),
        Measure("reconstruction loss", "cross-entropy per cell on the validation missions.", "neither"),
    )
    weightings: Mapping[str, str] = {name: text for name, (text, _) in WEIGHTINGS.items()}

    def run(
        self, settings: VisionLanguageActionSettings, weighting: str, seed: int, progress: Progress
    ) -> Trial:
        require_name(weighting, self.weightings, "weighting")
        data = draw_data(settings, seed, lambda fraction: progress(DEMONSTRATING * fraction))
        _, train = WEIGHTINGS[weighting]
        training, curves = train(
            ImitationTraining(data, settings, seed),
            lambda fraction: progress(DEMONSTRATING + TRAINING * fraction),
        )
        progress(DEMONSTRATING + TRAINING)
        success, frames = [], []
        for part, pairs in (("training", 1), ("test", settings.test_pairs)):
            if pairs == 0:
                success.append(float("nan"))
                continue
            filmed = settings.clip_episodes // 2 if settings.test_pairs else settings.clip_episodes
            if part == "test":
                filmed = settings.clip_episodes - filmed
            played = play(training.network, settings.level, seed, data.split, part, settings.episodes, filmed)
            success.append(100 * float(played.success.mean()))
            frames += played.frames
        final = [
            training.mean_loss(data.test, "action"),
            *(training.mean_loss(data.validation, name) for name in LOSSES),
        ]
        names = (measure.name for measure in self.measures)
        measures = dict(zip(names, [*success, *final], strict=True))
        return Trial(measures, curves, {CLIP: _same_size(frames)} if frames else {})

    def draw(self, trials: Trials, path: Path) -> None:
        """Draw success rates with intervals, and the weights of one weighting over the steps.

        The clip of the first trial is written beside it, as a GIF.
        """
        drawn = next((name for name in SHOWN if name in trials and trials[name][0].curves), None)
        with report.style():
            figure = Figure(figsize=(17 if drawn else 12, 1.5 + max(0.32 * len(trials), 3.5)))
            axes = figure.subplots(1, 3 if drawn else 2, squeeze=False)[0]
            for axis, name in zip(axes, (SUCCESS, NEW), strict=False):
                draw_final(axis, trials, name)
            axes[1].set_yticklabels([])
            if drawn:
                _draw_weights(axes[2], drawn, trials[drawn])
        report.save(figure, path)
        filmed = trials[drawn] if drawn else next(iter(trials.values()))
        if CLIP in filmed[0].arrays:
            report.write_film(filmed[0].arrays[CLIP], path.with_suffix(".gif"), frames_per_second=2.0)


def _same_size(frames: Sequence[Any]) -> Any:
    """Stack frames, padded to the size of the largest, [frame, height, width, color]."""
    height, width = (max(frame.shape[axis] for frame in frames) for axis in (0, 1))
    return np.stack([framed(frame, (height, width)) for frame in frames])


def _draw_weights(axis: Any, weighting: str, trials: Sequence[Trial]) -> None:
    for name, look in report.looks(list(LOSSES)).items():
        steps = np.array(trials[0].curves[f"{name} at"])
        values = np.array([trial.curves[name] for trial in trials]).T
        report.draw_band(axis, steps, values, {**look, "label": name}, alpha=0.15)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("{x:g}")
    axis.set_xlabel("training step")
    axis.set_ylabel(f"weight, {weighting}")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncol=3)
