"""Training by a rule that needs no validation loss, called as a tuner is.

Weights found by trying: as many whole trainings as a budget allows, the best by validation loss.

What a training with learned weights costs, so that others may be given as much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from bilevel.loss_weights._checks import (
    FIRST,
    require_differentiable_mode,
    require_function,
    require_learnable,
)
from bilevel.loss_weights._clipping import Clipping
from bilevel.loss_weights._history import History
from bilevel.loss_weights._lifted import parameters_of
from bilevel.loss_weights._rules import Rule
from bilevel.loss_weights._tuner import StepResult
from bilevel.loss_weights._weights import Losses
from games.core import require, require_name


class Trainer:
    """Trains a model with an optimizer by a rule's weights or directions: the rivals of `LossWeightTuner`.

    Args:
        optimizer: of the model's parameters, any of torch's.
        rule: one of `bilevel.loss_weights`.
        rule_optimizer: of the rule's own parameters, if it has any.
        max_norm: as of `LossWeightTuner`.
        max_value: as of `LossWeightTuner`.

    Raises:
        ValueError: the rule has parameters and no optimizer for them, or an optimizer for others.

    >>> from bilevel.loss_weights import Fixed
    >>> guess = torch.nn.Linear(1, 1, bias=False)
    >>> trainer = Trainer(torch.optim.SGD(guess.parameters(), lr=0.1), Fixed({"near": 1.0, "small": 0.5}))
    >>> losses = lambda: {"near": (guess.weight - 3).square().sum(), "small": guess.weight.square().sum()}
    >>> for _ in range(100):
    ...     _ = trainer.step(losses)
    >>> round(guess.weight.item(), 4)
    2.0
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        rule: Rule,
        rule_optimizer: torch.optim.Optimizer | None = None,
        *,
        max_norm: float | None = None,
        max_value: float | None = None,
    ) -> None:
        moved = {id(p) for p in (parameters_of(rule_optimizer) if rule_optimizer is not None else [])}
        own = {id(p) for p in rule.parameters()}
        require(
            moved == own,
            f"{type(rule).__name__} has {len(own)} parameters, and rule_optimizer moves {len(moved)}: give "
            "it those of the rule, and no others.",
        )
        self.optimizer, self.rule, self.rule_optimizer = optimizer, rule, rule_optimizer
        self.clipping, self.history, self.steps = Clipping(max_norm, max_value), History(), 0

    def step(
        self, train_losses: Callable[[], Losses], validation_loss: Callable[[], Tensor] | None = None
    ) -> StepResult:
        """Train the model by one step.

        Args:
            train_losses: gives name -> loss on a batch, each one number.
            validation_loss: not used; a tuner needs it, and both are called alike.

        Raises:
            ValueError: losses are for other names, not numbers, or detached.
            FloatingPointError: a loss is not a finite number; nothing was changed.
        """
        require_function("train_losses", train_losses)
        require_differentiable_mode()
        with torch.enable_grad():
            return self._step(train_losses)

    def _step(self, train_losses: Callable[[], Losses]) -> StepResult:
        losses = train_losses()
        require_learnable(losses)
        for name, loss in losses.items():
            if not loss.isfinite().all():
                raise FloatingPointError(
                    f"The loss {name!r} is not finite in step {self.steps}: try a smaller learning rate."
                )
        trained = parameters_of(self.optimizer)
        self.optimizer.zero_grad()
        self.rule.zero_grad()
        descended = self.rule.descend(losses, trained)
        self.clipping.in_place(trained)
        self.optimizer.step()
        if self.rule_optimizer is not None:
            self.rule_optimizer.step()
        self.rule.project_()
        self.rule.advance()
        self.steps += 1
        self.history.add(self.steps, self.rule.as_dict(), None)
        return StepResult(descended, None)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the trainer adds to a run; the model's and its optimizer's are saved beside it."""
        return {
            "rule": self.rule.state_dict(),
            "rule_optimizer": None if self.rule_optimizer is None else self.rule_optimizer.state_dict(),
            "steps": self.steps,
            "history": self.history.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where a state was saved."""
        self.rule.load_state_dict(state["rule"])
        if self.rule_optimizer is not None:
            self.rule_optimizer.load_state_dict(state["rule_optimizer"])
        self.steps = int(state["steps"])
        self.history.load_state_dict(state["history"])


Trained = TypeVar("Trained")
"""Whatever a training leaves: a model, measures."""

Train = Callable[[dict[str, float]], tuple[float, Trained]]
"""Trains from the start with weights, name -> weight; gives the validation loss at the end, and a model."""


@dataclass(frozen=True)
class Found(Generic[Trained]):
    """What a search found."""

    weights: dict[str, float]
    """Of the best training: name -> weight."""
    validation_loss: float
    """At the end of the best training."""
    trained: Trained
    """What the best training left."""
    tried: list[tuple[dict[str, float], float]]
    """Weights in the order tried, with the validation losses they led to; infinite where it diverged."""


