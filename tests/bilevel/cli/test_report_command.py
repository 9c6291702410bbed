"""`bilevel report`: the page of a study, and bad input."""

from __future__ import annotations

from pathlib import Path

import pytest

from bilevel.experiments import train
from tests.bilevel.cli.conftest import Call


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for method in ("selfish", "tos"):
        train("chicken", method, seeds=3, outer_steps=2, out=tmp_path / "study" / method)
    return tmp_path / "study"


def test_the_command_writes_the_page(study: Path, call: Call, tmp_path: Path) -> None:
    said = call("report", study, "--out", tmp_path / "page.html", "--title", "A study", "--clips", "none")
    assert said.code == 0, said
    assert said.out == f"Written: {tmp_path / 'page.html'}\n"
    assert "Without clips" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_bad_input_gets_one_sentence(study: Path, call: Call, tmp_path: Path) -> None:
    assert "There is no folder nothing." in call("report", "nothing").sentence()
    assert "Name a folder" in call("report").sentence()
    assert "name ends in .html" in call("report", study, "--out", "page.pdf").sentence()
    (tmp_path / "empty").mkdir()
    assert "There is no run in" in call("report", tmp_path / "empty").sentence()


def test_a_paper_gets_figures_and_tables(study: Path, call: Call, tmp_path: Path) -> None:
    said = call("report", study, "--paper", tmp_path / "paper")
    assert said.code == 0, said
    assert sorted(path.name for path in (tmp_path / "paper").iterdir()) == [
        "curves.pdf",
        "profile.pdf",
        "sharing.pdf",
        "table.tex",
    ]
    assert (tmp_path / "paper" / "curves.pdf").read_bytes().startswith(b"%PDF")
    table = (tmp_path / "paper" / "table.tex").read_text(encoding="utf-8")
    assert r"\caption{chicken, 3 seeds}" in table
    assert table.count(r"\toprule") == 2
    assert "leave out --out" in call("report", study, "--paper", "paper", "--out", "a.html").sentence()
    assert "one row only" in call("report", study / "tos", "--paper", "paper").sentence()
