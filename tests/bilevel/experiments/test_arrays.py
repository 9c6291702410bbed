"""Matrices of many agents: in a file of their own, with the rules of metrics.csv."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import games
from bilevel import train as train_run
from bilevel.experiments import (
    MEASURES,
    RunConfig,
    RunFolder,
    RunInterrupted,
    create_run,
    extend_run,
    join_runs,
    load_run,
    train,
)
from bilevel.experiments._metrics import MetricsFile, read_array, read_metrics
from bilevel.report import write_run_figures
from bilevel.report._heat_maps import final_transfers
from tests.bilevel.experiments.small_runs import EVERY, STEPS, small

ARRAYS = ("metrics.share.array", "evaluation.share.array")


def crowd(agents: int = 17) -> RunConfig:
    config = small("escape-room", seeds=2, evaluation_episodes=2)
    method = config.method.with_settings({"inner.episodes": 2})
    return dataclasses.replace(
        config, method=method, game=dataclasses.replace(config.game, agents=agents, levers=1)
    )


def stop_after(folder: RunFolder, steps: int) -> None:
    with pytest.raises(RunInterrupted):
        train(folder, listener=lambda done, _: signal.raise_signal(signal.SIGINT) if done == steps else None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = create_run(crowd(), tmp_path_factory.mktemp("whole") / "run")
    train(folder)
    return folder


@pytest.fixture
def fresh(tmp_path: Path) -> RunFolder:
    return create_run(crowd(), tmp_path / "run")


def numbers(folder: RunFolder) -> list[bytes]:
    return [(folder.path / name).read_bytes() for name in (*ARRAYS, "metrics.csv", "evaluation.csv")]


def test_up_to_16_agents_have_columns_and_more_an_array(whole: RunFolder, tmp_path: Path) -> None:
    few = create_run(crowd(16), tmp_path / "few")
    assert train(few).curves["share_15_0"].shape == (STEPS, 2)
    assert not list(few.path.glob("*.array"))
    results = load_run(whole)
    assert len(results.curves) < 25
    assert results.curves["share"].shape == (STEPS, 2, 17, 17)
    assert results.final["share"].shape == (2, 17, 17)
    for numbers in (results.curves, results.final):
        np.testing.assert_allclose(numbers["share"].sum(-1), 1, rtol=1e-5)
        kept = np.diagonal(numbers["share"], axis1=-2, axis2=-1)
        np.testing.assert_allclose(1 - kept.mean(-1), numbers["given_away"], rtol=1e-4)


def test_beyond_64_agents_the_matrix_is_that_of_the_final_policies_alone(tmp_path: Path) -> None:
    game = games.make("public-goods", agents=65)
    config = dataclasses.replace(crowd(), game_name="public-goods", game=game)
    folder = create_run(config, tmp_path / "run")
    results = train(folder)
    assert "share" not in results.curves
    assert results.final["share"].shape == (2, 65, 65)
    assert sorted(path.name for path in folder.path.glob("*.array")) == [
        "evaluation.return.array",
        "evaluation.share.array",
        "metrics.return.array",
    ]
    shared = final_transfers(results)
    assert shared is not None
    assert shared.values.shape == (65, 65, 2)
    longer = create_run(dataclasses.replace(config, seed=2), tmp_path / "longer")
    joined = join_runs([results, train(longer)])
    assert joined.final["share"].shape == (4, 65, 65)


def test_an_array_has_the_bits_and_says_its_form(tmp_path: Path) -> None:
    drawn = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    table = MetricsFile(tmp_path / "metrics.csv")
    for step, values in enumerate(drawn):
        table.add(step, {"welfare": values[:, 0, 0], "share": values.mT})  # not contiguous
    table.flush()
    header = (tmp_path / "metrics.share.array").read_bytes().partition(b"\n")[0]
    assert header == b'{"format": "bilevel-array/1", "dtype": "<f8", "shape": [3, 5, 5]}'
    found = read_metrics(tmp_path / "metrics.csv", ["metrics.share.array"])
    np.testing.assert_array_equal(found["share"], drawn.mT.numpy())
    np.testing.assert_array_equal(found["welfare"], drawn[:, :, 0, 0].numpy())


def test_much_does_not_wait_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bilevel.experiments._files.SPILL", 1000)
    table = MetricsFile(tmp_path / "metrics.csv")
    for step in range(3):
        table.add(step, {"welfare": torch.zeros(2), "share": torch.zeros(2, 9, 9)})
    assert (tmp_path / "metrics.share.array").stat().st_size > 1000
    table.flush()
    positions = table.positions
    table.add(3, {"welfare": torch.zeros(2), "share": torch.ones(2, 20, 20)})
    again = MetricsFile(tmp_path / "metrics.csv")
    again.truncate_to(positions)
    assert again.positions == positions
    assert read_array(tmp_path / "metrics.share.array").shape == (3, 2, 9, 9)


@pytest.mark.parametrize("at", [1, EVERY + 1])
def test_interrupted_and_extended_to_the_same_bytes(at: int, whole: RunFolder, fresh: RunFolder) -> None:
    stop_after(fresh, at)
    extend_run(fresh, STEPS + 2)
    stop_after(fresh, STEPS)
    extend_run(fresh, STEPS)
    train(fresh)
    assert numbers(fresh) == numbers(whole)


def test_what_no_checkpoint_knows_is_forgotten(whole: RunFolder, fresh: RunFolder) -> None:
    """As a kill before the first checkpoint leaves it; and what is not ours stays."""
    theirs = fresh.path / "metrics.of.mine.array"
    for path in (fresh.path / ARRAYS[0], fresh.path / ARRAYS[1], theirs):
        path.write_bytes(b"half an array")
    train(fresh)
    assert numbers(fresh) == numbers(whole)
    assert theirs.read_bytes() == b"half an array"


@pytest.mark.parametrize("name", ARRAYS)
def test_a_damaged_array_is_refused(name: str, fresh: RunFolder) -> None:
    train(fresh)
    damage(fresh.path / name)
    with pytest.raises(ValueError, match=rf"{name.replace('.', '[.]')} is damaged, or was changed"):
        load_run(fresh)


def test_a_damaged_array_is_not_gone_on_with(fresh: RunFolder) -> None:
    stop_after(fresh, EVERY)
    damage(fresh.path / ARRAYS[0])
    with pytest.raises(ValueError, match=r"metrics\.share\.array is damaged, its first"):
        train(fresh)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}\n",
        b"[1]\n",
        b'{"format": "bilevel-array/1", "dtype": "<f8", "shape": [2]}\n',
        b'{"format": "bilevel-array/1", "dtype": "<f8", "shape": [2]}\n1234567',
        b'{"format": "bilevel-array/1", "dtype": "O", "shape": [1]}\n12345678',
        b'{"format": "bilevel-array/1", "dtype": "<f8", "shape": [0]}\n12345678',
    ],
)
def test_what_is_no_array_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "metrics.share.array"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"metrics\.share\.array is not a"):
        read_array(path)


def test_a_name_that_names_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"call it by letters, digits and _, not '\.\./x'"):
        MetricsFile(tmp_path / "metrics.csv").add(0, {"welfare": torch.zeros(2), "../x": torch.zeros(2, 3)})


def test_figures_show_the_array(whole: RunFolder, tmp_path: Path) -> None:
    results = load_run(whole)
    shown = final_transfers(results)
    assert shown is not None
    assert (shown.kind, shown.values.shape) == ("share", (17, 17, 2))
    np.testing.assert_array_equal(shown.values[:, :, 1], results.final["share"][1])
    written = write_run_figures(RunFolder(tmp_path), results)
    assert "sharing.png" in [path.name for path in written]


def test_measures_of_returns_that_are_read_from_a_file(tmp_path: Path) -> None:
    settings = {"game.agents": 65, "inner.exact": False, "inner.episodes": 2, "seeds": 3, "outer_steps": 2}
    train_run("aid", "tos", evaluation_episodes=2, out=tmp_path / "run", **settings)
    run = load_run(tmp_path / "run")
    assert not run.final["return"].flags.writeable
    equality = MEASURES["equality"](run)
    assert equality is not None
    assert equality.shape == (3,)
