"""A progress bar with the time left and the live welfare."""

from __future__ import annotations

import rich.progress
from rich.console import Console

from bilevel.experiment.config import load_config
from bilevel.experiment.run import RunFolder
from bilevel.experiment.statistics import interquartile_mean
from bilevel.methods.learner import Metrics


class Progress:
    """Shows a run's outer steps on standard error; nothing is drawn where that is no terminal.

    Args:
        folder: of the run, which has its config.json.
    """

    def __init__(self, folder: RunFolder) -> None:
        config = load_config(folder.config)
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TextColumn("welfare {task.fields[welfare]}"),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("left"),
            rich.progress.TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task(
            f"{config.method_name} on {config.game_name}", total=config.outer_steps, welfare="..."
        )

    def __enter__(self) -> Progress:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def show(self, done: int, metrics: Metrics) -> None:
        """Tell of an outer step; the welfare shown is the interquartile mean over seeds."""
        welfare = float(interquartile_mean(metrics["welfare"].cpu().numpy()))
        self._bar.update(self._task, completed=done, welfare=f"{welfare:.3f}")
