"""Studies: all runs of a folder as one data frame, from CSV files and from their Parquet copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import bilevel
from bilevel.experiments import Run, load_study
from bilevel.experiments._parquet import parquet_path, read_parquet, write_parquet

pytest.importorskip("pandas")
parquet = pytest.importorskip("pyarrow.parquet")


def train(folder: Path, method: str = "tos", **settings: object) -> Run:
    return bilevel.train("chicken", method, **{"seeds": 3, "outer_steps": 4, "out": folder, **settings})


@pytest.fixture
def every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of files of any size."""
    monkeypatch.setattr("bilevel.experiments._parquet.SMALLEST", 0)


def test_a_study_has_the_rows_of_all_runs(tmp_path: Path) -> None:
    tos = train(tmp_path / "a" / "tos", seed=5, **{"outer.learning_rate": 0.2})
    selfish = train(tmp_path / "b", "selfish", outer_steps=2)
    study = load_study(tmp_path)
    frame = study.to_pandas()
    assert len(frame) == 4 * 3 + 2 * 3
    assert frame["run"].unique().tolist() == ["a/tos", "b"]
    rows = frame[frame["run"] == "a/tos"]
    assert rows["welfare"].tolist() == tos.curves["welfare"].reshape(-1).tolist()
    assert rows["seed"].tolist() == [5, 6, 7] * 4
    assert rows["outer_step"].tolist() == np.repeat(range(4), 3).tolist()
    assert set(rows["method.outer.learning_rate"]) == {0.2}
    assert study.to_pandas("final")["welfare"].tolist() == [*tos.final["welfare"], *selfish.final["welfare"]]
    assert {name: run.config for name, run in study.load().items()} == dict(study.configs)


def test_only_the_metrics_asked_for_are_read(tmp_path: Path) -> None:
    train(tmp_path / "run")
    study = load_study(tmp_path)
    assert study.to_pandas(metrics=["cooperation"]).columns.tolist()[-1] == "cooperation"
    with pytest.raises(ValueError, match=r"There is no metric 'wellfare'\. Did you mean 'welfare'"):
        study.to_pandas(metrics=["wellfare"])


def test_a_metric_that_a_run_lacks_is_not_a_number(tmp_path: Path) -> None:
    train(tmp_path / "tos")
    train(tmp_path / "planner", "planner")
    frame = load_study(tmp_path).to_pandas()
    assert frame.loc[frame["run"] == "tos", "moved"].isna().all()
    assert frame.loc[frame["run"] == "planner", "moved"].notna().all()


def test_runs_in_progress_and_trials_of_a_search_are_left_out(tmp_path: Path) -> None:
    train(tmp_path / "done")
    train(tmp_path / "tuning" / "tos" / "trial-000")
    bilevel.create_run(bilevel.default_config("chicken", "tos"), tmp_path / "waiting")
    study = load_study(tmp_path)
    assert list(study.configs) == ["done", "waiting"]
    assert study.finished == ["done"]
    assert study.to_pandas("final")["run"].unique().tolist() == ["done"]


@given(
    st.integers(1, 4).flatmap(
        lambda seeds: st.dictionaries(
            st.sampled_from(["welfare", "return_0", "cooperation"]),
            arrays.arrays(np.float64, (5, seeds), elements=st.floats()),
            min_size=1,
        )
    )
)
def test_a_copy_has_the_same_numbers_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, metrics: dict[str, np.ndarray]
) -> None:
    path = tmp_path_factory.mktemp("run") / "metrics.csv"
    path.write_bytes(bytes(1 << 20))
    seeds = next(iter(metrics.values())).shape[1]
    write_parquet(path, metrics, "digest")
    found = read_parquet(path, "digest", seeds)
    assert found is not None
    assert list(found) == list(metrics)
    assert all(found[name].tobytes() == metrics[name].tobytes() for name in metrics)
    assert read_parquet(path, "another", seeds) is None


def test_a_run_writes_a_copy_and_a_study_reads_it(
    tmp_path: Path, every_size: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(tmp_path / "run")
    assert parquet.read_table(tmp_path / "run" / "metrics.parquet").column_names == list(run.curves)
    monkeypatch.setattr("bilevel.experiments._study.read_metrics", None)
    rows = load_study(tmp_path).to_pandas()
    assert rows["welfare"].tolist() == run.curves["welfare"].reshape(-1).tolist()


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "stale"])
def test_the_csv_file_stands_in_for_a_copy_that_is_damaged(
    tmp_path: Path, every_size: None, damage: str
) -> None:
    run = train(tmp_path / "run")
    path = parquet_path(tmp_path / "run" / "metrics.csv")
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        path.write_bytes(content[:60] + bytes([content[60] ^ 1]) + content[61:])
    elif damage == "missing":
        path.unlink()
    else:
        write_parquet(tmp_path / "run" / "metrics.csv", {"welfare": np.zeros((4, 3))}, "of another file")
    for _ in range(2):  # the first call makes a new copy
        rows = load_study(tmp_path).to_pandas()
        assert rows["welfare"].tolist() == run.curves["welfare"].reshape(-1).tolist()
    assert path.read_bytes() == content


def test_without_pyarrow_the_csv_files_are_read(
    tmp_path: Path, every_size: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bilevel.experiments._parquet.find_spec", lambda name: None)
    run = train(tmp_path / "run")
    assert not parquet_path(tmp_path / "run" / "metrics.csv").exists()
    assert load_study(tmp_path).to_pandas()["welfare"].tolist() == run.curves["welfare"].reshape(-1).tolist()


def test_bad_input_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no folder .*nothing"):
        load_study(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"There is no run in .*: a run is a folder with a config\.json"):
        load_study(tmp_path)
    bilevel.create_run(bilevel.default_config("chicken", "tos"), tmp_path / "waiting")
    with pytest.raises(ValueError, match=r"No run in .* is finished"):
        load_study(tmp_path).to_pandas()
    run = train(tmp_path / "run")
    with pytest.raises(ValueError, match="part must be curves or final, not 'middle'"):
        load_study(tmp_path).to_pandas("middle")  # type: ignore[arg-type]
    assert run.path is not None
    with (run.path / "metrics.csv").open("a") as file:
        file.write("5,0\n")
    with pytest.raises(ValueError, match=r"metrics\.csv is damaged, or was changed"):
        load_study(tmp_path).to_pandas()
