"""The study behind training-modes.md: its table says what the runs found, its figure shows them."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pytest

from bilevel.cli._compare import compare_command
from bilevel.experiments import interquartile_interval
from docs.studies.training_ways import Study, load_games, main, ways_table, write_ways

SETTINGS = ("--seeds", "3", "--outer-steps", "4", "--set", "later.cost-weight=0:0,3:1")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two comparisons of the same two ways."""
    root = tmp_path_factory.mktemp("ways")
    for game in ("chicken", "prisoners-dilemma"):
        words = ["--game", game, "--out", str(root / game), "--methods", "joint=tos", "later=tos", *SETTINGS]
        compare_command(words)
    return [root / "chicken", root / "prisoners-dilemma"]


def test_the_table_says_what_the_runs_found(folders: list[Path]) -> None:
    games = load_games(folders)
    head, rule, *rows = ways_table(games).splitlines()
    assert head == "| | chicken (0) | prisoners-dilemma (-2) |"
    assert rule == "|---|---|---|"
    assert [row.split(" | ")[0] for row in rows] == ["| joint", "| later"]
    final = games["prisoners-dilemma"]["later"].final
    welfare, given = (interquartile_interval(final[name]) for name in ("welfare", "given_away"))
    assert rows[1].split(" | ")[2] == (
        f"{welfare.estimate:.3f} [{welfare.low:.3f}, {welfare.high:.3f}], {100 * given.estimate:.0f} % |"
    )


def test_the_figure_has_the_methods_that_were_asked_for(folders: list[Path], tmp_path: Path) -> None:
    games = load_games(folders)
    paths = [write_ways(games, drawn, tmp_path / f"{len(drawn)}.png") for drawn in ((), ("later",))]
    both, one = (matplotlib.image.imread(path) for path in paths)
    assert both.shape[1] > both.shape[0]  # a column for each game
    assert (both != 1).any(-1).sum() > (one != 1).any(-1).sum()
    with pytest.raises(ValueError, match=r"no method of these comparisons 'latter'\. Did you mean 'later'"):
        write_ways(games, ["latter"], tmp_path / "none.png")


def test_from_the_command_line(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    main(["--games", *map(str, folders), "--figure", str(tmp_path / "ways.svg")])
    assert capsys.readouterr().out == f"{ways_table(load_games(folders))}\n"
    assert (tmp_path / "ways.svg").read_text().count("<svg") == 1


def test_what_cannot_be_shown_is_one_sentence(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"nowhere is not the folder of a comparison: it has no table\.csv"):
        main(["--games", str(tmp_path / "nowhere")])
    words = ["--game", "chicken", "--seeds", "3", "--outer-steps", "1", "--evaluation-episodes", "4"]
    for name, method in (("other", "prosocial"), ("felt", "svo")):
        compare_command([*words, "--out", str(tmp_path / name), "--methods", "selfish", method])
    with pytest.raises(
        SystemExit, match="other compares selfish, prosocial, but the first game has joint, later"
    ):
        main(["--games", str(folders[0]), str(tmp_path / "other")])
    with pytest.raises(SystemExit, match="svo has no shares that are given away"):
        main(["--games", str(tmp_path / "felt")])
    with pytest.raises(ValueError, match="games must name at least one folder"):
        Study(games=())
    with pytest.raises(ValueError, match=r"ends in \.png, \.pdf, \.svg, not ways"):
        Study(games=(tmp_path,), figure=Path("ways"))
