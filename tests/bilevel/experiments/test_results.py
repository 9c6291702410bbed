"""A finished study gets more seeds: runs that differ in their seeds alone are one."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bilevel.experiments import Run, create_run, join_runs, load_comparison, train
from tests.bilevel.experiments.small_runs import small


def trained(path: Path, method: str = "selfish", **changes: int) -> Run:
    return train(create_run(small("escape-room", method, outer_steps=2, **changes), path))


def test_four_seeds_and_four_more_are_eight(tmp_path: Path) -> None:
    """In a sampled game; curves and evaluation, bit for bit."""
    first, more = trained(tmp_path / "a", seeds=2), trained(tmp_path / "b", seed=2, seeds=3)
    together, joined = trained(tmp_path / "c", seeds=5), join_runs([more, first])
    assert joined.config == together.config
    assert joined.seconds == first.seconds + more.seconds
    assert len(joined.provenance) == 2
    for found, expected in ((joined.curves, together.curves), (joined.final, together.final)):
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values)


def test_a_comparison_joins_what_can_be_joined(tmp_path: Path) -> None:
    for method in ("selfish", "prosocial"):
        trained(tmp_path / method, method, seeds=2)
        trained(tmp_path / f"{method}-more", method, seed=2, seeds=2)
    paths = [tmp_path / name for name in ("selfish", "prosocial", "prosocial-more", "selfish-more")]
    found = load_comparison(paths)
    assert list(found) == ["selfish", "prosocial"]
    assert all(run.config.seeds == 4 and run.final["welfare"].shape == (4,) for run in found.values())
    with pytest.raises(ValueError, match="needs 2 runs or more, and these are one"):
        load_comparison([paths[0], paths[3]])


def test_what_is_no_one_study_is_refused(tmp_path: Path) -> None:
    run = trained(tmp_path / "a")
    config = run.config

    def other(**changes: object) -> Run:
        return dataclasses.replace(run, config=dataclasses.replace(config, **changes))

    with pytest.raises(ValueError, match=r"in their seeds alone, but these do in outer_steps \(9, not 2\)"):
        join_runs([run, other(seed=3, outer_steps=9)])
    for seed in (2, 4):  # an overlap, and a gap
        with pytest.raises(ValueError, match=f"after seed 2 comes {seed}: train a run with --seed 3"):
            join_runs([run, other(seed=seed)])
    with pytest.raises(ValueError, match="no runs to join"):
        join_runs([])
