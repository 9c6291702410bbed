"""Environment steps of training: counted by the real calls of `Game.step`, for each method and seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bilevel.experiments import RunConfig, RunFolder, create_run, default_config, load_run, train
from bilevel.experiments import _run as running
from bilevel.experiments._comparison import applicable_methods
from bilevel.experiments._metrics import ENVIRONMENT_STEPS
from bilevel.methods import METHODS
from games.core import Game
from tests.bilevel.experiments.small_runs import small

SEEDS, EPISODES, OUTER_STEPS = 3, 4, 3
OF_TABLES = {"coala-pg", "m-fos", "meva"}
"""Methods that do not apply to the Escape Room."""


class Tally:
    """Steps of running episodes, by seed, from the calls of `reset` and `step` in outer steps."""

    def __init__(self, game: Game, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps, self.calls, self.on = np.zeros(SEEDS, dtype=int), 0, False
        kind: Any = type(game)
        reset, step, advance = kind.reset, kind.step, running._Training._advance

        def counted_reset(game: Game, batch: int, generator: torch.Generator) -> Any:
            self.running = np.ones(batch, dtype=bool)
            return reset(game, batch, generator)

        def counted_step(game: Game, state: Any, actions: torch.Tensor, generator: torch.Generator) -> Any:
            after, rewards, done = step(game, state, actions, generator)
            if self.on:
                self.calls += len(actions) // SEEDS
                self.steps += self.running.reshape(-1, SEEDS, EPISODES).sum((0, 2))
            self.running &= ~done.numpy()
            return after, rewards, done

        def counted_advance(training: Any, listener: Any) -> None:
            self.on = True
            advance(training, listener)
            self.on = False

        monkeypatch.setattr(kind, "reset", counted_reset)
        monkeypatch.setattr(kind, "step", counted_step)
        monkeypatch.setattr(running._Training, "_advance", counted_advance)


def sampled(method: str, game: str = "escape-room", **settings: Any) -> RunConfig:
    changes = {"seeds": SEEDS, "outer_steps": OUTER_STEPS, "evaluation_episodes": 8, "checkpoint_every": 1}
    return small(game, method, **(changes | settings))


@pytest.mark.parametrize("method", sorted(METHODS.keys() - OF_TABLES))
def test_the_count_is_that_of_the_calls(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = sampled(method)
    tally = Tally(config.game, monkeypatch)
    counts: list[Any] = []
    results = train(config, out=tmp_path / "run", listener=lambda *_: counts.append(tally.steps.copy()))
    np.testing.assert_array_equal(results.environment_steps, counts)
    assert (tally.steps <= tally.calls).all()  # episodes that end early are padded to the horizon
    assert (tally.steps >= OUTER_STEPS * EPISODES).all()


def test_all_methods_of_the_escape_room_are_tested() -> None:
    applicable = applicable_methods("escape-room", default_config("escape-room", "selfish").game)
    assert set(applicable) == METHODS.keys() - OF_TABLES


@pytest.mark.parametrize(("training", "runs"), [("ppo", 1), ("evolution", 1 + 4)])
def test_meta_episodes_by_hand(training: str, runs: int, tmp_path: Path) -> None:
    """In an update 2 meta-episodes of 3 meta-steps and the initial policies, of one run, or of that of the
    center and of 4 samples; then a fresh meta-episode, and the evaluation of its last policies."""
    few = {"training.samples": 4} if training == "evolution" else {}
    settings: dict[str, Any] = {"meta.steps": 3, "meta.episodes": 2, "inner.exact": False}
    settings |= {"training": training} | few
    results = train(sampled("m-fos", "chicken"), out=tmp_path / "run", **settings)
    each = EPISODES * (2 * 4 * runs + 4 + 1)
    assert results.environment_steps.tolist() == [[step * each] * SEEDS for step in (1, 2, 3)]


def test_inner_and_outer_episodes_by_hand(tmp_path: Path) -> None:
    """3 inner steps and the outer sample, of 4 episodes of 1 step each."""
    settings = {"inner.steps": 3, "inner.exact": False}
    results = train(sampled("tos", "chicken"), out=tmp_path / "run", **settings)
    assert results.environment_steps.tolist() == [[step * 4 * EPISODES] * SEEDS for step in (1, 2, 3)]


def test_evolution_counts_its_perturbed_runs(tmp_path: Path) -> None:
    """Of 2 inner steps and the outer sample: 3 batches for the policies, 3 for each of 4 perturbed runs."""
    text = "evolution(samples=4, members=True, fresh_data=True)"
    settings = {"outer.hypergradient": text, "inner.steps": 2, "inner.exact": False}
    results = train(sampled("tos", "chicken"), out=tmp_path / "run", **settings)
    assert results.environment_steps[0].tolist() == [(1 + 4) * 3 * EPISODES] * SEEDS


def test_a_resumed_run_goes_on_counting(tmp_path: Path) -> None:
    whole = train(sampled("tos"), out=tmp_path / "whole")
    part = create_run(sampled("tos", outer_steps=2), tmp_path / "part")
    train(part)
    running.extend_run(part, OUTER_STEPS)
    np.testing.assert_array_equal(train(part).environment_steps, whole.environment_steps)
    assert part.metrics.read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


def test_a_run_of_an_earlier_version_goes_on_without_a_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = create_run(sampled("tos", outer_steps=2), tmp_path / "old")
    add: Callable[..., None] = running.MetricsFile.add

    def add_as_before(file: Any, step: int, metrics: dict[str, torch.Tensor]) -> None:
        add(file, step, {name: values for name, values in metrics.items() if name != ENVIRONMENT_STEPS})

    with monkeypatch.context() as patched:
        patched.setattr(running.MetricsFile, "add", add_as_before)
        train(folder)
    running.extend_run(folder, OUTER_STEPS)
    results = train(folder)
    assert len(results.curves["welfare"]) == OUTER_STEPS
    with pytest.raises(ValueError, match="tos on escape-room were not counted, as an earlier version"):
        _ = results.environment_steps


def test_exact_values_take_no_environment_steps(tmp_path: Path) -> None:
    results = train(small("chicken", "tos"), out=tmp_path / "run")
    assert ENVIRONMENT_STEPS not in load_run(RunFolder(tmp_path / "run")).curves
    with pytest.raises(ValueError, match="tos learns chicken from exact values, which take no environment"):
        _ = results.environment_steps
