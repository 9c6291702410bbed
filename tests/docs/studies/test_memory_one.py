"""Returns of memory-one policies: those of known strategies, and of a small run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import bilevel
import games
from docs.studies.memory_one import exact_returns, main


def test_tit_for_tat_and_unconditional_cooperation() -> None:
    """Against defection: tit for tat loses the first step alone, .04 (-3) + .96 (-2)."""
    game = games.make("repeated-prisoners-dilemma")
    tit_for_tat, always = torch.tensor([1.0, 1, 0, 1, 0]), torch.ones(5)
    chances = torch.stack((tit_for_tat, always)).unsqueeze(1).expand(2, 2, 5)  # seed, agent, observation
    found = exact_returns(game, torch.stack((chances, 1 - chances), -1))
    torch.testing.assert_close(found.together, torch.tensor([-1.0, -1.0]))
    torch.testing.assert_close(found.against_defection, torch.tensor([-2.04, -3.0]))
    torch.testing.assert_close(found.cooperation, torch.tensor([1.0, 1.0, 0.5, 1.0, 0.5]))


def test_a_run_has_a_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    where = tmp_path / "dice"
    settings = {"game.horizon": 4, "inner.episodes": 4}
    bilevel.train("repeated-prisoners-dilemma", "lola-dice", seeds=3, outer_steps=1, out=where, **settings)
    main([str(where)])
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.startswith("| dice | -1.")
    assert " of 3 | " in row


def test_networks_are_evaluated_and_recurrent_ones_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    small = {"game.horizon": 4, "inner.episodes": 4, "proximal.steps": 1, "policy.hidden_size": (3,)}
    for policy in ("mlp", "gru"):
        where = tmp_path / policy
        settings = {**small, "policy": policy}
        bilevel.train("repeated-prisoners-dilemma", "pola", seeds=3, outer_steps=1, out=where, **settings)
    main([str(tmp_path / "mlp")])
    assert capsys.readouterr().out.splitlines()[-1].startswith("| mlp | -1.")
    with pytest.raises(SystemExit, match="remember more than the last step"):
        main([str(tmp_path / "gru")])


def test_other_games_are_refused(tmp_path: Path) -> None:
    bilevel.train("chicken", "selfish", seeds=3, outer_steps=1, out=tmp_path / "chicken")
    with pytest.raises(SystemExit, match="is not of a repeated game of two agents with two actions"):
        main([str(tmp_path / "chicken")])