def random_search(
    train: Train[Trained],
    ranges: Mapping[str, tuple[float, float]],
    *,
    budget: int,
    cost: int,
    generator: torch.Generator,
    advance: Callable[[float], None] = lambda part: None,
) -> Found[Trained]:
    """Draw weights log-uniformly, train with each, and keep the training with the lowest validation loss.

    Args:
        train: one whole training; a FloatingPointError says that it diverged, which loses it.
        ranges: name -> (least, greatest weight), both above 0; the same number twice fixes a weight.
        budget: gradients of a batch's loss that all trainings may take together: as many as
            `gradient_evaluations` counts for a training with learned weights.
        cost: gradients that one training takes: its steps; so there are budget // cost trainings.
        generator: draws the weights.
        advance: told which part of the search is done, from 0 to 1.

    Raises:
        ValueError: a range is out of order or not above 0; the budget is not enough for one training.
        FloatingPointError: every training diverged.

    Source:
        Bergstra and Bengio, Random search for hyper-parameter optimization, JMLR 13, 2012.

    The validation loss is least where the weight is 1; "trained" is just the weight:

    >>> found = random_search(
    ...     lambda weights: (math.log(weights["a"]) ** 2, weights["a"]),
    ...     {"a": (0.01, 100.0)},
    ...     budget=1000,
    ...     cost=10,
    ...     generator=torch.Generator().manual_seed(0),
    ... )
    >>> len(found.tried), 0.8 < found.trained < 1.25
    (100, True)
    """
    require(len(ranges) > 0, "There is nothing to search: ranges has no weight.")
    for name, (least, greatest) in ranges.items():
        require(
            0 < least <= greatest < math.inf,
            f"The range of {name!r} is two numbers above 0 in order, not {(least, greatest)}.",
        )
    require(
        1 <= cost <= budget,
        f"A training takes {cost} gradients, 1 or more, and the budget must be enough for one, not {budget}.",
    )
    best: Found[Trained] | None = None
    tried: list[tuple[dict[str, float], float]] = []
    count = budget // cost
    for index in range(count):
        weights = _draw(ranges, generator)
        try:
            loss, trained = train(dict(weights))
        except FloatingPointError:
            tried.append((weights, math.inf))
        else:
            loss = float(loss) if math.isfinite(loss) else math.inf
            tried.append((weights, loss))
            if loss < (math.inf if best is None else best.validation_loss):
                best = Found(weights, loss, trained, tried)
        advance((index + 1) / count)
    if best is None:
        raise FloatingPointError(
            f"All {count} trainings of the random search diverged: try smaller weights, or a smaller "
            "learning rate."
        )
    return best


def _draw(ranges: Mapping[str, tuple[float, float]], generator: torch.Generator) -> dict[str, float]:
    shares = torch.rand(len(ranges), generator=generator, dtype=torch.float64).tolist()
    return {
        name: math.exp(math.log(least) + share * (math.log(greatest) - math.log(least)))
        for share, (name, (least, greatest)) in zip(shares, ranges.items(), strict=True)
    }


LOOK_AHEAD: dict[str, Callable[[int], int]] = {
    "unrolled": lambda steps: 3 * steps + 1,
    "directional": lambda steps: 3,
    "finite-difference": lambda steps: 4,
    "implicit": lambda steps: 10,
}
"""Estimator -> gradients that one look ahead over so many virtual steps takes. A gradient of a loss counts 1,
that of the validation loss too; a gradient that is differentiated again 2 more; a pass in forward mode, or a
call of the losses, 1. Of implicit, with its three terms."""


def gradient_evaluations(
    steps: int,
    estimator: str = "unrolled",
    *,
    virtual_steps: int = 1,
    first: str = "weights",
    every: int = 1,
) -> int:
    """How many gradients a training takes whose weights are learned, about.

    Args:
        steps: of the model, 1 or more; each takes a gradient of its own.
        estimator: as of `LossWeightTuner`; one of `LOOK_AHEAD`.
        virtual_steps: as of `LossWeightTuner`.
        first: as of `LossWeightTuner`; a model that moves first needs no other gradient for its own step.
        every: as of `LossWeightTuner`.

    Returns:
        gradients of one batch's weighted loss.

    Raises:
        ValueError: a number is below 1, the estimator is not counted, or nothing moves first by that name.

    >>> gradient_evaluations(100), gradient_evaluations(100, "implicit", every=10)
    (500, 200)
    """
    for name, value in (("steps", steps), ("virtual_steps", virtual_steps), ("every", every)):
        require(value >= 1, f"{name} must be 1 or more, not {value}.")
    require_name(estimator, LOOK_AHEAD, "counted estimator")
    require_name(first, FIRST, "value of first,")
    return steps + -(-steps // every) * (LOOK_AHEAD[estimator](virtual_steps) - (first == "model"))
