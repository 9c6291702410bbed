"""Baselines of learned weights: weightings without a validation loss, and random search."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from bilevel.loss_weights._lifted import parameters_of
from bilevel.loss_weights._training import (
    FIRST,
    Clipping,
    History,
    Resumable,
    StepResult,
    require_functions,
    require_learnable,
)
from bilevel.loss_weights._weightings import Weighting
from bilevel.loss_weights._weights import Losses
from games.core import require, require_name


class Trainer(Resumable):
    """Training with a weighting of the losses: the baselines of `LossWeightTuner`.

    Args:
        optimizer: any torch optimizer of the model's parameters.
        weighting: for instance `FixedWeights`, `GradNorm` or `Aggregated`.
        weighting_optimizer: optimizer of the weighting's own parameters, if it has any.
        max_norm: as in `LossWeightTuner`.
        max_value: as in `LossWeightTuner`.

    Raises:
        ValueError: `weighting_optimizer` does not update exactly the weighting's parameters.

    >>> from bilevel.loss_weights import FixedWeights
    >>> guess = torch.nn.Linear(1, 1, bias=False)
    >>> weights = FixedWeights({"near": 1.0, "small": 0.5})
    >>> trainer = Trainer(torch.optim.SGD(guess.parameters(), lr=0.1), weights)
    >>> losses = lambda: {"near": (guess.weight - 3).square().sum(), "small": guess.weight.square().sum()}
    >>> for _ in range(100):
    ...     _ = trainer.step(losses)
    >>> round(guess.weight.item(), 4)
    2.0
    """

    saved = ("weighting", "weighting_optimizer", "steps", "history")

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        weighting: Weighting,
        weighting_optimizer: torch.optim.Optimizer | None = None,
        *,
        max_norm: float | None = None,
        max_value: float | None = None,
    ) -> None:
        updated = (
            set() if weighting_optimizer is None else {id(p) for p in parameters_of(weighting_optimizer)}
        )
        own = {id(p) for p in weighting.parameters()}
        require(
            updated == own,
            f"{type(weighting).__name__} has {len(own)} parameters, and weighting_optimizer moves "
            f"{len(updated)}: give it those of the weighting, and no others.",
        )
        self.optimizer, self.weighting, self.weighting_optimizer = optimizer, weighting, weighting_optimizer
        self.clipping, self.history, self.steps = Clipping(max_norm, max_value), History(), 0

    @torch.enable_grad()
    def step(
        self, train_losses: Callable[[], Losses], validation_loss: Callable[[], Tensor] | None = None
    ) -> StepResult:
        """Train the model by one step.

        Args:
            train_losses: function that returns name -> scalar loss on a batch.
            validation_loss: ignored; the signature is that of `LossWeightTuner.step`.

        Raises:
            ValueError: losses have other names, are not single numbers, or are detached.
            FloatingPointError: a loss is not a finite number; nothing was changed.
        """
        require_functions(train_losses=train_losses)
        losses = train_losses()
        require_learnable(losses)
        for name, loss in losses.items():
            if not loss.isfinite().all():
                raise FloatingPointError(
                    f"The loss {name!r} is not finite in step {self.steps}: try a smaller learning rate."
                )
        trained = parameters_of(self.optimizer)
        self.optimizer.zero_grad()
        self.weighting.zero_grad()
        descended = self.weighting.descend(losses, trained)
        self.clipping.in_place(trained)
        self.optimizer.step()
        if self.weighting_optimizer is not None:
            self.weighting_optimizer.step()
        self.weighting.project_()
        self.weighting.advance()
        self.steps += 1
        self.history.add(self.steps, self.weighting.as_dict(), None)
        return StepResult(descended, None)


Trained = TypeVar("Trained")  # the result of a training: a model, measures


@dataclass(frozen=True)
class SearchResult(Generic[Trained]):
    """The best training of a search, and all weights tried.

    >>> from bilevel.loss_weights import random_search
    >>> draws = torch.Generator().manual_seed(0)
    >>> train = lambda weights: (abs(weights["a"] - 2), "a model")  # validation loss, any result
    >>> found = random_search(train, {"a": (1.0, 4.0)}, budget=20, cost=10, generator=draws)
    >>> found.trained, found.validation_loss == min(loss for _, loss in found.tried)
    ('a model', True)
    """

    weights: dict[str, float]
    validation_loss: float
    trained: Trained
    tried: list[tuple[dict[str, float], float]]
    """Weights in the order tried, with their validation losses; infinite where training diverged."""


def random_search(
    train: Callable[[dict[str, float]], tuple[float, Trained]],
    ranges: Mapping[str, tuple[float, float]],
    *,
    budget: int,
    cost: int,
    generator: torch.Generator,
    progress: Callable[[float], None] = lambda fraction: None,
) -> SearchResult[Trained]:
    """Draw weights log-uniformly, train with each, and keep the training with the lowest validation loss.

    Args:
        train: trains with these weights by name; returns the final validation loss and any result; a
            FloatingPointError marks a diverged training.
        ranges: name -> (minimum, maximum weight), both above 0; the same number twice fixes a weight.
        budget: gradients of a batch's loss for all trainings, for instance `gradient_evaluations` of a
            training with learned weights.
        cost: gradients of one training, that is, its steps; there are budget // cost trainings.
        generator: draws the weights.
        progress: called with the fraction of the search that is done.

    Returns:
        The training with the lowest validation loss, and all weights tried.

    Raises:
        ValueError: a range is out of order or not above 0; the budget is not enough for one training.
        FloatingPointError: every training diverged.

    Source:
        Bergstra and Bengio, Random search for hyper-parameter optimization, JMLR 13, 2012.

    >>> import math
    >>> def train(weights):  # the best weight is 1
    ...     return math.log(weights["a"]) ** 2, weights["a"]
    >>> generator = torch.Generator().manual_seed(0)
    >>> found = random_search(train, {"a": (0.01, 100.0)}, budget=1000, cost=10, generator=generator)
    >>> len(found.tried), 0.8 < found.trained < 1.25
    (100, True)
    """
    require(len(ranges) > 0, "There is nothing to search: ranges has no weight.")
    for name, (low, high) in ranges.items():
        require(
            0 < low <= high < math.inf,
            f"The range of {name!r} is two numbers above 0 in order, not {(low, high)}.",
        )
    require(
        1 <= cost <= budget,
        f"A training takes {cost} gradients, 1 or more, and the budget must be enough for one, not {budget}.",
    )
    best: SearchResult[Trained] | None = None
    tried: list[tuple[dict[str, float], float]] = []
    count = budget // cost
    for index in range(count):
        uniform = torch.rand(len(ranges), generator=generator, dtype=torch.float64).tolist()
        weights = {
            name: math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
            for share, (name, (low, high)) in zip(uniform, ranges.items(), strict=True)
        }
        loss = math.inf
        with suppress(FloatingPointError):
            validation_loss, trained = train(dict(weights))
            loss = float(validation_loss) if math.isfinite(validation_loss) else math.inf
            if loss < (math.inf if best is None else best.validation_loss):
                best = SearchResult(weights, loss, trained, tried)
        tried.append((weights, loss))
        progress((index + 1) / count)
    if best is None:
        raise FloatingPointError(
            f"All {count} trainings of the random search diverged: try smaller weights, or a smaller "
            "learning rate."
        )
    return best


LOOK_AHEAD_COST: dict[str, Callable[[int], int]] = {
    "unrolled": lambda steps: 3 * steps + 1,
    "directional": lambda steps: 3,
    "finite-difference": lambda steps: 4,
    "implicit": lambda steps: 10,
}
"""By estimator, the gradients of one look-ahead over this many virtual steps. A gradient of a training or
validation loss counts 1; differentiating a gradient again 2 more; a forward-mode pass or a call of the losses
1. Implicit has its default of three terms."""


def gradient_evaluations(
    steps: int,
    estimator: str = "unrolled",
    *,
    virtual_steps: int = 1,
    first: str = "weights",
    every: int = 1,
) -> int:
    """Approximate number of gradients of a batch's weighted loss in a training with learned weights.

    Args:
        steps: training steps of the model, 1 or more; each takes a gradient of its own.
        estimator: unrolled, directional, finite-difference or implicit.
        virtual_steps: as in `LossWeightTuner`.
        first: as in `LossWeightTuner`; a model that steps first reuses the gradient of the virtual step.
        every: as in `LossWeightTuner`.

    Returns:
        The number of gradients.

    Raises:
        ValueError: a number is below 1, or the estimator or `first` is unknown.

    >>> gradient_evaluations(100), gradient_evaluations(100, "implicit", every=10)
    (500, 200)
    """
    for name, value in (("steps", steps), ("virtual_steps", virtual_steps), ("every", every)):
        require(value >= 1, f"{name} must be 1 or more, not {value}.")
    require_name(estimator, LOOK_AHEAD_COST, "counted estimator")
    require_name(first, FIRST, "value of first,")
    return steps + -(-steps // every) * (LOOK_AHEAD_COST[estimator](virtual_steps) - (first == "model"))
