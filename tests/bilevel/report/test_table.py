"""The table: what it says of good, bad and unknown results, in 80 columns."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import games
from bilevel.experiments import Run, default_config, share_of_optimum
from bilevel.report import number, results_table
from bilevel.report._table import CAPTION, COLUMNS, cells


def made_up(game: str = "chicken-100", method: str = "tos", **final: list[float]) -> Run:
    """Run of a run that never was."""
    values = {"welfare": [-200.0, -100.0, 0.0, -50.0], "given_away": [0.5] * 4} | final
    seeds = len(values["welfare"])
    config = dataclasses.replace(default_config(game, method), seeds=seeds)
    arrays = {name: np.array(of_seed)[:seeds] for name, of_seed in values.items()}
    return Run(config, {name: of_seed[None] for name, of_seed in arrays.items()}, arrays, 12345.6)


def printed(runs: list[Run], width: int = 80) -> str:
    text = io.StringIO()
    Console(file=text, width=width, highlight=False).print(results_table(runs))
    return text.getvalue()


def test_cells_by_hand() -> None:
    found = cells(made_up(welfare=[-200.0] * 3, cooperation=[0.25, 0.25, 0.25]))
    assert list(found) == list(COLUMNS)
    assert list(found.values()) == ["-200.00 [-200.00, -200.00]", "0.0 %", "25.0 %", "50.0 %", "12345.6"]


def test_two_seeds_have_no_interval() -> None:
    assert cells(made_up(welfare=[1.0, 2.0]))["welfare [95 % interval]"] == "1.500"


def test_a_dash_where_the_game_does_not_know() -> None:
    found = cells(made_up("rock-paper-scissors"))
    assert (found["optimum"], found["cooperation"]) == ("-", "-")


def test_shares_of_the_optimum() -> None:
    dilemma = games.make("prisoners-dilemma")  # everybody defecting -4, the optimum -2
    shares = share_of_optimum(dilemma, np.array([-4.0, -2.0, -3.0, -5.0]))
    assert shares is not None
    np.testing.assert_allclose(shares, [0, 1, 0.5, -0.5])
    assert share_of_optimum(games.make("matching-pennies"), np.array(0.0)) is None


@given(st.floats(-1e12, 1e12))
def test_numbers_are_short_and_near(value: float) -> None:
    text = number(value)
    assert len(text) <= 8
    assert abs(float(text) - value) <= max(5.1e-4, 0.051 * abs(value))
    assert not (float(text) == 0 and text.startswith("-"))


def test_it_fits_80_columns_and_nothing_is_cut() -> None:
    worst = made_up(welfare=[-999.99, -999.98, -999.97], cooperation=[1.0] * 3, given_away=[1.0] * 3)
    text = printed([worst, made_up("escape-room", "prosocial"), made_up(method="selfish")])
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for word in ("method", *COLUMNS, "prosocial", *cells(worst).values(), *CAPTION.splitlines()):
        assert word in text
    assert text.index("chicken-100") < text.index("selfish") < text.index("escape-room")


@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_terminal_folds_but_cuts_nothing(width: int) -> None:
    text = printed([made_up()], width)
    assert "…" not in text
    assert all(part in text for part in ("chicken-100", "50.0", "12345"))
