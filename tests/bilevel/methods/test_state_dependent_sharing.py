"""Sharing that depends on what is seen does what no matrix can, on the game made for it, with its preset."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

import bilevel
from bilevel.experiments import interquartile_mean
from games.matrix import Clans
from games.matrix._clans import FEUD, HELP, PEACE

pytestmark = pytest.mark.slow

SEEDS, OUTER_STEPS = 20, 200


def trained(sharing: str):
    config = bilevel.default_config("clans", "tos")
    learner = config.method.with_settings({"sharing": sharing}).build(
        config.game, bilevel.Placement(seeds=SEEDS)
    )
    state = learner.init(seed=3)
    for _ in range(OUTER_STEPS):
        state, _ = learner.update(state)
    return learner, state


def welfare(learner, state) -> np.ndarray:
    return learner.evaluate(state, episodes=1024)["welfare"].double().numpy()


def by_season(learner, state) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """The share given away, and how often agents help, in each season: [seed]."""
    transfer = learner.transfer(state["phi"])
    play = dataclasses.replace(learner.play, episodes=1024)
    episodes = play.sample(state["theta"], transfer, torch.Generator().manual_seed(5))
    given = 1 - transfer.shares(episodes).diagonal(dim1=1, dim2=2).movedim(-1, 1)
    helps = (episodes.actions == HELP).float()
    now = {season: (episodes.observations == season).float() for season in (PEACE, FEUD)}
    means = [
        {season: (values * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3)) for season, mask in now.items()}
        for values in (given, helps)
    ]
    return means[0], means[1]


def test_sharing_by_season_beats_static_sharing_because_it_stops_in_a_feud() -> None:
    game = Clans()
    static, dependent = trained("static"), trained("state-dependent")
    beaten, better = welfare(*static), welfare(*dependent)
    assert better.min() > beaten.max()
    assert interquartile_mean(beaten) == pytest.approx(game.best_static_welfare, abs=0.2)
    assert interquartile_mean(better) > 0.95 * game.best_welfare
    given, helps = by_season(*dependent)
    assert given[PEACE].min() > game.cost / (game.cost + game.benefit)
    # In a seed of twenty an agent may go on giving what it gave before the others learned to raid.
    assert (given[FEUD] < game.cost / (game.cost + game.spoils)).sum() >= SEEDS - 2
    assert helps[PEACE].mean() > 0.95
    assert helps[FEUD].mean() < 0.1
