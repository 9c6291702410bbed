"""The study behind sharing-or-shaping.md: how many seeds of each update rule learn to cooperate.

python -m docs.studies.cooperating_seeds --help
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import tyro
from scipy.stats import binomtest
from torch import Tensor

import bilevel
from games.core import require

RULES = ("naive", "look-ahead", "lola", "sos", "consensus", "symplectic", "competitive", "extragradient")


class Cooperation(NamedTuple):
    """Result of one rule."""

    rule: str
    cooperating: int
    """Number of seeds whose final cooperation reaches the level."""
    seeds: int
    welfare: float
    """Mean return of an agent over seeds, per step."""
    seconds: float
    """Seconds of training, of all seeds at once, with the start of the process left out."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Clopper-Pearson interval of the fraction of cooperating seeds."""
        found = binomtest(self.cooperating, self.seeds).proportion_ci()
        return float(found.low), float(found.high)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Update rules on a repeated prisoner's dilemma with exact values, all seeds in one batch.

    Raises:
        ValueError: there is nothing to measure, or the level is no fraction.
    """

    rules: tuple[str, ...] = RULES
    """Names of the update rules."""
    rate: float = 1.0
    """Rate or weight of the rules that have one."""
    learning_rate: float = 1.0
    """Learning rate of the policies, which descend unnormalized discounted returns."""
    discount: float = 0.96
    """Discount of the game."""
    updates: int = 300
    """Updates of the policies."""
    seeds: int = 1024
    """Number of seeds."""
    level: float = 0.9
    """Smallest fraction of cooperative actions of a seed that cooperates."""

    by_hand: int = 0
    """Seeds to train with LOLA by a loop over seeds in plain autograd as well, for comparison; 0: none."""

    def __post_init__(self) -> None:
        require(bool(self.rules), "rules must name at least one update rule.")
        require(0 < self.level <= 1, f"level must be above 0 and at most 1, not {self.level}.")


def measure(study: Study) -> Iterator[Cooperation]:
    """Train each rule, and count the seeds that cooperate."""
    for rule in study.rules:
        kind = {"consensus": "weight", "symplectic": "weight"}.get(rule, "rate")
        settings = {"rule": rule} | ({} if rule == "naive" else {f"rule.{kind}": study.rate})
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            run = bilevel.train(
                "repeated-prisoners-dilemma",
                "selfish",
                seeds=study.seeds,
                outer_steps=study.updates,
                out=Path(folder, "run"),
                **{
                    "game.discount": study.discount,
                    "inner.learning_rate": study.learning_rate,
                    **settings,
                },
            )
            seconds = time.perf_counter() - began
        cooperation = np.asarray(run.final["cooperation"])
        welfare = float(np.mean(run.final["welfare"])) / 2
        yield Cooperation(rule, int((cooperation >= study.level).sum()), study.seeds, welfare, seconds)


def returns_by_hand(policies: Tensor, discount: float) -> Tensor:
    """Discounted returns of two memory-one policies, [2, 5] log-odds of cooperation, as in LOLA's code."""
    first, second = policies.sigmoid()
    second = second[[0, 1, 3, 2, 4]]  # the second agent sees CD as DC
    joint = torch.stack(
        (first * second, first * (1 - second), (1 - first) * second, (1 - first) * (1 - second))
    )
    start, chain = joint[:, 0], joint[:, 1:].T
    occupancy = torch.linalg.solve(torch.eye(4, dtype=policies.dtype) - discount * chain.T, start)
    payoffs = policies.new_tensor([[-1.0, -3.0, 0.0, -2.0], [-1.0, 0.0, -3.0, -2.0]])
    return payoffs @ occupancy


def lola_by_hand(policies: Tensor, study: Study) -> Tensor:
    """Train one seed with LOLA, each agent through one step of the other, in plain autograd."""
    for _ in range(study.updates):
        both = [row.detach().requires_grad_() for row in policies]
        values = returns_by_hand(torch.stack(both), study.discount)
        gradients = [torch.autograd.grad(value, both, create_graph=True) for value in values]
        moved = []
        for me, other in ((0, 1), (1, 0)):
            # V + rate <grad_other V, grad_other V_other>: both factors are differentiated
            shaped = values[me] + study.rate * (gradients[me][other] * gradients[other][other]).sum()
            (gradient,) = torch.autograd.grad(shaped, both[me], retain_graph=True)
            moved.append(both[me] + study.learning_rate * gradient)
        policies = torch.stack(moved).detach()
    return policies


def main(arguments: list[str] | None = None) -> None:
    """Print the table of the page, in Markdown."""
    try:
        study = tyro.cli(Study, args=arguments, prog="python -m docs.studies.cooperating_seeds")
        print("| rule | seeds that cooperate | 95 % interval | mean return per step | seconds |")
        print("|---|---|---|---|---|")
        for found in measure(study):
            low, high = found.interval
            print(
                f"| `{found.rule}` | {found.cooperating} of {found.seeds} | {low:.1%} to {high:.1%} | "
                f"{found.welfare:.2f} | {found.seconds:.1f} |".replace("%", " %"),
                flush=True,
            )
        if study.by_hand:
            torch.set_num_threads(1)
            starts = torch.randn(study.by_hand, 2, 5, dtype=torch.float64)
            began = time.perf_counter()
            for start in starts:
                lola_by_hand(start, study)
            seconds = time.perf_counter() - began
            rate = study.by_hand * study.updates / seconds
            print(f"\nLOLA by hand, one seed after the other: {rate:.0f} updates per second.")
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
