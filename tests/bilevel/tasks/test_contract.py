"""What every registered task keeps, on settings so small that they take no time."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bilevel.report import style
from bilevel.tasks import MissingPackage, Trial, make_task, register_task
from bilevel.tasks import _task as registry
from bilevel.tasks._study import LABEL, check_trial, read_trial, write_trial
from tests.bilevel.tasks.coin import Coin

TINY: dict[str, dict[str, Any]] = {
    "actor-critic": {
        "environment_steps": 512,
        "num_envs": 4,
        "rollout_steps": 8,
        "hidden_size": 4,
    },
    "auxiliary-digits": {
        "labeled_size": 20,
        "pool_size": 40,
        "validation_size": 20,
        "hidden_size": 4,
        "steps": 6,
        "batch_size": 16,
        "epoch": 2,
    },
    "mixture-of-experts": {
        "steps": 4,
        "batch_size": 8,
        "validation_size": 8,
        "test_size": 16,
        "curriculum": "0:1, 2:2",
    },
    "noisy-digits": {
        "train_size": 40,
        "clean_size": 10,
        "hidden_size": 4,
        "steps": 6,
        "batch_size": 10,
        "burn_in": 2,
    },
    "two-color-grid": {
        "environment_steps": 1024,
        "swap_steps": 256,
        "num_envs": 4,
        "rollout_steps": 2,
        "hidden_size": 4,
    },
    "vision-language-action": {
        "demonstrations": 20,
        "validation_demonstrations": 4,
        "features": 2,
        "language_size": 3,
        "hidden_size": 4,
        "steps": 6,
        "batch_size": 8,
        "validation_batch_size": 8,
        "every": 2,
        "epoch": 2,
        "search_trials": 2,
        "episodes": 1,
        "clip_episodes": 0,
    },
    "world-model": {
        "downsample": 60,
        "environment_steps": 32,
        "num_envs": 2,
        "rollout_steps": 4,
        "update_epochs": 1,
        "latent_size": 2,
        "hidden_size": 4,
        "recurrent_size": 3,
        "controller_hidden_size": 0,
        "evaluations": 4,
        "evaluation_episodes": 1,
    },
}
"""Task -> settings with which a trial takes a second or less."""
NAMES = sorted(registry.TASKS)


def tiny(name: str) -> tuple[Any, Any]:
    task = make_task(name)
    return task, task.settings(**TINY[name])


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_a_frozen_dataclass_that_says_what_each_is(name: str) -> None:
    kind = make_task(name).settings
    assert dataclasses.is_dataclass(kind)
    assert kind() == kind()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(kind(), dataclasses.fields(kind)[0].name, 1)


@pytest.mark.parametrize("name", NAMES)
def test_words_are_there(name: str) -> None:
    task = make_task(name)
    assert "\n" not in task.summary
    assert len({measure.name for measure in task.measures}) == len(task.measures) > 0
    assert {measure.better for measure in task.measures} <= {"higher", "lower", "neither"}
    assert len(task.weightings) >= 2
    assert all(LABEL.fullmatch(way) and text for way, text in task.weightings.items())


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_gives_the_same_bits_and_another_one_others(name: str, tmp_path: Path) -> None:
    task, settings = tiny(name)
    trials: dict[str, list[Trial]] = {}
    for way in task.weightings:
        parts: list[float] = []
        first = task.run(settings, way, 0, parts.append)
        assert parts == sorted(parts)
        assert all(0 <= part <= 1 for part in parts)
        torch.rand(7)  # whatever happened before in the process makes no difference
        again, other = (task.run(settings, way, seed, lambda fraction: None) for seed in (0, 1))
        names = [measure.name for measure in task.measures]
        for trial in (first, again, other):
            check_trial(trial, names)
        assert same(first, again)
        assert not same(first, other)
        write_trial(tmp_path / "trial.npz", first, way, 0)
        assert same(read_trial(tmp_path / "trial.npz", names, way, 0), first)
        trials[way] = [first, other]
    with style():
        task.draw(trials, tmp_path / "all.png")
        way = next(iter(trials))
        task.draw({way: trials[way][:1]}, tmp_path / "one.png")
    for picture in ("all.png", "one.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


def same(one: Trial, other: Trial) -> bool:
    def equal(a: Any, b: Any) -> bool:
        return bool(np.array_equal(np.asarray(a, float), np.asarray(b, float), equal_nan=True))

    return all(
        before.keys() == after.keys() and all(equal(before[name], after[name]) for name in before)
        for before, after in (
            (one.measures, other.measures),
            (one.curves, other.curves),
            (one.arrays, other.arrays),
        )
    )


def test_a_task_of_ones_own() -> None:
    register_task("my-coin", Coin())
    assert make_task("my-coin").summary == "a coin is thrown"
    for taken, sentence in (("my-coin", "The task 'my-coin' exists already"), ("My coin", "is lower case")):
        with pytest.raises(ValueError, match=sentence):
            register_task(taken, Coin())


@pytest.mark.parametrize(("module", "package"), sorted(registry.PACKAGES.items()))
def test_a_missing_package_is_named(
    module: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needy.py").write_text(f"raise ModuleNotFoundError('none', name={module!r} + '.inner')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry.TASKS, "needy", "needy:Needy")
    sentence = f"The task needy needs {package}: pip install 'bilevel[tasks]'"
    with pytest.raises(MissingPackage, match=re.escape(sentence)):
        make_task("needy")


def test_what_is_missing_of_the_toolkit_itself_is_no_matter_of_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(registry.TASKS, "needy", "bilevel.tasks.nowhere:Needy")
    with pytest.raises(ModuleNotFoundError, match=r"bilevel\.tasks\.nowhere"):
        make_task("needy")


def test_measures_are_not_a_number_where_they_make_no_sense() -> None:
    task, settings = tiny("noisy-digits")
    trial = task.run(settings, "uniform", 0, lambda fraction: None)
    accuracy, *others = trial.measures.values()
    assert 0 <= accuracy <= 100
    assert all(map(math.isnan, others))
