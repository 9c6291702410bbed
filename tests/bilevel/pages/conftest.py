"""A study for the tests of pages: three methods on two games, and a run that is not finished."""

from __future__ import annotations

from pathlib import Path

import pytest

from bilevel.experiments import configured, create_run, default_config, train

METHODS = ("selfish", "prosocial", "tos")


def train_study(out: Path) -> Path:
    for game in ("escape-room", "chicken"):
        for method in METHODS:
            train(game, method, seeds=3, outer_steps=6, evaluation_episodes=8, out=out / game / method)
    create_run(configured(default_config("chicken", "lio"), {"seeds": 3}), out / "chicken" / "lio")
    return out


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_study(tmp_path_factory.mktemp("study") / "study")
