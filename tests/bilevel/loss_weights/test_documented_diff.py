"""The diff in docs/how-to/loss-weights.md is what it says: few lines, and both programs run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "how-to" / "loss-weights.md"


def diff() -> list[str]:
    found = re.search(r"^```diff\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1].splitlines()


def program(without: str) -> str:
    return "\n".join(line[1:] for line in diff() if not line.startswith(without))


def validation_loss(code: str, capsys: pytest.CaptureFixture[str]) -> float:
    exec(compile(code, PAGE.name, "exec"), {"__name__": "__main__"})
    return float(capsys.readouterr().out.split()[-1])


def test_few_lines_change_in_a_loop_of_thirty() -> None:
    assert len(program("+").splitlines()) >= 30
    assert sum(line.startswith("+") for line in diff()) <= 6
    assert sum(line.startswith("-") for line in diff()) <= 6


def test_both_programs_run_and_print_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    said = re.search(r"Before: validation loss ([\d.]+)\. After: ([\d.]+),", PAGE.read_text(encoding="utf-8"))
    assert said is not None
    before, after = validation_loss(program("+"), capsys), validation_loss(program("-"), capsys)
    assert before == pytest.approx(float(said[1]), abs=0.02)
    assert after == pytest.approx(float(said[2]), abs=0.002)
