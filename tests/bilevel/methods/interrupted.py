"""A run that is stopped half way ends in the bytes of one that is not."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path
from typing import Any

import pytest

from bilevel.experiments import RunInterrupted, create_run, default_config, train


def assert_an_interruption_changes_nothing(game: str, name: str, tmp_path: Path, **settings: Any) -> None:
    """Train a small run of this game and method whole, and another one stopped after step 3 of 5."""
    config = default_config(game, name)
    method = config.method.with_settings({"inner.episodes": 4, **settings})
    config = dataclasses.replace(
        config, seeds=2, outer_steps=5, checkpoint_every=2, evaluation_episodes=4, method=method
    )
    whole, cut = (create_run(config, tmp_path / folder) for folder in ("whole", "cut"))
    train(whole)
    with pytest.raises(RunInterrupted):
        train(cut, listener=lambda done, _: signal.raise_signal(signal.SIGINT) if done == 3 else None)
    train(cut)
    for file in ("metrics", "evaluation"):
        assert getattr(whole, file).read_bytes() == getattr(cut, file).read_bytes()
