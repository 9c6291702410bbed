"""`bilevel compare --tune` and `--environment-steps`: end to end, resumed, and every way they refuse."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bilevel
from bilevel.experiments import _run as running
from bilevel.experiments import _tuning as tuning
from bilevel.experiments import load_run
from bilevel.methods import PolicyLearner

Call = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[3]
ROOM = ("compare", "--game", "escape-room", "--seeds", 3, "--outer-steps", 4, "--evaluation-episodes", 8)
SMALL = (*ROOM, "--set", "inner.episodes=8", "--methods", "selfish", "fixed")
FOLDER = Path("runs/compare/escape-room")
BATCHED = (*ROOM, "--methods", "selfish", "fixed")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def numbers(folder: Path) -> list[dict[str, str]]:
    """The table without its times."""
    return [{name: row[name] for name in row if name != "seconds"} for row in rows(folder / "table.csv")]


def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running._Training, "run", lambda *_: pytest.fail("trained again"))


def test_a_search_and_then_the_comparison(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    said = call(*BATCHED, "--tune", 5, "--tune-seeds", 2)
    assert said.code == 0, said.err
    assert said.err.splitlines()[0] == (
        "Search of settings: selfish, fixed; 5 trials of 2 seeds each, in runs/compare/escape-room/tuning"
    )
    for part in ("Tuned settings", "of 5 trials for each method", "2 seeds from 1000000"):
        assert part in " ".join(said.out.split())

    trials = {label: sorted((FOLDER / "tuning" / label).iterdir()) for label in ("selfish", "fixed")}
    names = [f"trial-{index:03d}" for index in range(5)]
    assert all([path.name for path in paths] == names for paths in trials.values())  # equal budgets
    content = json.loads((FOLDER / "tuning.json").read_text())
    records = rows(FOLDER / "tuning.csv")
    assert (content["budget"], content["seeds"], content["first_seed"]) == (5, 2, 1_000_000)
    assert {"method": "fixed", "setting": "self_interest", "range": "uniform, 0 to 1"} in content["ranges"]
    assert (
        "self-interest=" in (FOLDER / "tuning.md").read_text() or content["methods"]["fixed"]["chosen"] == 0
    )

    table = {row["method"]: row for row in rows(FOLDER / "table.csv")}
    for label, paths in trials.items():
        runs = [load_run(path) for path in paths]
        welfare = [float(run.final["welfare"].mean()) for run in runs]
        own = content["methods"][label]
        assert [trial["welfare"] for trial in own["trials"]] == welfare
        assert [float(row["welfare"]) for row in records if row["method"] == label] == welfare
        assert own["chosen"] == int(np.argmax(welfare))
        assert all(run.config.seed == 1_000_000 and run.config.seeds == 2 for run in runs)
        place = f"{label}-trial-{own['chosen']:03d}" if own["chosen"] else label
        final, best = load_run(FOLDER / place), runs[own["chosen"]]
        assert (final.config.seed, final.config.seeds) == (0, 3)
        assert final.config.method == best.config.method  # in config.json
        assert final.config.outer_steps == best.config.outer_steps == int(table[label]["outer_steps"])
        tuned_seeds = {best.config.seed + index for index in range(best.config.seeds)}
        assert not tuned_seeds & {final.config.seed + index for index in range(final.config.seeds)}

    with monkeypatch.context() as patched:
        no_training(patched)
        again = call(*BATCHED, "--tune", 5, "--tune-seeds", 2)
    assert again.code == 0
    assert again.out == said.out
    assert "(10 of 10 trials are there already)" in again.err


def test_an_interrupted_search_goes_on(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*BATCHED, "--tune", 3, "--tune-seeds", 2)
    assert call(*words, "--out", "whole").code == 0
    real, count = PolicyLearner.update, 0

    def update(learner: PolicyLearner, state: Any) -> Any:
        nonlocal count
        count += 1
        if count in (9, 23):
            raise KeyboardInterrupt
        return real(learner, state)

    with monkeypatch.context() as patched:
        patched.setattr(PolicyLearner, "update", update)
        for _ in range(2):
            said = call(*words, "--out", "parts")
            assert said.code == 130
            assert said.err.splitlines()[-1] == "Stopped. Run the same command again: what is done is kept."
        assert call(*words, "--out", "parts").code == 0
    assert numbers(Path("parts")) == numbers(Path("whole"))
    for name in ("seeds.csv", "tuning.csv", "tuning.json", "tuning.md", "marl-eval.json"):
        assert (Path("parts") / name).read_bytes() == (Path("whole") / name).read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="sends SIGKILL")
def test_a_killed_search_goes_on(call: Call) -> None:
    words = (*BATCHED, "--tune", 4, "--tune-seeds", 2)
    assert call(*words, "--out", "whole").code == 0
    command = [sys.executable, "-m", "bilevel", *map(str, words), "--out", "parts"]
    for trial in ("selfish/trial-001", "fixed/trial-002"):
        process = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 100
        while process.poll() is None and not (Path("parts/tuning") / trial / "config.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.kill()
        assert process.wait() in (0, -signal.SIGKILL)
    assert call(*words, "--out", "parts").code == 0
    assert numbers(Path("parts")) == numbers(Path("whole"))
    for name in ("seeds.csv", "tuning.csv", "tuning.json"):
        assert (Path("parts") / name).read_bytes() == (Path("whole") / name).read_bytes()


def test_a_larger_budget_continues_a_search(call: Call) -> None:
    for budget in (2, 4):
        assert call(*SMALL, "--tune", budget, "--tune-seeds", 1, "--out", "grown").code == 0
    assert call(*SMALL, "--tune", 4, "--tune-seeds", 1, "--out", "whole").code == 0
    assert numbers(Path("grown")) == numbers(Path("whole"))
    assert Path("grown/tuning.csv").read_bytes() == Path("whole/tuning.csv").read_bytes()


def test_a_budget_of_one_is_the_comparison_without_a_search(call: Call) -> None:
    plain = call(*SMALL, "--out", "plain")
    tuned = call(*SMALL, "--tune", 1, "--out", "tuned")
    assert (plain.code, tuned.code) == (0, 0)
    assert numbers(Path("plain")) == numbers(Path("tuned"))
    for name in ("seeds.csv", "marl-eval.json", "selfish/metrics.csv", "fixed/evaluation.csv"):
        assert (Path("plain") / name).read_bytes() == (Path("tuned") / name).read_bytes()
    before, _, after = tuned.out.partition("\nTuned settings")
    assert after.count("the defaults") >= 2
    untimed = [line for line in before.splitlines() if "steps  seconds" not in line]
    assert [line[:60] for line in untimed[:-1]] == [
        line[:60] for line in plain.out.splitlines() if "steps  seconds" not in line
    ][: len(untimed) - 1]


def test_a_search_after_a_comparison_reuses_its_runs(call: Call) -> None:
    assert call(*SMALL).code == 0
    said = call(*SMALL, "--tune", 1, "--tune-seeds", 1)
    assert said.code == 0
    assert said.err.count("is finished already; nothing is trained again.") == 2
    assert len(list(FOLDER.glob("tuning.*"))) == 3
    assert call(*SMALL).code == 0
    assert not list(FOLDER.glob("tuning.*"))  # the table is of default settings


def test_settings_of_the_command_are_not_searched(call: Call) -> None:
    fixed = ("fixed.self-interest=0.5", "inner.learning-rate=0.2", "inner.episodes=8")
    words = ("--methods", "selfish", "fixed", "--set", *fixed, "--tune", 3, "--tune-seeds", 1)
    assert call(*ROOM, *words).code == 0
    content = json.loads((FOLDER / "tuning.json").read_text())["methods"]
    assert content["fixed"]["searched"] == content["selfish"]["searched"] == ["inner.entropy_coef"]
    for index in range(3):
        method = json.loads((FOLDER / f"tuning/fixed/trial-{index:03d}/config.json").read_text())["method"]
        assert (method["self_interest"], method["inner"]["learning_rate"]) == (0.5, 0.2)


def test_a_trial_that_fails_is_recorded(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*SMALL, "--tune", 3, "--tune-seeds", 1)
    real = tuning.train

    def train(folder: Any, **settings: Any) -> Any:
        if folder.path.match("fixed/trial-002"):
            raise FloatingPointError("A policy stopped being a finite number.")
        return real(folder, **settings)

    monkeypatch.setattr(tuning, "train", train)
    said = call(*words)
    assert said.code == 0
    assert "Failed trials, in which a number became infinite or NaN: 1 of fixed." in " ".join(
        said.out.split()
    )
    content = json.loads((FOLDER / "tuning.json").read_text())["methods"]["fixed"]
    assert content["trials"][2]["welfare"] is None
    assert content["chosen"] != 2
    assert "stopped being" in (FOLDER / "tuning/fixed/trial-002/failure.txt").read_text()
    no_training(monkeypatch)
    assert call(*words).out == said.out


def test_other_settings_are_refused_before_any_training(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(*SMALL, "--tune", 2, "--tune-seeds", 1).code == 0
    no_training(monkeypatch)
    for words, says in (
        (
            ("--tune", 2, "--tune-seeds", 2),
            "tuning/selfish/trial-000 holds a run with other settings (seeds 1",
        ),
        (
            ("--tune", 2, "--tune-seeds", 1, "--seed", 1),
            "trial-000 holds a run with other settings (seed 1000000",
        ),
    ):
        said = call(*SMALL, *words)
        assert said.code == 2
        assert says in said.sentence()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--tune", 0), "--tune takes a number of trials, 1 or more, not 0."),
        (("--tune-seeds", 2), "--tune-seeds are the seeds of a search: give its trials, as in --tune 16."),
        (
            ("--tune", 2, "--tune-seeds", 0),
            "The number of seeds of a search must be a whole number, 1 or more",
        ),
        (("--tune", 2, "--methods", "selfish", "tuning=tos"), "choose another label than tuning."),
        (("--tune", 2, "--seed", 2**63 - 1_000_000), "its first seed must be 9223372036852775808 or less"),
        (("--environment-steps", 0), "environment_steps must be a whole number, 1 or more, not 0."),
    ],
)
def test_a_mistake_is_one_sentence(words: tuple[object, ...], says: str, call: Call) -> None:
    said = call("compare", "--game", "escape-room", "--seeds", 3, *words)
    assert said.code == 2
    assert says in said.sentence()
    assert not list(Path().iterdir())


def test_too_few_environment_steps(call: Call) -> None:
    said = call("compare", "--game", "escape-room", "--environment-steps", 639)
    assert said.code == 2
    assert "639 environment steps are too few for an outer step of selfish" in said.sentence()
    assert "which takes 640." in said.sentence()
    said = call("compare", "--game", "escape-room", "--environment-steps", 6400, "--outer-steps", 9)
    assert said.code == 2
    assert said.sentence().endswith("none here learns from exact values: leave out --outer-steps.")


def test_equal_environment_steps(call: Call) -> None:
    """Episodes of a fixed length take exactly the steps that the note says, by the counts in metrics.csv."""
    small = ("--seeds", 3, "--evaluation-episodes", 8)
    words = ("compare", "--game", "coin-game", "--game.horizon", 4, *small, "--methods", "selfish", "d3c")
    sizes = (
        "--set",
        "inner.episodes=4",
        "d3c.inner.episodes=2",
        "d3c.loss-bound=99",
        "--environment-steps",
        200,
    )
    said = call(*words, *sizes, "--out", "equal")
    assert said.code == 0, said.err
    assert "as many as 200 environment steps of training per seed allow" in " ".join(said.out.split())
    table = {row["method"]: row for row in rows(Path("equal/table.csv"))}
    for label, each in (("selfish", 2 * 4 * 4), ("d3c", (2 * 8 + 3) * 2 * 4)):
        run = load_run(Path("equal") / label)
        assert run.config.outer_steps == 200 // each == int(table[label]["outer_steps"])
        assert set(run.environment_steps[-1]) == {200 // each * each}
        assert float(table[label]["environment_steps"]) == 200 // each * each


def test_exact_values_keep_their_outer_steps(call: Call) -> None:
    words = ("compare", "--game", "chicken", "--seeds", 3, "--outer-steps", 3, "--environment-steps", 640)
    said = call(*words, "--methods", "selfish", "lio", "--out", "mixed")
    assert said.code == 0
    assert load_run("mixed/selfish").config.outer_steps == 3
    assert load_run("mixed/lio").config.outer_steps == 5
    out = " ".join(said.out.split())
    assert "selfish: outer steps from --outer-steps, because exact values take no environment steps." in out
    said = call(*words, "--methods", "selfish", "tos", "--out", "exact")
    assert said.code == 0
    out = " ".join(said.out.split())
    assert (
        "All methods: outer steps from --outer-steps, because exact values take no environment steps." in out
    )
    assert "environment steps of training per seed allow" not in out


@pytest.mark.usefixtures("painted")
def test_curves_are_over_environment_steps_by_default(call: Call) -> None:
    words = (*SMALL[:5], "--evaluation-episodes", 8, *SMALL[9:], "--environment-steps", 320, "--out", "both")
    figure = Path("both/curves.png")
    drawn = {}
    for axis in ((), ("--x-axis", "environment-steps"), ("--x-axis", "outer-steps")):
        assert call(*words, *axis).code == 0
        drawn[axis[-1:]] = figure.read_bytes()
    assert drawn[()] == drawn["environment-steps",] != drawn["outer-steps",]


def test_help_lists_the_ranges(call: Call) -> None:
    said = call("compare", "--help")
    out = " ".join(said.out.split())
    for part in (
        "--tune BUDGET",
        "--tune-seeds",
        "--environment-steps",
        "fixed: self_interest, uniform, 0 to 1",
    ):
        assert part in out


def test_the_same_in_python(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"seeds": 3, "outer_steps": 2, "evaluation_episodes": 8, "inner.episodes": 4}
    compared = bilevel.compare(
        "escape-room",
        ["selfish", "fixed"],
        out=tmp_path,
        tune=2,
        tune_seeds=1,
        environment_steps=120,
        **settings,
        **{"fixed.self_interest": 0.5},
    )
    assert compared.tuned is not None
    assert list(compared.tuned.search.space("fixed").ranges) == ["inner.learning_rate", "inner.entropy_coef"]
    assert compared.runs["fixed"].config.outer_steps == 3
    assert [len(trials) for trials in compared.tuned.welfare.values()] == [2, 2]
