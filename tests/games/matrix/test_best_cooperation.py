"""The share of cooperating actions at the welfare optimum, by hand."""

from __future__ import annotations

from typing import Any

import pytest

import games


@pytest.mark.parametrize(
    ("name", "settings", "share"),
    [
        ("prisoners-dilemma", {}, 1.0),
        ("prisoners-dilemma", {"temptation": 5.0}, 0.5),  # 5 and -3 are more than twice -1
        ("chicken", {}, None),  # one agent that goes straight takes as much as the other loses
        ("matching-pennies", {}, None),  # no action cooperates
        ("braess", {}, None),
        ("public-goods", {"agents": 1000}, 1.0),
        ("cyclical-prisoners-dilemma", {}, 1.0),
        ("repeated-prisoners-dilemma", {}, 1.0),
        ("escape-room", {}, 1 / 2),
        ("escape-room", {"agents": 3, "levers": 2}, 2 / 3),
        ("escape-room", {"random_start": True}, None),
        ("coin-game", {}, None),
    ],
)
def test_by_hand(name: str, settings: dict[str, Any], share: float | None) -> None:
    assert games.make(name, **settings).best_cooperation == share
