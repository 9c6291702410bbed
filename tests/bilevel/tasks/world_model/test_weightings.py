"""The ways to train: phases, hand-set weights and the schedule."""

from __future__ import annotations

import pytest

from bilevel.tasks.world_model._task import _panels
from bilevel.tasks.world_model._training import GRID, WEIGHTINGS, phases, schedule

NAMES = ("reconstruction", "dynamics", "policy", "value")


def test_staged_takes_a_third_each_and_acts_at_random_before_there_is_a_controller():
    plan = phases("staged", 9, NAMES)
    assert [phase.parts[0] for phase in plan] == ["autoencoder"] * 3 + ["dynamics"] * 3 + ["controller"] * 3
    assert [phase.uniform_actions for phase in plan] == [True] * 6 + [False] * 3


def test_alternating_takes_turns_and_always_acts_by_its_policy():
    plan = phases("alternating", 7, NAMES)
    assert [phase.losses for phase in plan[:4]] == [
        ("reconstruction",),
        ("dynamics",),
        ("policy", "value"),
        ("reconstruction",),
    ]
    assert not any(phase.uniform_actions for phase in plan)


def test_contrast_is_learned_with_the_pictures():
    assert phases("staged", 3, [*NAMES, "contrastive"])[0].losses == ("reconstruction", "contrastive")


def test_the_grid_names_known_losses_and_every_row_has_a_line():
    assert next(iter(WEIGHTINGS)) == "fixed"
    assert set(GRID) < set(WEIGHTINGS)
    assert {name for weights in GRID.values() for name in weights} <= set(NAMES)


def test_the_schedule_is_the_published_one_where_the_run_is_long_enough():
    lines = schedule(200_000, NAMES)
    assert lines["policy"] == (0.1, 1.0, 9000)
    assert lines["reconstruction"] == (1.0, 0.1, 45000)
    assert lines["dynamics"][:2] == (1.0, 1.0)
    assert lines["value"] == lines["policy"]


@pytest.mark.parametrize("updates", [1, 7, 500])
def test_the_schedule_shrinks_with_the_run(updates):
    assert all(1 <= steps <= updates for _, _, steps in schedule(updates, NAMES).values())


def test_returns_by_hand_and_by_other_weightings_are_in_panels_of_their_own():
    assert _panels(["fixed", "fixed-policy-low", "learned", "staged"]) == [
        ["fixed", "learned", "fixed-policy-low"],
        ["fixed", "learned", "staged"],
    ]
    assert _panels(["fixed"]) == [["fixed"]]
