"""Theory beside what was learned: known answers, what is kept, and a sentence where there is no theory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import games
from bilevel.experiments import Compared, compare_runs
from bilevel.report import comparison_table, theory_of, write_comparison_files
from bilevel.report._theory_summary import (
    Theory,
    kept,
    share_levels,
    theory_levels,
    theory_record,
    theory_tables,
)
from games.core import Game
from games.matrix import FiniteRepeatedGame
from games.theory import _minimal_transfer
from tests.bilevel.report.compared import made_up
from tests.bilevel.report.compared import printed as terminal


def known(game: Game) -> Theory:
    theory = theory_of(game)
    assert isinstance(theory, Theory)
    return theory


def rows(game: str = "prisoners-dilemma") -> list[Compared]:
    """One method that shares a quarter, up to .4 in one seed, and one that shares nothing."""
    sharing = made_up(game, "tos")
    sharing.final["given_away"] = np.array([0.2, 0.2, 0.3, 0.4])
    return compare_runs({"tos": sharing, "lio": made_up(game, "lio", sharing=False)})


def printed(theory: Theory | str, game: str = "prisoners-dilemma") -> str:
    return terminal(*theory_tables(theory, rows(game)))


ANSWERS = [
    ("prisoners-dilemma", {}, (-2, -4, -4, 2, 2, 2 / 3, 2 / 3)),
    ("stag-hunt", {}, (6, 6, 2, 1, 3, 1 / 2, 1 / 2)),
    ("public-goods", {}, (6, 3, 3, 2, 2, 2 / 3, 2 / 3)),
    ("cyclical-prisoners-dilemma", {"agents": 4}, (12, 4, 4, 3, 3, 3 / 5, 3 / 4)),  # along its ring
    ("matching-pennies", {}, (0, None, None, None, None, 1 / 2, 1 / 2)),
    ("braess", {}, (-260, -320, -320, 16 / 13, 16 / 13, None, None)),
    ("pigou", {}, (-3, -3.25, -4, 13 / 12, 4 / 3, None, 0)),
]
"""Game -> optimum, best and worst pure equilibrium, their prices, s* and g*: most are in theory.md."""


@pytest.mark.parametrize(("name", "settings", "answer"), ANSWERS, ids=[name for name, *_ in ANSWERS])
def test_known_answers(
    name: str, settings: dict[str, int], answer: tuple[float | None, ...], tmp_path: Path
) -> None:
    theory = known(games.make(name, **settings))
    (*_, path) = write_comparison_files(rows(), tmp_path, theory)
    assert path.name == "theory.json"
    record = json.loads(path.read_text())
    names = ("optimum", "best_equilibrium", "worst_equilibrium", "price_of_stability", "price_of_anarchy")
    for key, value in zip((*names, "s", "g"), answer, strict=True):
        assert record[key] == (None if value is None else pytest.approx(value, abs=1e-9)), key
    assert record == json.loads(json.dumps(theory_record(theory, rows())))


def test_mechanisms_are_recorded_where_they_are_defined() -> None:
    record = theory_record(known(games.make("prisoners-dilemma")), rows())["mechanisms"]
    assert (record["contract"], record["taxes"]) == (1, (2, 2))
    assert theory_record(known(games.make("braess")), rows())["mechanisms"] is None


def test_what_is_kept_is_what_is_not_given() -> None:
    shares, none = rows()
    given, found = shares.intervals["given_away"], kept(shares)
    assert found is not None
    assert found.estimate == pytest.approx(0.75)  # derived: the middle half is .8 and .7
    assert (found.low, found.high) == (1 - given.high, 1 - given.low)
    assert found.low < found.estimate < found.high
    assert kept(none) is None
    record = theory_record(known(games.make("prisoners-dilemma")), rows())
    assert record["kept"].keys() == {"tos"}
    assert record["kept"]["tos"]["high"] == pytest.approx(0.8)


def test_the_tables_say_it_in_80_columns() -> None:
    text = printed(known(games.make("prisoners-dilemma")))
    assert max(map(len, text.splitlines())) <= 80
    for line in (
        "optimum                  -2.000",
        "best pure equilibrium    -4.000  stability 2.000",
        "worst pure equilibrium   -4.000    anarchy 2.000",
        "s*, maximum with the same share for all agents                      0.667",
        "g*, maximum with any sharing matrix                                 0.667",
        "tos                                                  0.750 [",
    ):
        assert line in text
    assert "lio" not in text  # its agents share no rewards
    assert "of the one-shot game" in text
    assert "A repeated game" not in text


def test_what_has_no_number_is_said_in_words() -> None:
    text = printed(known(games.make("braess")))
    assert text.count("impossible") == 2
    text = printed(known(games.make("matching-pennies")))
    assert "pure equilibrium     none" in " ".join(text.splitlines())
    assert "There is no pure equilibrium." in " ".join(text.split())
    text = printed(known(games.make("stag-hunt-gifting")))
    assert text.count("undefined") == 2
    assert "a ratio would depend on where zero was put." in " ".join(text.split())


def test_of_a_repeated_game_the_stage_is_told() -> None:
    theory = known(games.make("repeated-prisoners-dilemma"))
    assert theory_record(theory, rows())["of_the_stage"] is True
    text = " ".join(printed(theory).split())
    assert "of the stage game, played once" in text
    assert "A repeated game has more equilibria than its stage" in text
    assert theory_levels(theory)[1] == ("only pure equilibrium of the stage", -4)


@pytest.mark.parametrize(
    ("name", "levels", "shares"),
    [
        ("stag-hunt", {"welfare optimum": 6, "best pure equilibrium": 6, "worst pure equilibrium": 2}, 2),
        ("chicken", {"welfare optimum": 0, "pure equilibria": 0}, 2),
        ("matching-pennies", {"welfare optimum": 0}, 2),
        ("pigou", {"welfare optimum": -3, "best pure equilibrium": -3.25, "worst pure equilibrium": -4}, 1),
        ("braess", {"welfare optimum": -260, "only pure equilibrium": -320}, 0),
    ],
)
def test_levels_to_mark(name: str, levels: dict[str, float], shares: int) -> None:
    theory = known(games.make(name))
    assert dict(theory_levels(theory)) == pytest.approx(levels)
    assert len(share_levels(theory)) == shares


@pytest.mark.parametrize("game", [games.make("escape-room"), FiniteRepeatedGame()])
def test_where_theory_does_not_apply_a_sentence_says_so(game: Game, tmp_path: Path) -> None:
    reason = theory_of(game)
    kind = type(game).__name__
    assert reason == (
        f"No theoretical values: {kind} is not a one-shot game with exact values, nor a repetition of one."
    )
    assert " ".join(printed(reason).split()) == reason
    (tmp_path / "theory.json").write_text("of an earlier comparison")
    assert "theory.json" not in [path.name for path in write_comparison_files(rows(), tmp_path, reason)]
    assert not (tmp_path / "theory.json").exists()


def test_games_that_are_too_large_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_minimal_transfer, "MAX_DEVIATIONS", 3)
    reason = theory_of(games.make("prisoners-dilemma"))
    assert isinstance(reason, str)
    assert reason.startswith("No theoretical values: Transfers are checked against every way to leave")


def test_it_stands_below_the_comparison() -> None:
    text = terminal(comparison_table(rows(), known(games.make("prisoners-dilemma"))))
    assert text.index("Compared with tos") < text.index("Difference: ") < text.index("bound or method")
