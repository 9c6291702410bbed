"""Every scenario with every estimator is right or refused, as docs/tuner_scenarios.md has it."""

from __future__ import annotations

import pytest

from tests.bilevel.tuning.reference import SCENARIOS
from tests.bilevel.tuning.scenario_page import PAGE, cells, refusals, row


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_the_page_has_what_is_found(name: str) -> None:
    text, outcomes = PAGE.read_text(encoding="utf-8"), cells(name)
    assert row(name, outcomes) in text.splitlines(), outcomes
    for sentence in refusals({name: outcomes}):
        assert sentence in text.splitlines()


def test_the_page_has_these_scenarios_and_no_others() -> None:
    table = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0].removeprefix("| ") for line in table[1:]] == sorted(SCENARIOS)
