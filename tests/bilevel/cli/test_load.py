"""Games, methods and estimators of one's own, with the very files that CONTRIBUTING.md shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bilevel.experiments._run_folder import WRITTEN
from bilevel.hypergradient import ESTIMATORS
from games._catalogue import CATALOGUE

Call = Callable[..., Any]
SMALL = ("--seeds", 3, "--outer-steps", 3, "--inner.episodes", 4, "--evaluation-episodes", 4)
CONTRIBUTING = Path(__file__).resolve().parents[3] / "CONTRIBUTING.md"


def shown(word: str) -> str:
    """The Python of CONTRIBUTING.md that has this word."""
    code = re.findall(
        r"^```python\n(.*?)^```", CONTRIBUTING.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    (found,) = (block for block in code if word in block)
    return found


def test_a_game_of_ones_own_is_trained_and_resumed(call: Call) -> None:
    Path("volunteer.py").write_text(shown("games.register"))
    loaded = ("--load", "volunteer.py")
    said = call("train", *loaded, "--game", "volunteer", "--game.agents", 4, *SMALL, "--out", "run")
    assert said.code == 0
    assert "volunteer" in said.out
    del CATALOGUE["volunteer"]  # as in another process
    again = call("train", *loaded, "--resume", "run")
    assert again.code == 0
    assert "finished already" in again.err


def test_a_method_of_ones_own_is_trained(call: Call) -> None:
    Path("swap.py").write_text(shown("register_method"))
    words = ("--load", "swap.py", "--game", "chicken", "--method", "swap", "--method.fraction", 0.25, *SMALL)
    assert call("train", *words, "--out", "run").code == 0
    assert ",0.25,0.75," in Path("run/metrics.csv").read_text()


def test_an_estimator_of_ones_own_is_trained_and_resumed(call: Call) -> None:
    Path("last_step.py").write_text(shown("register_hypergradient"))
    loaded = ("--load", "last_step.py")
    words = ("--game", "chicken", "--method", "tos", "--outer.hypergradient", "last-step", *SMALL)
    assert call("train", *loaded, *words, "--out", "run").code == 0
    assert '"hypergradient": "last-step"' in Path("run/config.json").read_text()
    del ESTIMATORS["last-step"]  # as in another process
    WRITTEN.clear()
    said = call("train", "--resume", "run")
    assert said.code == 2
    assert "There is no hypergradient 'last-step'" in said.sentence()
    assert call("train", *loaded, "--resume", "run").code == 0


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("x = 1\nboom()\n", "mine.py, line 2: NameError: name 'boom' is not defined"),
        ("x = 1\nx = = 2\n", r"mine.py, line 2: SyntaxError: invalid syntax"),
        (None, "There is no file mine.py to load."),
    ],
)
def test_a_file_that_fails_is_one_sentence(call: Call, code: str | None, sentence: str) -> None:
    if code is not None:
        Path("mine.py").write_text(code)
    said = call("train", "--load", "mine.py", "--game", "chicken")
    assert said.code == 2
    assert said.sentence().startswith(sentence)
    assert not Path("runs").exists()


def test_a_folder_never_runs_a_file_by_itself(call: Call) -> None:
    Path("volunteer.py").write_text(shown("games.register"))
    assert call("train", "--load", "volunteer.py", "--game", "volunteer", *SMALL, "--out", "run").code == 0
    del CATALOGUE["volunteer"]
    said = call("train", "--resume", "run")
    assert said.code == 2
    assert "There is no game 'volunteer'" in said.sentence()
    assert said.sentence().endswith("(One of your own comes with --load FILE.py.)")
