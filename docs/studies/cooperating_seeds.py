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


def ascent_by_hand(policies: Tensor, rule: str, rate: float, discount: float) -> Tensor:
    """Direction that both agents of one seed ascend by a rule, [2, 5], in plain autograd.

    Args:
        policies: log-odds of cooperation, [2, 5].
        rule: naive, look-ahead, lola or sos.
        rate: learning rate that each agent ascribes to the other.
        discount: discount of the game.
    """
    both = [row.detach().requires_grad_() for row in policies]
    values = returns_by_hand(torch.stack(both), discount)
    shapes = rule != "naive"
    gradients = [torch.autograd.grad(value, both, create_graph=shapes, retain_graph=True) for value in values]
    naive = torch.stack([gradients[0][0], gradients[1][1]]).detach()
    if not shapes:
        return naive

    def through_a_step(*, shaping: bool) -> Tensor:
        """Ascent of V + rate <grad_other V, grad_other V_other>; shaping differentiates both factors."""
        moved = []
        for me, other in ((0, 1), (1, 0)):
            step = gradients[other][other] if shaping else gradients[other][other].detach()
            ahead = values[me] + rate * (gradients[me][other] * step).sum()
            moved.append(torch.autograd.grad(ahead, both[me], retain_graph=True)[0])
        return torch.stack(moved)

    if rule != "sos":
        return through_a_step(shaping=rule == "lola")
    ahead = through_a_step(shaping=False)
    shaping = through_a_step(shaping=True) - ahead
    opposition, length = -(shaping * ahead).sum(), naive.square().sum()
    p1 = 1.0 if opposition <= 0 else min(1.0, float(0.5 * ahead.square().sum() / opposition))
    return ahead + min(p1, float(length) if length < 0.1**2 else 1.0) * shaping


def train_by_hand(policies: Tensor, rule: str, study: Study) -> Tensor:
    """Train one seed by a rule, in a loop of plain autograd."""
    for _ in range(study.updates):
        ascent = ascent_by_hand(policies, rule, study.rate, study.discount)
        policies = (policies + study.learning_rate * ascent).detach()
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
                train_by_hand(start, "lola", study)
            seconds = time.perf_counter() - began
            rate = study.by_hand * study.updates / seconds
            print(f"\nLOLA by hand, one seed after the other: {rate:.0f} updates per second.")
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
