"""Weights found by trying: as many whole trainings as a budget allows, the best by validation loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from bilevel.errors import require

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
