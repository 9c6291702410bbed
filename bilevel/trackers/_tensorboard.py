"""TensorBoard: event files in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.image import imread
from torch.utils.tensorboard import SummaryWriter

from bilevel.experiments import RunConfig, RunFolder


class TensorBoard:
    """Event files in the folder `tensorboard` of the run: `tensorboard --logdir runs` shows all runs."""

    key: str | None = None

    def __init__(self, folder: RunFolder, config: RunConfig, key: str | None) -> None:
        self._path, self._config = folder.path / "tensorboard", config
        self._writer: SummaryWriter | None = None
        self._step = 0

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        if self._writer is None:
            # after an interruption, steps beyond the checkpoint are taken again: this hides the first ones
            self._writer = SummaryWriter(str(self._path), purge_step=step)
            settings = json.dumps(self._config.plain, indent=2).replace("\n", "\n    ")
            self._writer.add_text("config", f"    {settings}", step)
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._step = step

    def finish(self, summary: Mapping[str, float], figures: Sequence[Path]) -> None:
        step = self._config.outer_steps
        if self._writer is None:
            self._writer = SummaryWriter(str(self._path))
        for name, value in summary.items():
            self._writer.add_scalar(name, value, step)
        for path in figures:
            self._writer.add_image(f"figures/{path.stem}", imread(path)[..., :3], step, dataformats="HWC")

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
