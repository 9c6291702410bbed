"""Returns over whole learning: of a small run of m-fos, and of independent learners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bilevel
import games
from docs.studies.meta_returns import main, table_row, whole_learning


def test_independent_learners_count_every_outer_step(tmp_path: Path) -> None:
    run = bilevel.train("chicken", "selfish", seeds=3, outer_steps=4, out=tmp_path / "run")
    expected = run.curves["return_1"].mean(0)
    np.testing.assert_array_equal(whole_learning(run)[1], expected)
    assert not np.array_equal(expected, run.final["return_1"])


def test_a_run_of_meta_episodes_has_a_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    where = tmp_path / "meta"
    small: dict[str, Any] = {"meta.steps": 3, "meta.episodes": 4, "meta.hidden_size": (4,)}
    run = bilevel.train("repeated-prisoners-dilemma", "m-fos", seeds=3, outer_steps=1, out=where, **small)
    np.testing.assert_array_equal(whole_learning(run)[0], run.final["meta_return_0"])
    main([str(where)])
    first, second = capsys.readouterr().out.split("P(first action)")
    assert first.splitlines()[2].startswith("| meta | -2.")
    learner: Any
    learner, state = run.learner()
    chance = float(learner.play.policy.probabilities(state["theta"])[:, 1, 4, 0].mean())
    assert second.splitlines()[-1].endswith(f"{chance:.2f} |")


def test_returns_of_finite_episodes_are_divided_by_their_weight(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    where = tmp_path / "coala"
    small: dict[str, Any] = {"meta.steps": 2, "meta.episodes": 2, "inner.episodes": 4}
    game = games.make("repeated-prisoners-dilemma", horizon=3)
    run = bilevel.train(game, "coala-pg", seeds=3, outer_steps=1, out=where, **small)
    main([str(where), "--finite"])
    expected = run.final["meta_return_0"].min() / (1 - 0.96**3)
    assert f"] | {expected:.2f} | " in capsys.readouterr().out


def test_a_line_has_both_agents() -> None:
    learning, last = np.array([[-1.0, -1, -3], [0, 0, 0]]), np.array([[1.0, 1, 1], [2, 2, 2]])
    cells = table_row("name", learning, last, reached=-1.0).split(" | ")
    assert cells[2:5] == ["0.00 [0.00, 0.00]", "-3.00", "2 of 3"]
    assert table_row("name", learning, last, reached=None).split(" | ")[4] == ""
    assert cells[5:] == ["1.00 [1.00, 1.00]", "2.00 [2.00, 2.00] |"]


def test_other_games_are_refused(tmp_path: Path) -> None:
    for game, sentence in (("aid", "aid does not have two agents"), ("chicken", "are not tables of two act")):
        bilevel.train(game, "selfish", seeds=3, outer_steps=1, out=tmp_path / game)
        with pytest.raises(SystemExit, match=sentence):
            main([str(tmp_path / game)])
