"""The study of the coin game: coins of scripted agents, a small run, and input that is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import bilevel
import games
from bilevel.experiments import load_run
from docs.studies.coin_game import keeper, main, mean_of_seats, outcomes_of_run, own_coin_curve, play, taker

SETTINGS = {"game.horizon": 20, "game.view": 1, "inner.episodes": 64, "policy.hidden_size": (4,)}


def test_scripted_agents_by_their_coins() -> None:
    """Keepers take no coin of the other agent; of two takers half of the coins are of the other's color."""
    game = games.make("coin-game", horizon=50)
    keepers, takers = (play(game, (actor(game), actor(game)), 1000) for actor in (keeper, taker))
    assert keepers.others.tolist() == [0, 0]
    torch.testing.assert_close(keepers.returns, keepers.coins)
    torch.testing.assert_close(takers.own_coins, torch.full((2,), 0.5), atol=0.02, rtol=0)
    torch.testing.assert_close(takers.returns, takers.coins - 2 * takers.others.flip(0))


def test_both_seats_count_alike() -> None:
    game = games.make("coin-game", horizon=50)
    mixed = mean_of_seats(game, keeper(game), taker(game), 500)
    seats = play(game, (keeper(game), taker(game)), 500), play(game, (taker(game), keeper(game)), 500)
    torch.testing.assert_close(mixed.returns[0], (seats[0].returns[0] + seats[1].returns[1]) / 2)
    assert mixed.others[0] == 0 < mixed.others[1]


def test_a_run_has_a_line_and_a_figure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    where, picture = tmp_path / "aligned", tmp_path / "curves.png"
    bilevel.train("coin-game", "advantage-alignment", seeds=3, outer_steps=2, out=where, **SETTINGS)
    main([str(where), "--episodes", "8", "--figure", str(picture)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:5]] == [
        "aligned",
        "scripted, own coins only",
        "scripted, every coin",
    ]
    assert " of 3 | " in lines[2]
    assert picture.stat().st_size > 0


def test_the_curve_counts_the_coins_that_episodes_count(tmp_path: Path) -> None:
    """Of one policy: from welfare and cooperation, and from episodes, up to noise."""
    settings = {**SETTINGS, "inner.learning_rate": 1e-9, "inner.episodes": 512}
    bilevel.train("coin-game", "selfish", seeds=3, outer_steps=1, out=tmp_path / "run", **settings)
    run = load_run(tmp_path / "run")
    together, _ = outcomes_of_run(run, 2000)
    rates = 1 - together.others.sum(-1) / together.coins.sum(-1)
    np.testing.assert_allclose(own_coin_curve(run)[0], rates, atol=0.03)


def test_other_games_are_refused(tmp_path: Path) -> None:
    bilevel.train("chicken", "selfish", seeds=3, outer_steps=1, out=tmp_path / "chicken")
    with pytest.raises(SystemExit, match="is not of a coin game in which both agents pick up"):
        main([str(tmp_path / "chicken")])


def test_other_figures_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--figure", "curves.gif"])
    assert "a name that ends in .png, .pdf, .svg" in " ".join(capsys.readouterr().err.split())
