"""Settings of `mixture-of-experts`."""

from __future__ import annotations

from dataclasses import dataclass

from bilevel.core import Range, Schedule
from games.core import require


@dataclass(frozen=True, kw_only=True)
class MixtureSettings:
    """States, model and training of `mixture-of-experts`.

    Raises:
        ValueError: a setting is out of range, more experts are active than there are, or the curriculum does
            not fit the training.

    >>> MixtureSettings(experts=8).active
    2
    >>> MixtureSettings(experts=4, active=5)
    Traceback (most recent call last):
    ValueError: A router selects from 1 to all 4 experts, and active is 5: choose fewer active experts, or ...
    """

    entities: int = 5
    """Entities of a state, 2 or more."""
    features: int = 6
    """Features of an entity, above the number of signs."""
    signs: int = 2
    """Signs of the leading entity that determine the mode, 1 or more: there are 2^signs modes."""
    actions: int = 4
    """Number of actions, 2 or more."""
    experts: int = 4
    """Number of experts, 2 or more."""
    active: int = 2
    """Active experts of the routers top-k, from 1 to all."""
    heads: int = 4
    """Heads of the graph attention, 1 or more."""
    hidden_size: int = 32
    """Units of each head, and of the router's hidden layer, 1 or more."""
    steps: int = 2000
    """Training steps, 1 or more; the same for every router."""
    batch_size: int = 256
    """States in a step, 1 or more; fresh ones in every step."""
    learning_rate: float = 0.005
    """Learning rate of Adam in the first step, above 0; it falls linearly to 0."""
    curriculum: str | None = None
    """Schedule of entmax's alpha over steps, from 1 (softmax) to 2 (sparsemax), as in 0:1, 400:1, 800:2;
    None: softmax in the first third of training, sparsemax in the last, and a line between them."""
    balance_coef: float = 0.01
    """Weight of the balance loss of Switch or of the importance loss, 0 or more."""
    bias_rate: float = 0.001
    """Change of the selection biases in a step of loss-free balance, 0 or more, in units of scores."""
    outer_learning_rate: float = 0.02
    """Learning rate of the Adam that learns the balance weight and alpha by validation, 0 or more."""
    validation_size: int = 512
    """States of the validation set, 1 or more."""
    test_size: int = 4096
    """States of the test set, 1 or more."""

    def __post_init__(self) -> None:
        counts = ["entities", "actions", "experts"], ["signs", "heads", "hidden_size", "steps", "batch_size"]
        for least, names in ((2, counts[0]), (1, [*counts[1], "validation_size", "test_size"])):
            for name in names:
                value = getattr(self, name)
                require(value >= least, f"{name} must be {least} or more, not {value}.")
        require(
            self.features > self.signs,
            f"The leading entity has one feature for its rank and {self.signs} for its signs, and features "
            f"is {self.features}: use more features, or fewer signs.",
        )
        require(
            1 <= self.active <= self.experts,
            f"A router selects from 1 to all {self.experts} experts, and active is {self.active}: choose "
            "fewer active experts, or more experts.",
        )
        Range(above=0).require("learning_rate", self.learning_rate)
        for name in ("balance_coef", "bias_rate", "outer_learning_rate"):
            Range(min=0).require(name, getattr(self, name))
        self._check_curriculum()

    @property
    def alpha(self) -> Schedule:
        """The curriculum: training step -> alpha."""
        if self.curriculum is None:
            return Schedule(((self.steps // 3, 1.0), (2 * self.steps // 3, 2.0)))
        return Schedule.read(self.curriculum)

    @property
    def modes(self) -> int:
        """Number of modes."""
        return 1 << self.signs

    def _check_curriculum(self) -> None:
        if self.curriculum is None:
            return
        schedule = self.alpha
        for value in schedule.values:
            Range(min=1, max=2).require("alpha in curriculum", value)
        end = schedule.knots[-1][0]
        require(
            schedule.constant or end > 0,
            f"The curriculum {self.curriculum} ends before training begins: its last value holds from the "
            "first step on.",
        )
        require(
            schedule.constant or end < self.steps,
            f"The curriculum ends in step {end}, after the last of {self.steps} training steps: train "
            "longer, or shorten the curriculum.",
        )
