"""A task that takes no time: its trials are coin throws, and can be made to fail."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bilevel.tasks import Measure, Progress, Study, Trial
from games.core import require


@dataclass(frozen=True)
class CoinSettings:
    """Of a coin."""

    throws: int = 8
    """How many, 1 or more."""
    sides: tuple[int, ...] = (0, 1)
    """What is on them."""

    def __post_init__(self) -> None:
        require(self.throws >= 1, f"throws must be 1 or more, not {self.throws}.")


class Coin:
    """Throws coins. `done` says which trials were begun; `fails` what is raised in one."""

    summary = "a coin is thrown"
    measures: Sequence[Measure] = (
        Measure("heads", "how many.", "higher"),
        Measure("wear", "of the loaded coin.", "neither"),
    )
    weightings: Mapping[str, str] = {"fair": "as it is", "loaded": "with lead"}
    settings = CoinSettings

    def __init__(self) -> None:
        self.done: list[tuple[str, int]] = []
        self.fails: dict[tuple[str, int], BaseException] = {}

    def run(self, settings: CoinSettings, weighting: str, seed: int, progress: Progress) -> Trial:
        self.done.append((weighting, seed))
        torch.manual_seed(seed)
        progress(0.5)
        if (weighting, seed) in self.fails:
            raise self.fails[weighting, seed]
        loaded = weighting == "loaded"
        throws = torch.randint(2, (settings.throws,), generator=torch.Generator().manual_seed(seed)) | loaded
        progress(1.0)
        wear = 1 / 3 if loaded else math.nan
        return Trial(
            {"heads": float(throws.sum()), "wear": wear},
            {"heads": throws.cumsum(0).tolist(), "heads at": list(range(settings.throws))},
            {"throws": throws.numpy(), "mask": np.array([True, False])},
        )

    def draw(self, trials: Mapping[str, Sequence[Trial]], path: Path) -> None:
        path.write_text(" ".join(f"{way}:{len(some)}" for way, some in trials.items()))


def study(
    task: Coin, throws: int = 8, weightings: tuple[str, ...] = (), seeds: int = 3, seed: int = 0
) -> Study:
    return Study(
        task_name="coin",
        task=task,
        settings=CoinSettings(throws),
        weightings=weightings,
        seeds=seeds,
        seed=seed,
    )
