"""Runs that differ in their seeds alone, joined into one: how a finished study gets more seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from bilevel.experiments._differences import differences, listed
from bilevel.experiments._folder import Run
from games.core import require

MAY_DIFFER = {"seed", "seeds", "checkpoint_every", "threads"}
"""Settings in which runs may differ and still be one study."""


def join_runs(runs: Sequence[Run]) -> Run:
    """Join finished runs into the one that would have had all of their seeds.

    Member i of a run is random seed `seed` + i, whatever else is in its batch. So `seed=4, seeds=4` adds to
    `seed=0, seeds=4` what `seed=0, seeds=8` would have had besides.

    Args:
        runs: in any order; each begins with the seed after the last of the one before it.

    Returns:
        curves and final values of all seeds, in their order; the seconds of all.

    Raises:
        ValueError: there is none, settings differ (says which), or seeds overlap or leave a gap.
    """
    require(len(runs) > 0, "There are no runs to join.")
    first, *others = ordered = sorted(runs, key=lambda run: run.config.seed)
    for run in others:
        found = {
            name: values
            for name, values in differences(run.config, first.config).items()
            if name not in MAY_DIFFER
        }
        require(
            not found,
            f"Runs that are joined differ in their seeds alone, but these do in "
            f"{listed(found, '({0}, not {1})')}.",
        )
    following = first.config.seed
    for run in ordered:
        require(
            run.config.seed == following,
            f"Seeds that are joined follow one another, but after seed {following - 1} comes "
            f"{run.config.seed}: train a run with --seed {following}.",
        )
        following += run.config.seeds
    return Run(
        config=dataclasses.replace(first.config, seeds=following - first.config.seed),
        curves={name: np.concatenate([run.curves[name] for run in ordered], 1) for name in first.curves},
        final={name: np.concatenate([run.final[name] for run in ordered]) for name in first.final},
        seconds=sum(run.seconds for run in ordered),
        provenance=tuple(record for run in ordered for record in run.provenance),
    )


def joined_where_possible(runs: Sequence[Run]) -> list[list[int]]:
    """Sort the places of runs into groups that `join_runs` takes; one that fits no other is alone."""
    groups: list[list[int]] = []
    for place in sorted(range(len(runs)), key=lambda place: runs[place].config.seed):
        config = runs[place].config
        for group in groups:
            last = runs[group[-1]].config
            follows = config.seed == last.seed + last.seeds
            if follows and differences(config, last).keys() <= MAY_DIFFER:
                group.append(place)
                break
        else:
            groups.append([place])
    return sorted(groups, key=min)
