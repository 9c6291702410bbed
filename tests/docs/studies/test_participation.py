"""Study of participation: returns after sharing, and the command."""

from __future__ import annotations

import numpy as np
import pytest

import bilevel
from bilevel.experiments import agent_metric
from docs.studies.participation import METHODS, Study, main, returns_after_sharing, run_study


@pytest.mark.parametrize("label", METHODS)
def test_sharing_moves_rewards_and_loses_none(label: str) -> None:
    method, settings = METHODS[label]
    run = bilevel.train("public-goods", method, seeds=3, outer_steps=2, **settings)
    after = returns_after_sharing(run)
    assert after.shape == (3, 3)
    np.testing.assert_allclose(after.sum(-1), run.final["welfare"])


def test_by_hand() -> None:
    """Each of two keeps 60 % of its return, and gets 40 % of the other's."""
    run = bilevel.train("chicken", "fixed", seeds=4, outer_steps=2, self_interest=0.6)
    own = agent_metric(run.final, "return", 2)
    assert own is not None
    np.testing.assert_allclose(returns_after_sharing(run), 0.6 * own + 0.4 * own[:, ::-1])


def test_selfish_agents_have_their_own_returns() -> None:
    run = bilevel.train("chicken", "selfish", seeds=3, outer_steps=2)
    own = agent_metric(run.final, "return", 2)
    assert own is not None
    np.testing.assert_array_equal(returns_after_sharing(run), own)


def test_the_common_reward_takes_from_the_agent_that_has_all_the_water() -> None:
    """Alone the highest of four farmers takes all, sqrt(4) = 2; in the optimum each harvests sqrt(1) = 1."""
    study = Study(methods=("prosocial",), seeds=3, outer_steps=300)
    ((label, found),) = run_study(study)
    assert label == "prosocial"
    assert -1.1 < found.least_gain.high < -0.9
    assert found.gaining.estimate == 3


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--seeds", "3", "--outer-steps", "2", "--methods", "prosocial", "tos, own-return"])
    titles, _, *rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[0] for row in rows] == ["| prosocial", "| tos, own-return"]
    assert {row.count("|") for row in rows} == {titles.count("|")}


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(ValueError, match=r"methods are some of prosocial, .*, not magic\."):
        Study(methods=("magic",))
