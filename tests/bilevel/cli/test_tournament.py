"""`bilevel tournament` from the command line: table, figure, files, resumption, refusals."""

import csv
import re

import pytest

from bilevel.cli import main

WORDS = ["tournament", "--learners", "naive=selfish", "lola=selfish", "--set", "lola.rule=lola"]
SHORT = ["--seeds", "3", "--outer-steps", "4"]


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def exit_code(words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code


def test_table_figure_and_files(tmp_path, capsys):
    words = [*WORDS, "--strategies", "tit-for-tat", *SHORT, "--seed", "20"]
    assert exit_code(words) == 0
    shown = capsys.readouterr()
    out = tmp_path / "runs" / "tournament" / "repeated-prisoners-dilemma"
    assert re.search(r"lola +all +-\d\.\d+ \[", shown.out)
    assert "9 matches of 3 seeds" in shown.err
    assert {path.name for path in (out / "pairings").iterdir()} == {
        "cross_play.png",
        "table.csv",
        "seeds.csv",
    }
    with (out / "pairings" / "seeds.csv").open() as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["20", "21", "22"] * 9
    assert exit_code(words) == 0
    assert "(9 of 9 are there already)" in capsys.readouterr().err
    assert exit_code([*words, "--pool"]) == 0
    assert (out / "pool" / "cross_play.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--learners", "naive=selfish"], "two entrants or more, and naive is the only one"),
        (["--strategies", "tit-for-tit"], "There is no strategy 'tit-for-tit'"),
        (["--strategies", "grim", "grim"], "grim is named twice"),
        (["--game", "coin-game", "--strategies", "grim"], "Fixed strategies are for repeated games"),
        (["--seeds", "2", "--strategies", "grim"], "needs 3 seeds or more"),
        (["--learners", "selfish", "ltos"], "Its sharing networks decide every 15 steps"),
        (["--game", "public-goods"], "pairs two agents, and public-goods has 3"),
        (["--game", "aid", "--learners", "a=selfish", "b=selfish"], "pairs two agents"),
    ],
)  # fmt: skip
def test_refusals_are_one_sentence(words, message, capsys):
    assert exit_code(["tournament", *words]) == 2
    shown = capsys.readouterr().err
    assert message in " ".join(shown.split())
    assert "Traceback" not in shown
