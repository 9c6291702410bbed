"""Statistics of a page: sentences about differences, and aggregates over several games."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bilevel.core import counted
from bilevel.experiments import (
    FEWEST_SEEDS,
    Compared,
    Interval,
    interquartile_mean,
    normalized_score,
    probability_of_improvement,
    stratified_interval,
)
from bilevel.pages._charts import line_colors, rounded
from bilevel.pages._entries import GameEntries
from bilevel.report import Column, ResultsTable, number, percent, with_interval


def sentences(rows: Sequence[Compared]) -> list[str]:
    """Say how each row differs from the first.

    Args:
        rows: the methods compared, the baseline first.

    >>> from bilevel.experiments import compare
    >>> print(*sentences(compare("chicken", ["selfish", "tos"], seeds=3, outer_steps=2, out="runs").rows))
    tos has a welfare higher than selfish by 0.421 [...]; ...
    """
    return [_sentence(row, rows[0]) for row in rows[1:]]


def _sentence(row: Compared, first: Compared) -> str:
    difference, improvement = row.difference, row.probability_of_improvement
    assert difference is not None
    assert improvement is not None
    lower = difference.estimate < 0
    size = Interval(-difference.estimate, -difference.high, -difference.low) if lower else difference
    which = "lower" if lower else "higher"
    excluded = difference.low > 0 or difference.high < 0
    verdict = (
        "the interval excludes 0"
        if excluded
        else "the interval contains 0, so that the seeds do not show a difference"
    )
    return (
        f"{row.label} has a welfare {which} than {first.label} by {with_interval(size)}; {verdict}. A seed "
        f"of {row.label} is better than one of {first.label} with probability {with_interval(improvement)}."
    )


@dataclass(frozen=True)
class Aggregates:
    """Normalized scores over several games: tables, and data of a chart."""

    tables: Sequence[ResultsTable]
    profiles: Mapping[str, Any]
    """Thresholds `x`, and for each label the fraction of runs above, with its interval."""


def aggregates(games: Sequence[GameEntries]) -> Aggregates | str:
    """Aggregate rows with the same label over all games, by normalized scores, as rliable does.

    Returns:
        Tables of interquartile means, ranks and probabilities of improvement, and performance profiles, with
        bootstrap intervals stratified by games; or a sentence with the reason why there are none.

    Source:
        Agarwal et al., Deep RL at the edge of the statistical precipice, arXiv 2108.13264.

    >>> from pathlib import Path
    >>> import bilevel
    >>> from bilevel.pages import collect
    >>> for game in ("chicken", "stag-hunt"):
    ...     _ = bilevel.compare(game, ["selfish", "tos"], seeds=3, outer_steps=2, out=f"study/{game}")
    >>> [table.title for table in aggregates(collect([Path("study")]).games).tables]
    ['Normalized score over 2 games', 'P(improvement): the row is better than the column']
    """
    if len(games) < 2:
        return "There is one game only."
    scores, missing = _scores(games)
    if len(scores) < 2:
        return f"No two methods have normalized scores on all games{missing}."
    stacked = {label: np.stack(of_games) for label, of_games in scores.items()}  # [game, seed]
    names = list(stacked)
    means = {label: stratified_interval(values, _interquartile) for label, values in stacked.items()}
    rank_rows = _ranks(stacked)
    overall = ResultsTable(
        title=f"Normalized score over {counted(len(games), 'game')}",
        columns=[
            Column(heading="method"),
            Column(heading="interquartile mean [95 % interval]", form=_percent_interval, interval=True),
            Column(heading="median over games", form=percent),
            Column(heading="mean rank", form=number),
            *(Column(heading=f"rank {place + 1}", form=percent) for place in range(min(3, len(names)))),
        ],
        rows=[
            [
                label,
                means[label],
                float(np.median(stacked[label].mean(1))),
                float(rank_rows[label] @ np.arange(1, len(names) + 1)),
                *rank_rows[label][:3].tolist(),
            ]
            for label in sorted(names, key=lambda label: -float(means[label].estimate))
        ],
        notes=[
            "Normalized score: 0 % is the welfare of mutual defection, 100 % the optimum. Interquartile "
            "mean: over all seeds of all games; its bootstrap resamples seeds within each game. Ranks: by "
            "the score in a game, over random draws of a seed for each method; ties are divided equally.",
            *(
                [f"Left out, without a normalized score or without runs on every game: {missing}"]
                if missing
                else []
            ),
        ],
    )
    improvement = ResultsTable(
        title="P(improvement): the row is better than the column",
        columns=[
            Column(heading="method"),
            *(Column(heading=label, form=_plain_probability) for label in names),
        ],
        rows=[
            [one, *(None if one == other else _improvement(stacked[one], stacked[other]) for other in names)]
            for one in names
        ],
        notes=[
            "The mean over games of the probability that a seed of the row has a higher score, ties half."
        ],
    )
    return Aggregates([overall, improvement], _profiles(stacked))


def _scores(games: Sequence[GameEntries]) -> tuple[dict[str, list[np.ndarray]], str]:
    """Label -> scores [seed] in each game, for labels that all games have, and the names of the others."""
    labels = list(dict.fromkeys(entry.label for game in games for entry in game.entries))
    found: dict[str, list[np.ndarray]] = {}
    for game in games:
        for entry in game.entries:
            config = entry.run.config
            score = normalized_score(config.game, entry.run.final["welfare"], exact=config.exact)
            if score is not None and config.seeds >= FEWEST_SEEDS:
                found.setdefault(entry.label, []).append(score)
    whole = {label: scores for label, scores in found.items() if len(scores) == len(games)}
    seeds = min((len(score) for scores in whole.values() for score in scores), default=0)
    missing = [label for label in labels if label not in whole]
    same = {label: [score[:seeds] for score in scores] for label, scores in whole.items()}
    return same, ", ".join(missing)


def _interquartile(values: np.ndarray) -> np.ndarray:
    """Interquartile mean over all games and seeds: [..., game, seed] -> [...]."""
    return interquartile_mean(values.reshape(*values.shape[:-2], -1))


def _fraction_above(values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Fraction of all games and seeds above each threshold: [..., game, seed] -> [threshold, ...]."""
    pooled = values.reshape(*values.shape[:-2], -1)
    return np.stack([(pooled > threshold).mean(-1) for threshold in thresholds])


