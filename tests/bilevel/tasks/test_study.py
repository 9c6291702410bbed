"""Trials in a folder: kept, taken up again, refused, and never half there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from bilevel.experiments import ResumableFolder
from bilevel.tasks import NoisyDigits, NoisyDigitsSettings, Progress, Study, Trial, open_folder, run_study
from bilevel.tasks._results import draw_final
from bilevel.tasks._study import check_trial, read_trial, write_trial
from tests.bilevel.experiments.small_runs import GONE
from tests.bilevel.tasks.coin import Coin, CoinSettings, study

ALL = [("fair", 0), ("loaded", 0), ("fair", 1), ("loaded", 1), ("fair", 2), ("loaded", 2)]


def run(chosen: Study, folder: Path) -> dict[str, list[Trial]]:
    open_folder(chosen, folder)
    return {way: list(done) for way, done in run_study(chosen, folder).items()}


def test_trials_are_done_once_and_read_back_to_the_bit(tmp_path: Path) -> None:
    coin, told = Coin(), []
    chosen = study(coin)
    open_folder(chosen, tmp_path / "a")
    stream = torch.get_rng_state()
    first = run_study(chosen, tmp_path / "a", lambda *words: told.append(words))
    assert torch.equal(torch.get_rng_state(), stream)
    assert coin.done == ALL
    assert [words for words in told if words[2] == 1] == [(*trial, 1.0) for trial in ALL]
    assert told[:4] == [("fair", 0, 0.0), ("fair", 0, 0.5), ("fair", 0, 0.999), ("fair", 0, 1.0)]
    again = run(study(coin), tmp_path / "a")
    assert coin.done == ALL
    fresh = Coin().run(chosen.settings, "loaded", 2, lambda fraction: None)
    for found in (first["loaded"][2], again["loaded"][2]):
        assert found.measures == fresh.measures
        assert found.curves == fresh.curves
        for name, array in fresh.arrays.items():
            np.testing.assert_array_equal(found.arrays[name], array)
            assert found.arrays[name].dtype == array.dtype
    assert np.isnan(again["fair"][0].measures["wear"])


def test_trials_do_not_depend_on_the_default_precision(
    tmp_path: Path,
) -> None:
    settings = NoisyDigitsSettings(train_size=50, clean_size=20, hidden_size=4, steps=5)
    task = NoisyDigits()
    chosen = Study(task_name="noisy-digits", task=task, settings=settings, weightings=("learned",), seeds=1)
    (single,) = run(chosen, tmp_path / "single")["learned"]
    torch.set_default_dtype(torch.float64)
    try:
        (double,) = run(chosen, tmp_path / "double")["learned"]
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert double.measures == single.measures


def test_more_seeds_and_more_ways_use_what_is_there(tmp_path: Path) -> None:
    coin = Coin()
    run(study(coin, weightings=("fair",), seeds=2), tmp_path)
    run(study(coin, seeds=2, seed=1), tmp_path)
    assert coin.done == [("fair", 0), ("fair", 1), ("loaded", 1), ("fair", 2), ("loaded", 2)]


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(1)])
def test_a_stop_loses_the_trial_under_way_alone(stop: BaseException, tmp_path: Path) -> None:
    coin = Coin()
    coin.fails["loaded", 1] = stop
    with pytest.raises(type(stop)):
        run(study(coin), tmp_path)
    (tmp_path / "loaded" / f".seed-1.npz.{GONE}.part").write_bytes(b"half")  # as kill -9 leaves it
    coin.fails.clear()
    coin.done.clear()
    run(study(coin), tmp_path)
    assert coin.done == ALL[3:]
    assert not list(tmp_path.rglob("*.part"))


def test_a_folder_that_was_not_finished_making_is_taken_over(tmp_path: Path) -> None:
    for litter in ([], [f".settings.json.{GONE}.part"]):
        folder = tmp_path / str(len(litter))
        folder.mkdir()
        for name in litter:
            (folder / name).write_bytes(b"half")
        run(study(Coin()), folder)
        assert not list(folder.glob(".*"))


def test_an_infinite_loss_says_where(tmp_path: Path) -> None:
    coin = Coin()
    coin.fails["fair", 1] = FloatingPointError("The loss is not finite.")
    with pytest.raises(FloatingPointError, match=r"not finite\. It was in the trial fair, seed 1, of coin"):
        run(study(coin), tmp_path)
    assert study(coin).missing(tmp_path) == ALL[2:]


def test_other_settings_are_refused(tmp_path: Path) -> None:
    run(study(Coin()), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(
        ValueError, match=r"other settings \(throws 8 there, 9 here\): nothing is overwritten"
    ):
        open_folder(study(Coin(), throws=9), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    record = json.loads((tmp_path / "settings.json").read_text())
    assert record["settings"] == {"throws": 8, "sides": [0, 1]}
    (tmp_path / "settings.json").write_text(json.dumps(record | {"task": "dice"}))
    with pytest.raises(ValueError, match=r"other settings \(task dice there, coin here\)"):
        open_folder(study(Coin()), tmp_path)
    for text in ("{", "[]", '{"format": "bilevel-tune/1"}'):
        (tmp_path / "settings.json").write_text(text)
        with pytest.raises(ValueError, match=r"settings\.json (cannot be read|is not a record)"):
            open_folder(study(Coin()), tmp_path)


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(ValueError, match=r"holds other files, and no settings\.json"):
        open_folder(study(Coin()), tmp_path)
    with pytest.raises(ValueError, match=r"thesis\.tex holds other files, .* or is no folder"):
        open_folder(study(Coin()), tmp_path / "thesis.tex")
    with pytest.raises(ValueError, match="cannot be made"):
        open_folder(study(Coin()), tmp_path / "thesis.tex" / "runs")


def test_every_damaged_byte_of_a_trial_is_refused_or_harmless(tmp_path: Path) -> None:
    whole = run(study(Coin(), seeds=1), tmp_path)["fair"][0]
    path = tmp_path / "fair" / "seed-0.npz"
    data = path.read_bytes()
    names = [measure.name for measure in Coin().measures]
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x11]) + data[place + 1 :])
        try:
            found = read_trial(path, names, "fair", 0)
        except ValueError:
            continue
        np.testing.assert_equal(found.measures, whole.measures)
        assert found.curves == whole.curves
        np.testing.assert_equal(found.arrays, whole.arrays)
        assert found.seconds == whole.seconds


def test_one_process_at_a_time(tmp_path: Path) -> None:
    open_folder(study(Coin()), tmp_path)
    with (
        ResumableFolder(tmp_path).locked(),
        pytest.raises(ValueError, match="Another process works in"),
    ):
        run_study(study(Coin()), tmp_path)


def test_damaged_and_foreign_trials_are_refused(tmp_path: Path) -> None:
    run(study(Coin()), tmp_path)
    path = tmp_path / "fair" / "seed-1.npz"
    whole = path.read_bytes()
    for content in (b"", b"PK", whole[:-40], whole.replace(whole[200:240], bytes(40))):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"seed-1\.npz is damaged, or it is not a trial"):
            run(study(Coin()), tmp_path)
    path.write_bytes((tmp_path / "fair" / "seed-2.npz").read_bytes())
    with pytest.raises(ValueError, match=r"holds another trial: it says fair, seed 2, heads, wear"):
        run(study(Coin()), tmp_path)


def test_a_file_with_objects_is_not_executed(tmp_path: Path) -> None:
    path = tmp_path / "seed-0.npz"
    np.savez(path, **{"trial.json": np.array([{"format": "bilevel-trial/2"}], dtype=object)})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is damaged, or it is not a trial"):
        read_trial(path, ["heads"], "fair", 0)


def test_what_a_task_must_not_end_with() -> None:
    with pytest.raises(ValueError, match="The task measures heads, wear, but a trial ended with heads"):
        check_trial(Trial({"heads": 1.0}), ["heads", "wear"])
    with pytest.raises(FloatingPointError, match="The measure 'heads' is infinite"):
        check_trial(Trial({"heads": float("inf")}), ["heads"])
    with pytest.raises(ValueError, match="The array 'x' of a trial must hold numbers, not object"):
        check_trial(Trial({}, arrays={"x": np.array([None])}), [])


def test_numbers_of_any_kind_are_kept(tmp_path: Path) -> None:
    trial = Trial({"heads": 1 / 3}, {"c": np.array([0.1, 2])}, {"a b/c": np.arange(3, dtype=np.float32)}, 1.5)  # type: ignore[dict-item]
    write_trial(tmp_path / "t.npz", trial, "fair", 7)
    found = read_trial(tmp_path / "t.npz", ["heads"], "fair", 7)
    assert (found.measures, found.curves, found.seconds) == ({"heads": 1 / 3}, {"c": [0.1, 2.0]}, 1.5)
    assert found.arrays["a b/c"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"weightings": ("fare",)}, "There is no weighting of coin 'fare'. Did you mean 'fair'"),
        ({"weightings": ("fair", "fair")}, "fair is there twice"),
        ({"seeds": 0}, "seeds must be 1 or more, not 0"),
        ({"seed": -1}, "seed must be from 0 to"),
        ({"seed": 2**63}, "seed must be from 0 to"),
    ],
)
def test_what_cannot_be_studied_is_refused(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        study(Coin(), **change)  # type: ignore[arg-type]


def test_final_measures_are_drawn_in_a_row_for_each_weighting() -> None:
    axes = Figure().subplots()
    trials = {"equal": [Trial({"error": 1.0}), Trial({"error": 2.0})], "learned": [Trial({"error": np.nan})]}
    draw_final(axes, trials, "error")
    assert [text.get_text() for text in axes.get_yticklabels()] == ["equal", "learned"]
    assert axes.lines[0].get_xdata().tolist() == [1.0, 2.0]


class Coins(Coin):
    """Coins that are thrown with several seeds at once."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[str, list[int]]] = []

    def run_many(
        self, settings: CoinSettings, weighting: str, seeds: Sequence[int], progress: Progress
    ) -> list[Trial]:
        self.batches.append((weighting, list(seeds)))
        return [self.run(settings, weighting, seed, progress) for seed in seeds]


