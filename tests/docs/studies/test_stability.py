"""Pictures of stability: where paths end, and the command."""

import numpy as np
import pytest

from docs.studies.stability import GAMES, LOOKS, main, path_of


def end(place, name, steps=2000):
    game = GAMES[place]
    return path_of(game, LOOKS[name][0](game.rate), steps)[-1]


def test_lola_leaves_the_fixed_points_of_tandem_and_the_others_do_not():
    """LOLA's own fixed point is s = (2 - 4 a) / (2 - 8 a) = 4/3 for a = 0.1."""
    assert end(0, "lola").sum() == pytest.approx(4 / 3, abs=1e-6)
    for name in ("naive", "look-ahead", "sos"):
        assert end(0, name).sum() == pytest.approx(1, abs=1e-3)


def test_only_naive_learners_leave_the_equilibrium_of_the_bilinear_game():
    start = np.linalg.norm(GAMES[1].start)
    assert np.linalg.norm(end(1, "naive", 400)) > start
    for name in LOOKS:
        assert name == "naive" or np.linalg.norm(end(1, name, 400)) < 0.1 * start


def test_the_command_writes_the_figure(tmp_path, capsys):
    main(["--figure", str(tmp_path / "paths.png"), "--steps", "5"])
    assert (tmp_path / "paths.png").stat().st_size > 10_000


def test_mistakes_get_one_sentence(capsys):
    for words, message in (
        (["--rules", "lolla"], "rules are some of naive"),
        (["--figure", "paths.txt"], "figure must be a name that ends in"),
    ):
        with pytest.raises(SystemExit):
            main(words)
        assert message in capsys.readouterr().err
