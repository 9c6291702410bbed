"""The diff in docs/loss_weights.md is what it says: few lines, and both programs run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "loss_weights.md"


def diff() -> list[str]:
    found = re.search(r"^```diff\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1].splitlines()


def program(without: str) -> str:
    return "\n".join(line[1:] for line in diff() if not line.startswith(without))


def validation_loss(code: str, tmp_path: Path) -> float:
    file = tmp_path / "loop.py"
    file.write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, check=True, cwd=ROOT)
    return float(done.stdout.split()[-1])


def test_few_lines_change_in_a_loop_of_thirty() -> None:
    assert len(program("+").splitlines()) >= 30
    assert sum(line.startswith("+") for line in diff()) <= 6
    assert sum(line.startswith("-") for line in diff()) <= 6


def test_both_programs_run_and_print_what_the_page_says(tmp_path: Path) -> None:
    said = re.search(r"Before: validation loss ([\d.]+)\. After: ([\d.]+),", PAGE.read_text(encoding="utf-8"))
    assert said is not None
    before, after = validation_loss(program("+"), tmp_path), validation_loss(program("-"), tmp_path)
    assert before == pytest.approx(float(said[1]), abs=0.02)
    assert after == pytest.approx(float(said[2]), abs=0.002)
