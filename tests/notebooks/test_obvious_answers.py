"""Checks of lessons 7 to 10: right answers in other forms pass, and plainly wrong ones do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import build
import pytest
import torch

import games
from bilevel.lessons import RIGHT, WRONG
from bilevel.lessons.checks import (
    empathy_and_mixing,
    learning_loss_weights,
    your_own_game_and_method,
    zero_sum,
)


@pytest.fixture(autouse=True)
def digits_of_the_lessons() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def functions_of(lesson: str, *names: str) -> list[Callable[..., Any]]:
    """Functions that a lesson defines from scratch, without the rest of their cell."""
    (script,) = build.lessons(beginnings=[lesson])
    cells = [cell.source for cell in build.read(script).cells if cell.cell_type == "code"]
    space: dict[str, Any] = {"torch": torch}
    for name in names:
        parts = (part.strip() for cell in cells for part in cell.split("\n\n\n"))
        (text,) = [part for part in parts if part.startswith(f"def {name}(")]
        exec(text, space)
    return [space[name] for name in names]


def test_lists_arrays_and_tensors_are_answers_alike(capsys: pytest.CaptureFixture[str]) -> None:
    learning_loss_weights.check_1(lambda v, losses, rate: [-rate * float(loss @ v) for loss in losses])
    (cafes,) = functions_of("08", "cafes")
    zero_sum.check_4(lambda b: torch.tensor([(1 - b) / (1 + b), 0.0], dtype=torch.float64), cafes)
    grades = capsys.readouterr().out.splitlines()
    assert len(grades) == 2
    assert all(grade.startswith(RIGHT) for grade in grades), grades


@pytest.mark.parametrize("p", [1e-7, 1 - 1e-9])
def test_nearly_deterministic_policies_are_not_a_fixed_point(
    p: float, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = functions_of("07", "with_gratitude", "learn_step")
    empathy_and_mixing.check_3(lambda R, S, T, P: p, *parts)
    empathy_and_mixing.check_3(lambda R, S, T, P: (T + S - P) / (2 * T + S - P - R), *parts)
    fooled, right = capsys.readouterr().out.splitlines()
    assert fooled.startswith(WRONG)
    assert "would still learn" in fooled
    assert right.startswith(RIGHT)


@pytest.mark.parametrize("beyond", [0.5, 2.0])
def test_optimism_is_the_same_change_again(beyond: float, capsys: pytest.CaptureFixture[str]) -> None:
    parts = functions_of("08", "action_values", "exploitability")
    zero_sum.check_3(lambda now, before: now + beyond * (now - before), *parts)
    assert capsys.readouterr().out.startswith(WRONG)


def test_a_game_of_the_catalogue_is_not_one_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    your_own_game_and_method.check_4(games.make("escape-room"))
    assert "is here already" in capsys.readouterr().out
