"""`bilevel tune`: from end to end, again, interrupted, killed; and every way it refuses."""

from __future__ import annotations

import csv
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL
from typing import Any

import numpy as np
import pytest

from bilevel.experiments import interquartile_interval, paired_difference_interval
from bilevel.tasks import NoisyDigits
from bilevel.tasks import _task as registry
from tests.bilevel.tasks.coin import Coin

Call = Callable[..., Any]
SMALL = (
    "--train-size",
    60,
    "--clean-size",
    20,
    "--hidden-size",
    4,
    "--steps",
    6,
    "--batch-size",
    20,
    "--burn-in",
    2,
)
TUNE = ("tune", "noisy-digits", *SMALL, "--seeds", 3)
FOLDER = Path("runs/tune/noisy-digits")
FILES = ("table.csv", "table.md", "seeds.csv", "figure.png")
OWN = """
from bilevel.tasks._task import register_task
from tests.bilevel.tasks.coin import Coin
register_task("my-coin", Coin())
"""


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def coin() -> Coin:
    task = Coin()
    registry.TASKS["coin"] = task
    return task


def test_tasks_are_listed(call: Call) -> None:
    for words in (("tune",), ("tune", "--help")):
        said = call(*words)
        assert (said.code, said.err) == (0, "")
        assert NoisyDigits.summary in said.out
        assert all(name in said.out for name in registry.TASKS)


def test_a_missing_package_does_not_hide_the_other_tasks(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("needy.py").write_text("raise ModuleNotFoundError('none', name='sklearn')")
    monkeypatch.syspath_prepend(Path.cwd())
    monkeypatch.setitem(registry.TASKS, "needy", "needy:Needy")
    said = call("tune")
    assert said.code == 0
    assert "The task needy needs scikit-learn: pip install 'bilevel[tasks]'" in said.out
    assert NoisyDigits.summary in said.out
    said = call("tune", "needy")
    assert (said.code, said.sentence()) == (
        2,
        "The task needy needs scikit-learn: pip install 'bilevel[tasks]'",
    )


def test_help_has_settings_and_ways(call: Call) -> None:
    said = call("tune", "noisy-digits", "--help")
    assert said.code == 0
    for word in ("--noise", "--weightings", "--seeds", *NoisyDigits.weightings):
        assert word in said.out


def test_from_end_to_end_and_again(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    said = call(*TUNE)
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1] == f"Written to {FOLDER}: {', '.join(FILES)}"
    assert max(map(len, said.out.splitlines())) <= 80
    lines = said.err.splitlines()
    assert lines[0].endswith(f"clean; 3 seeds each, in {FOLDER}")
    pace = r"\(\d+:\d\d:\d\d, \S+ steps per second, 0:00:00 left\)"
    assert re.fullmatch(rf"trial 24 of 24: clean, seed 2 {pace}", lines[-1])
    found = {(row["measure"], row["weighting"]): row for row in rows(FOLDER / "table.csv")}
    assert len(found) == 3 * len(NoisyDigits.weightings)
    seeds = rows(FOLDER / "seeds.csv")
    accuracy = {
        way: np.array([float(row["test accuracy (%)"]) for row in seeds if row["weighting"] == way])
        for way in NoisyDigits.weightings
    }
    for way, values in accuracy.items():
        row = found["test accuracy (%)", way]
        assert [float(row[name]) for name in ("estimate", "estimate_low", "estimate_high")] == [
            float(part) for part in interquartile_interval(values)
        ]
        if way != "uniform":
            assert [float(row[name]) for name in ("difference", "difference_low", "difference_high")] == [
                float(part) for part in paired_difference_interval(values, accuracy["uniform"])
            ]
    assert found["detection (AUC)", "clean"]["estimate"] == ""
    trial = NoisyDigits().run(
        NoisyDigits.settings(train_size=60, clean_size=20, hidden_size=4, steps=6, batch_size=20, burn_in=2),
        "learned",
        2,
        lambda fraction: None,
    )
    assert accuracy["learned"][2] == trial.measures["test accuracy (%)"]

    monkeypatch.setattr(NoisyDigits, "run", None)
    again = call(*TUNE)
    assert (again.code, again.out) == (0, said.out)
    assert again.err.rstrip().endswith("(24 of 24 trials are there already)")


@pytest.mark.parametrize("weightings", [(), ("uniform",), ("learned",)])
def test_a_training_too_short_for_any_weight_has_a_table_and_a_figure(
    weightings: tuple[str, ...], call: Call
) -> None:
    chosen = ("--weightings", *weightings) if weightings else ()
    said = call("tune", "noisy-digits", *SMALL, "--burn-in", 50, "--seeds", 1, *chosen)
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1] == f"Written to {FOLDER}: {', '.join(FILES)}"
    assert (FOLDER / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_some_ways_and_fewer_seeds_than_an_interval_takes(call: Call, coin: Coin) -> None:
    said = call("tune", "coin", "--weightings", "loaded", "fair", "--seeds", 2, "--throws", 5, "--out", "a")
    assert said.code == 0, said.err
    assert coin.done == [("loaded", 0), ("fair", 0), ("loaded", 1), ("fair", 1)]
    assert "intervals require 3 or more" in said.out
    assert "Difference: from loaded" in said.out
    assert "[" not in said.out.split("Heads:")[0].replace("[95 %]", "")
    assert Path("a/figure.png").read_text() == "loaded:2 fair:2"
    assert "| wear | `fair` | - | - |" in Path("a/table.md").read_text()
    wear = {
        row["weighting"]: row["estimate"] for row in rows(Path("a/table.csv")) if row["measure"] == "wear"
    }
    assert (float(wear["loaded"]), wear["fair"]) == (1 / 3, "")


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (KeyboardInterrupt(), 130, "Stopped. Run the same command again: what is done is kept."),
        (FloatingPointError("The loss is not finite."), 1, "It was in the trial loaded, seed 1, of coin"),
        (OSError(28, "No space left on device", "x.npz"), 1, "x.npz: No space left on device."),
        (ModuleNotFoundError("none", name="pygame"), 2, "The task coin needs pygame-ce: pip install"),
    ],
)
def test_what_ends_a_command_is_one_sentence_and_the_next_one_goes_on(
    error: BaseException, code: int, says: str, call: Call, coin: Coin
) -> None:
    coin.fails["loaded", 1] = error
    said = call("tune", "coin", "--seeds", 3)
    assert said.code == code
    assert says in said.err.splitlines()[-1]
    assert "Traceback" not in said.err
    coin.fails.clear()
    coin.done.clear()
    assert call("tune", "coin", "--seeds", 3).code == 0
    assert coin.done == [("loaded", 1), ("fair", 2), ("loaded", 2)]


