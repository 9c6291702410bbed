"""Matrices of transfers as mixtures, and answers of the solver that are not passed on."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from games import make
from games.matrix import Tycoon
from games.theory import minimal_transfer, payoff_table
from games.theory._minimal_transfer import any_shares, gains_under, one_share
from games.theory._profiles import deviations

NEIGHBORS = Tycoon(agents=4).neighbors.numpy()


def test_one_share_along_a_star() -> None:
    # the tycoon divides what it does not keep by three, everybody else hands it to the tycoon
    matrix = one_share(NEIGHBORS).matrix(np.array([0.4, 0.6]))
    expected = [[0.4, 0.2, 0.2, 0.2], [0.6, 0.4, 0, 0], [0.6, 0, 0.4, 0], [0.6, 0, 0, 0.4]]
    np.testing.assert_allclose(matrix, expected, atol=1e-15)


def test_any_shares_along_a_star() -> None:
    allowed = any_shares(NEIGHBORS)
    assert len(allowed.parts) == NEIGHBORS.sum() == 10
    np.testing.assert_array_equal(allowed.parts.sum(0), NEIGHBORS)
    assert allowed.keeps.sum() == 4
    np.testing.assert_array_equal(allowed.kept().sum(1), 1)


def test_weights_are_cleaned_of_rounding() -> None:
    matrix = any_shares(np.ones((2, 2), dtype=bool)).matrix(np.array([1 + 1e-9, -1e-12, 0.5, 0.5 + 1e-9]))
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-15)
    assert matrix.min() == 0


@given(
    costs=st.lists(st.floats(-10, 10), min_size=16, max_size=16),
    weights=st.lists(st.floats(0.01, 1), min_size=10, max_size=10),
    least=st.floats(0, 1),
)
@settings(max_examples=60)
def test_the_lowest_total_is_below_that_of_every_matrix(
    costs: list[float], weights: list[float], least: float
) -> None:
    table = np.reshape(costs, (4, 4))
    for allowed, mixture in (
        (one_share(NEIGHBORS), weights[:2]),
        (any_shares(NEIGHBORS), weights),
    ):
        matrix = least * np.eye(4) + (1 - least) * allowed.matrix(np.array(mixture))
        assert allowed.lowest(table, least) <= (table * matrix).sum() + 1e-9


def test_who_has_nobody_to_share_with_is_told() -> None:
    lonely = np.ones((3, 3), dtype=bool)
    lonely[2] = lonely[:, 2] = False
    with pytest.raises(ValueError, match="Agent 2 has no neighbor to share with"):
        one_share(lonely)
    assert any_shares(lonely).parts[:, 2].sum() == 1  # it keeps everything


def test_gains_are_those_of_the_receiver() -> None:
    # by hand: whoever turns from C to D gains 1, and costs the other 2
    found = deviations(payoff_table(make("prisoners-dilemma")), (0, 0))
    np.testing.assert_allclose(gains_under(found, np.eye(2)), [1, 1, 1, 1])
    matrix = np.array([[0.5, 0.5], [0.25, 0.75]])
    np.testing.assert_allclose(gains_under(found, matrix), [0.5 - 2 * 0.25] * 2 + [0.75 - 2 * 0.5] * 2)


DUALS = SimpleNamespace(marginals=np.array([0, -0.5, -0.5]))


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([SimpleNamespace(status=4, message="numerical trouble")], "not solved: numerical trouble"),
        (
            [SimpleNamespace(status=0, x=np.array([1.0, 0, 1]), ineqlin=DUALS)],
            "left a gap of 0 and a gain of 1",
        ),
        (
            [SimpleNamespace(status=0, x=np.array([0.5, 0.5, 0.5]), ineqlin=DUALS)],
            "left a gap of 0.5 and a gain of -0.5",
        ),
        ([SimpleNamespace(status=2), SimpleNamespace(status=2)], "both found infeasible"),
        (
            [SimpleNamespace(status=2), SimpleNamespace(status=0, x=np.array([1.0, 0]))],
            "multiplies out to -2, not above 0",
        ),
    ],
)
def test_a_wrong_answer_is_not_passed_on(
    answers: list[SimpleNamespace], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_out = iter(answers)
    monkeypatch.setattr(scipy.optimize, "linprog", lambda *_: next(given_out))
    with pytest.raises(ArithmeticError, match=message):
        minimal_transfer(make("prisoners-dilemma"))
