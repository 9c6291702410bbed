"""Every scenario with every estimator is right or refused, as docs/reference/tuner-scenarios.md has it.

Each cell takes some hundredths of a second, and there are more than a thousand: this finds those anew in
which estimators differ, and `python -m tests.bilevel.loss_weights.scenario_page` finds all.
"""

from __future__ import annotations

import pytest

from tests.bilevel.loss_weights.reference import ESTIMATORS, SCENARIOS, STEPS, found
from tests.bilevel.loss_weights.scenario_page import PAGE, sentence_of

DIFFERENT = {
    "unrolled": (1, 3),
    "unrolled, model first": (3,),
    "directional": (1,),
    "finite-difference": (1,),
    "implicit": (1,),
    "truncated": (3,),
    "forward": (1,),
}
"""Estimator -> the numbers of virtual steps with which it is tried."""


def table() -> dict[str, dict[str, list[str]]]:
    """Scenario -> estimator -> outcome for each number of steps, as the page has it."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    rows = [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in lines[1:]]
    return {
        name: dict(zip(ESTIMATORS, (cell.split(", ") for cell in cells), strict=True))
        for name, *cells in rows
    }


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_the_page_has_what_is_found(name: str) -> None:
    page, row = PAGE.read_text(encoding="utf-8").splitlines(), table()[name]
    for estimator, several in DIFFERENT.items():
        for steps in several:
            cell = found(name, estimator, steps)
            assert cell.outcome in ("right", "refused"), (estimator, steps, cell)
            assert row[estimator][STEPS.index(steps)] == cell.outcome, (estimator, steps, cell)
            assert cell.outcome == "right" or sentence_of(cell) in page


def test_the_page_has_these_scenarios_and_no_others_all_of_them_right_or_refused() -> None:
    rows = table()
    assert list(rows) == sorted(SCENARIOS)
    outcomes = {outcome for row in rows.values() for each in row.values() for outcome in each}
    assert outcomes == {"right", "refused"}
