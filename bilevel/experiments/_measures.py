"""Measures of every seed of a run, and statistics over seeds, for comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch

from bilevel.experiments._results import Run
from bilevel.experiments._statistics import (
    Interval,
    difference_interval,
    improvement_interval,
    over_seeds,
    require_seeds,
)
from bilevel.sharing import TERMS
from games.core import Game
from games.theory import equality


def share_of_optimum(game: Game, welfare: np.ndarray) -> np.ndarray | None:
    """Where welfare lies between everybody defecting (0) and the group optimum (1).

    Args:
        game: which knows both ends; None if it does not.
        welfare: any shape, in the game's units.

    >>> import games
    >>> float(share_of_optimum(games.make("prisoners-dilemma"), np.array(-3.0)))
    0.5
    """
    best, worst = game.best_welfare, game.defection_welfare
    if best is None or worst is None or best == worst:
        return None
    return (welfare - worst) / (best - worst)


def equality_of_returns(results: Run) -> np.ndarray | None:
    """One less the Gini coefficient of the agents' mean returns, for each seed.

    Args:
        results: of a finished run.

    Returns:
        [seed], NaN where the returns sum to 0 or less, for which equality is not defined; None where the run
        has no returns.
    """
    names = [f"return_{agent}" for agent in range(results.config.game.num_agents)]
    if not all(name in results.final for name in names):
        return None
    returns = np.stack([results.final[name] for name in names], axis=-1)
    return np.asarray(equality(torch.from_numpy(returns)).numpy())


def mean_weight(numbers: Mapping[str, np.ndarray], term: str, agents: int) -> np.ndarray | None:
    """The agents' mean of a learned weight.

    Args:
        numbers: the metrics of a run, name -> [..., seed].
        term: one of `TERMS`.
        agents: how many there are.

    Returns:
        [..., seed]; None where no loss weights were learned.

    >>> numbers = {"value_weight_0": np.array([0.5]), "value_weight_1": np.array([1.5])}
    >>> mean_weight(numbers, "value", agents=2), mean_weight({}, "value", agents=2)
    (array([1.]), None)
    """
    names = [f"{term}_weight_{agent}" for agent in range(agents)]
    if not all(name in numbers for name in names):
        return None
    return np.asarray(np.mean([numbers[name] for name in names], axis=0))


def _mean_weight(term: str) -> Callable[[Run], np.ndarray | None]:
    """The agents' mean of the learned weight of a term."""
    return lambda results: mean_weight(results.final, term, results.config.game.num_agents)


MEASURES: dict[str, Callable[[Run], np.ndarray | None]] = {
    "welfare": lambda results: results.final["welfare"],
    "optimum": lambda results: share_of_optimum(results.config.game, results.final["welfare"]),
    "equality": equality_of_returns,
    "cooperation": lambda results: results.final.get("cooperation"),
    "given_away": lambda results: results.final.get("given_away"),
    **{f"{term}_weight": _mean_weight(term) for term in TERMS},
}
"""Name -> [seed], of the final policies on fresh episodes; None where game or method do not know it."""


class Compared(NamedTuple):
    """One method of a comparison."""

    label: str
    """What it is called."""
    results: Run
    """Its run."""
    measures: dict[str, np.ndarray]
    """Name in `MEASURES` -> [seed]; those that the run knows."""
    intervals: dict[str, Interval]
    """Name in `MEASURES` -> interquartile mean over seeds; those that are defined for every seed."""
    better: Interval | None
    """The chance that a seed of it has more welfare than a seed of the first method; None for the first."""
    difference: Interval | None
    """Its interquartile mean of welfare less the first method's, in the game's units; None for the first."""

    @property
    def undefined(self) -> dict[str, int]:
        """Name in `MEASURES` -> for how many seeds it is not defined; those that are not for some."""
        counts = {name: int(np.isnan(values).sum()) for name, values in self.measures.items()}
        return {name: count for name, count in counts.items() if count}


def compare_runs(runs: Mapping[str, Run]) -> list[Compared]:
    """Measure runs and compare each with the first.

    Args:
        runs: label -> run, of one game, with 3 seeds or more.

    Raises:
        ValueError: there are fewer than 3 seeds.
    """
    first = next(iter(runs))
    require_seeds(runs[first].config.seeds)
    baseline = runs[first].final["welfare"]
    return [
        _compared(label, results, None if label == first else baseline) for label, results in runs.items()
    ]


def _compared(label: str, results: Run, baseline: np.ndarray | None) -> Compared:
    known = {name: measure(results) for name, measure in MEASURES.items()}
    measures = {name: values for name, values in known.items() if values is not None}
    found = {name: over_seeds(values) for name, values in measures.items()}
    intervals = {name: interval for name, interval in found.items() if interval is not None}
    better = difference = None
    if baseline is not None:
        better = improvement_interval(measures["welfare"], baseline)
        difference = difference_interval(measures["welfare"], baseline)
    return Compared(label, results, measures, intervals, better, difference)
