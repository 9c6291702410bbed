"""What can be set in `noisy-digits`."""

from __future__ import annotations

from dataclasses import dataclass

from bilevel.errors import require
from bilevel.ranges import Range, require_number
from bilevel.tasks.digits import IMAGES


@dataclass(frozen=True, kw_only=True)
class NoisyDigitsSettings:
    """Data, model and training of `noisy-digits`.

    Raises:
        ValueError: a setting is out of range.
    """

    noise: float = 0.4
    """The part of training labels that is wrong, from 0 to 1."""
    train: int = 1000
    """Images with such labels, 1 or more."""
    clean: int = 100
    """Images that are labelled right, 1 or more; what is left of the 1797 is the test set."""
    hidden: int = 128
    """Units of the classifier's one hidden layer, 1 or more."""
    steps: int = 600
    """Training steps, 1 or more: as many for every way to set the weights."""
    batch: int = 100
    """Images in a step, 1 or more."""
    learning_rate: float = 0.1
    """Of the classifier's gradient descent, above 0."""
    momentum: float = 0.9
    """Of the classifier's gradient descent, from 0 up to 1."""
    outer_learning_rate: float = 0.001
    """Of the Adam that moves the network that weighs, 0 or more."""
    burn_in: int = 50
    """Steps, 0 or more, before that network weighs and learns. At first losses say little about labels; what
    it learns then, that the greatest count most, can last."""
    weight_hidden: int = 100
    """Hidden units of the network that weighs, 1 or more."""

    def __post_init__(self) -> None:
        for name in ("train", "clean", "hidden", "steps", "batch", "weight_hidden"):
            require(getattr(self, name) >= 1, f"{name} must be 1 or more, not {getattr(self, name)}.")
        require(self.burn_in >= 0, f"burn_in must be 0 or more, not {self.burn_in}.")
        Range(least=0, most=1).require("noise", self.noise)
        require(
            self.train + self.clean < IMAGES,
            f"train and clean must leave some of the {IMAGES} images to test on, but they take "
            f"{self.train + self.clean}.",
        )
        require_number("learning_rate", self.learning_rate, above=0)
        require(0 <= self.momentum < 1, f"momentum must be from 0 up to 1, not {self.momentum}.")
        require_number("outer_learning_rate", self.outer_learning_rate, least=0)