def test_kill_9_loses_one_trial_at_most(tmp_path: Path, call: Call) -> None:
    words = [
        sys.executable,
        "-m",
        "bilevel",
        "tune",
        "noisy-digits",
        *map(str, SMALL),
        "--out",
        str(tmp_path / "a"),
    ]
    words += ["--weightings", "uniform", "clean", "--seeds"]
    with subprocess.Popen([*words, "200"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        while len(list(tmp_path.glob("a/*/seed-*.npz"))) < 3:  # rglob would enter folders that are renamed
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(SIGKILL)
        process.communicate(timeout=60)
    kept = {path: path.read_bytes() for path in tmp_path.glob("a/*/seed-*.npz")}
    seeds = len(kept) // 2 + 1
    done = call(*words[3:], seeds)
    assert done.code == 0, done.err
    assert f"({len(kept)} of {2 * seeds} trials are there already)" in done.err
    assert all(path.read_bytes() == content for path, content in kept.items())


def test_other_settings_in_the_same_folder_are_refused(call: Call, coin: Coin) -> None:
    assert call("tune", "coin", "--seeds", 3).code == 0
    said = call("tune", "coin", "--seeds", 3, "--throws", 9)
    assert said.code == 2
    assert said.sentence().startswith(
        "runs/tune/coin holds trials with other settings (throws 8 there, 9 here)"
    )


def test_a_task_of_ones_own(call: Call) -> None:
    Path("own.py").write_text(OWN)
    assert "my-coin" in call("tune", "--load", "own.py").out
    del registry.TASKS["my-coin"]
    said = call("tune", "my-coin", "--load", "own.py", "--seeds", 3, "--sides", 0, 1, 2)
    assert said.code == 0, said.err
    assert "my-coin, 3 seeds: heads, higher is better" in said.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("noisy-digit",), "There is no task 'noisy-digit'. Did you mean 'noisy-digits'"),
        (("--seeds", 3), "The task comes first, as in bilevel tune noisy-digits --seeds 3"),
        (
            ("coin", "--weightings", "fare"),
            "There is no weighting of coin 'fare'. Did you mean 'fair'?",
        ),
        (("coin", "--weights", "fair"), "--weights is now called --weightings."),
        (("noisy-digits", "--clean", 50), "--clean is now called --clean-size."),
        (("coin", "--weightings", "fair", "--weightings", "loaded"), "--weightings is there 2 times"),
        (("coin", "--seeds", 0), "seeds must be 1 or more, not 0."),
        (("coin", "--seed", -1), "seed must be from 0 to"),
        (("coin", "--threads", 0), "threads must be from 1 to 1024, not 0."),
        (("coin", "--throws", 0), "throws must be 1 or more, not 0."),
        (("coin", "--load", "nowhere.py"), "There is no file nowhere.py to load."),
    ],
)
def test_bad_input_is_one_sentence(words: tuple[object, ...], says: str, call: Call, coin: Coin) -> None:
    said = call("tune", *words)
    assert said.code == 2
    assert says in said.sentence()
    assert not coin.done
    assert not Path("runs").exists()


def test_a_setting_called_as_an_option_is_refused(call: Call, coin: Coin) -> None:
    coin.settings = type("Bad", (), {"seeds": 3})  # type: ignore[assignment]
    assert call("tune", "coin").sentence() == "A setting of coin is called seeds, as an option is."


def test_not_a_number_is_not_read_as_one() -> None:
    assert math.isnan(Coin().run(Coin.settings(), "fair", 0, lambda fraction: None).measures["wear"])