def _ranks(scores: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Probability of each rank, [rank], of each label, as a mean over games."""
    generator = np.random.default_rng(0)
    table = np.stack(list(scores.values()))  # [label, game, seed]
    labels, games, seeds = table.shape
    drawn = table[
        np.arange(labels)[:, None, None],
        np.arange(games)[:, None],
        generator.integers(0, seeds, (labels, games, 1000)),
    ]
    tied = drawn + 1e-12 * generator.random(drawn.shape) * (1 + np.abs(drawn))  # ties are broken at random
    ranks = (-tied).argsort(0).argsort(0)
    return {
        label: np.bincount(ranks[index].reshape(-1), minlength=labels) / ranks[index].size
        for index, label in enumerate(scores)
    }


def _improvement(one: np.ndarray, other: np.ndarray) -> float:
    games = zip(one, other, strict=True)
    return float(np.mean([probability_of_improvement(of_one, of_other) for of_one, of_other in games]))


def _profiles(scores: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Fraction of runs with a score above each threshold."""
    every = np.concatenate([values.reshape(-1) for values in scores.values()])
    x = np.linspace(min(0.0, float(np.quantile(every, 0.02))), max(1.0, float(every.max())), 61)
    colors = line_colors(list(scores))
    lines = []
    for label, values in scores.items():
        interval = stratified_interval(values, partial(_fraction_above, thresholds=x), resamples=200)
        lines.append(
            {
                "label": label,
                "color": colors[label],
                "outer-steps": {
                    "x": rounded(x),
                    "mean": rounded(interval.estimate),
                    "low": rounded(interval.low),
                    "high": rounded(interval.high),
                },
            }
        )
    return {"name": "fraction of runs with a higher score", "lines": lines, "levels": []}


def _percent_interval(interval: Interval) -> str:
    return f"{percent(interval.estimate)} [{percent(interval.low)}, {percent(interval.high)}]"


def _plain_probability(value: float) -> str:
    return f"{value:.2f}"