def test_a_batch_task_runs_the_missing_seeds_of_a_weighting_together(tmp_path: Path) -> None:
    coins, told = Coins(), []
    run(study(coins, weightings=("fair",), seeds=1), tmp_path)
    open_folder(study(coins), tmp_path)
    found = run_study(study(coins), tmp_path, lambda *words: told.append(words))
    assert coins.batches == [("fair", [0]), ("fair", [1, 2]), ("loaded", [0, 1, 2])]
    assert [words for words in told if words[2] == 1] == [
        (weighting, seed, 1.0) for weighting, seeds in coins.batches[1:] for seed in seeds
    ]
    alone = run(study(Coin()), tmp_path / "alone")
    for weighting, trials in found.items():
        assert [trial.measures["heads"] for trial in trials] == [
            trial.measures["heads"] for trial in alone[weighting]
        ]
    assert len({trial.seconds for trial in found["loaded"]}) == 1


def test_a_batch_that_fails_names_its_seeds(tmp_path: Path) -> None:
    coins = Coins()
    coins.fails["loaded", 1] = FloatingPointError("The coin is bent.")
    with pytest.raises(FloatingPointError, match="in the trial loaded, seed 0, 1, 2, of coin"):
        run(study(coins), tmp_path)
    assert len(study(coins).missing(tmp_path)) == 3
