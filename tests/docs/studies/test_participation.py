"""Study of participation: gains, and the command."""

from __future__ import annotations

import pytest

from docs.studies.participation import Study, main, run_study


def test_the_common_reward_takes_from_the_agent_that_has_all_the_water() -> None:
    """Alone the highest of four farmers takes all, sqrt(4) = 2; in the optimum each harvests sqrt(1) = 1."""
    study = Study(methods=("prosocial",), seeds=3, outer_steps=300)
    ((label, found),) = run_study(study)
    assert label == "prosocial"
    assert found.least == 0
    assert -1.1 < found.gains.high[0] < -0.9
    assert (found.gains.low[1:] > 0).all()
    assert (found.all_gain, found.seeds) == (0, 3)


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--seeds", "3", "--outer-steps", "2", "--methods", "prosocial", "tos, own-return"])
    titles, _, *rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[0] for row in rows] == ["| prosocial", "| tos, own-return"]
    assert {row.count("|") for row in rows} == {titles.count("|")}


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(ValueError, match=r"methods are some of prosocial, .*, not magic\."):
        Study(methods=("magic",))
