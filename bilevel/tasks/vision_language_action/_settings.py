"""Settings of the task `vision-language-action`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bilevel.core import Range
from bilevel.tasks._task import requiring_extra
from bilevel.tasks.vision_language_action._levels import require_level
from games.core import require

LEVEL = "BabyAI-GoToLocalS6N3-v0"


@dataclass(frozen=True, kw_only=True)
class VisionLanguageActionSettings:
    """Settings of the task `vision-language-action`.

    Raises:
        ValueError: a setting is out of range.

    >>> VisionLanguageActionSettings(demonstrations=300).batch_size
    64
    """

    level: str = LEVEL
    """A level of BabyAI, by its name in Gymnasium, whose missions name colored objects."""
    demonstrations: int = 1000
    """Demonstrations to imitate, 1 or more."""
    validation_demonstrations: int = 200
    """Demonstrations of validation missions, 1 or more."""
    validation_pairs: int = 3
    """Pairs of color and object whose missions are for validation only, 1 or more."""
    test_pairs: int = 3
    """Pairs of color and object whose missions are for testing only, 0 or more; the rest are for training."""

    features: int = 16
    """Features of a cell in the vision encoder."""
    language_size: int = 32
    """Units of the language encoder."""
    fusion_blocks: int = 1
    """Convolutions modulated by the mission, 0 or more."""
    queries: int = 1
    """Objects that a mission refers to: cells are matched with so many queries, 1 or more."""
    hidden_size: int = 64
    """Units of the hidden layers of action decoder and reconstruction."""

    steps: int = 200
    """Training steps, 1 or more; the same for every weighting."""
    batch_size: int = 64
    """Steps of demonstrations in a batch, 2 or more."""
    validation_batch_size: int = 256
    """Steps of validation demonstrations in an evaluation of the validation loss, 1 or more."""
    learning_rate: float = 2e-3
    """Learning rate of Adam, for the whole network."""
    outer_learning_rate: float = 0.1
    """Learning rate of the Adam that learns the weights, 0 or more; also for uncertainty and gradnorm."""
    every: int = 5
    """Steps between two updates of the learned weights, 1 or more."""
    estimator: Literal["unrolled", "directional", "finite-difference"] = "unrolled"
    """Estimator of the hypergradient of the learned weights."""
    epoch: int = 20
    """Steps of an epoch of `dynamic-average`, 1 or more."""
    search_trials: int = 4
    """Trainings of `random-search`, 1 or more."""
    min_weight: float = 0.01
    """Smallest weight of `random-search`, above 0."""
    max_weight: float = 10.0
    """Largest weight of `random-search`, at least `min_weight`."""

    episodes: int = 100
    """Episodes played at the end, with trained missions and again with new ones, 1 or more."""
    clip_episodes: int = 4
    """Episodes of the clip beside the figure, at most `episodes`; 0: no clip."""

    def __post_init__(self) -> None:
        if self.level != LEVEL:  # minigrid is imported only if it is needed
            with requiring_extra("vision-language-action"):
                require_level(self.level)
        counts = (
            "demonstrations", "validation_demonstrations", "validation_pairs", "features", "language_size",
            "queries", "hidden_size", "steps", "validation_batch_size", "every", "epoch", "search_trials",
            "episodes",
        )  # fmt: skip
        for names, least in (
            (counts, 1),
            (("test_pairs", "fusion_blocks", "clip_episodes"), 0),
            (("batch_size",), 2),
        ):
            for name in names:
                value = getattr(self, name)
                require(value >= least, f"{name} must be {least} or more, not {value}.")
        require(
            self.clip_episodes <= self.episodes,
            f"clip_episodes must be at most episodes = {self.episodes}, not {self.clip_episodes}.",
        )
        Range(above=0).require("learning_rate", self.learning_rate)
        Range(min=0).require("outer_learning_rate", self.outer_learning_rate)
        require(
            0 < self.min_weight <= self.max_weight < float("inf"),
            "min_weight and max_weight are two weights above 0 in order, not "
            f"{self.min_weight} and {self.max_weight}.",
        )
