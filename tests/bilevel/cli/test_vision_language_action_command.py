"""`bilevel tune vision-language-action`, as small as can be."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
TASK = "vision-language-action"
SMALL = (
    *("--demonstrations", 20, "--validation-demonstrations", 4, "--features", 2, "--language-size", 3),
    *("--hidden-size", 4, "--steps", 4, "--batch-size", 8, "--episodes", 2, "--clip-episodes", 2),
)


def test_weightings_are_trained_and_compared(call: Call) -> None:
    said = call("tune", TASK, *SMALL, "--seeds", 1, "--weightings", "equal", "learned")
    assert said.code == 0, said.err
    assert "success, new (%)" in said.out
    assert "figure.png, figure.gif" in said.out
    folder = Path("runs/tune") / TASK
    assert (folder / "figure.gif").read_bytes().startswith(b"GIF89a")
    assert (folder / "learned" / "seed-0.npz").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--level", "BabyAI-GoToLocalS6N3"), "Did you mean 'BabyAI-GoToLocalS6N3-v0'"),
        (("--demonstrations", 0), "demonstrations must be 1 or more, not 0"),
        (("--test-pairs", 15), "of which there are 18, but they take 18."),
        (("--level", "BabyAI-GoToRedBall-v0"), "of which there are 1, but they take 6."),
    ],
    ids=str,
)
def test_bad_input_is_refused_in_one_sentence(options: tuple[object, ...], sentence: str, call: Call) -> None:
    said = call("tune", TASK, *SMALL, "--seeds", 1, "--weightings", "equal", *options)
    assert said.code == 2
    assert sentence in said.err
    assert "Traceback" not in said.err


def test_the_missing_package_is_named(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "minigrid", None)
    said = call("tune", TASK, *SMALL, "--seeds", 1, "--weightings", "equal")
    assert said.code == 2
    assert f"The task {TASK} needs minigrid: pip install 'bilevel[tasks]'" in said.err
