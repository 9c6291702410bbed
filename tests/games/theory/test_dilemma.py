import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from games import make
from games.matrix import (
    ContributionGame,
    MatrixGame,
    NormalForm,
    PublicGoods,
    SymmetricalChicken,
    SymmetricalPrisonersDilemma,
    SymmetricalStagHunt,
    SymmetricTwoAgentGame,
    Tycoon,
)
from games.theory import dilemma_test, schelling

whole = st.integers(-5, 5)


def matrix_game(name: str) -> MatrixGame:
    game = make(name)
    assert isinstance(game, MatrixGame)
    return game


@given(R=whole, S=whole, T=whole, P=whole)
def test_two_agents_follow_the_textbook_conditions(R: int, S: int, T: int, P: int) -> None:
    game = SymmetricTwoAgentGame(reward=R, sucker=S, temptation=T, punishment=P)
    report = dilemma_test(game)
    assert [condition.margin for condition in report.required] == [R - P, R - S, 2 * R - T - S]
    assert [motive.margin for motive in report.motives] == [T - R, P - S]
    assert report.is_dilemma == (R > P and R > S and 2 * R > T + S and (T > R or P > S))
    assert report.is_dilemma == str(report).startswith("A social dilemma")
    totals = {(0, 0): 2 * R, (0, 1): T + S, (1, 0): T + S, (1, 1): 2 * P}
    assert report.optima == {profile for profile, total in totals.items() if total == max(totals.values())}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("prisoners-dilemma", "A social dilemma, by greed and fear."),
        ("stag-hunt", "A social dilemma, by fear."),
        (
            "chicken",
            "Not a social dilemma: 2R > T + S fails (cooperating beats taking turns: a tie).",
        ),
        ("asymmetric-prisoners-dilemma", "A social dilemma, by greed and fear."),
        ("public-goods", "A social dilemma, by greed and fear."),
        ("symmetrical-stag-hunt", "A social dilemma, by fear."),
        ("tycoon-prisoners-dilemma", "A social dilemma, by greed and fear."),
    ],
)
def test_what_the_report_says(name: str, sentence: str) -> None:
    assert str(dilemma_test(matrix_game(name))) == sentence


def test_chickens_optimum_is_a_set() -> None:
    report = dilemma_test(matrix_game("chicken"))
    assert report.optima == {(0, 0), (0, 1), (1, 0)}
    assert [condition.formula for condition in report.failed] == ["2R > T + S"]


def test_without_a_motive_both_are_named() -> None:
    report = dilemma_test(SymmetricTwoAgentGame(reward=5, sucker=2, temptation=3, punishment=1))
    assert [condition.name for condition in report.failed] == ["greed", "fear"]
    assert str(report) == (
        "Not a social dilemma: T > R fails (greed: margin -2); P > S fails (fear: margin -1)."
    )


@pytest.mark.parametrize("k", [0.5, 1.0, 1.5, 3.9, 4.0, 6.0])
@pytest.mark.parametrize("family", [PublicGoods, ContributionGame])
def test_public_goods_are_a_dilemma_for_k_between_one_and_n(family: type, k: float) -> None:
    assert dilemma_test(family(agents=4, k=k)).is_dilemma == (1 < k < 4)


@pytest.mark.parametrize("agents", [2, 3, 5])
def test_symmetrical_families_are_dilemmas_with_their_motives(agents: int) -> None:
    motives = {
        family: [motive.name for motive in dilemma_test(family(agents=agents)).motives if motive.holds]
        for family in (SymmetricalPrisonersDilemma, SymmetricalChicken, SymmetricalStagHunt)
    }
    assert motives == {
        SymmetricalPrisonersDilemma: ["greed", "fear"],
        SymmetricalChicken: ["greed"],
        SymmetricalStagHunt: ["fear"],
    }


def test_ties_by_rounding_are_ties() -> None:
    # 0.1 + 0.2 exceeds 0.3 by rounding alone.
    report = dilemma_test(SymmetricTwoAgentGame(reward=0.3, sucker=0, temptation=0.1 + 0.2, punishment=0.1))
    assert report.motives[0].margin == 0
    assert not report.motives[0].holds


@pytest.mark.parametrize("agents", [2, 3, 6])
def test_schelling_of_public_goods_has_a_closed_form(agents: int) -> None:
    data = schelling(PublicGoods(agents=agents, k=1.5))
    m, n = np.arange(agents), np.arange(agents + 1)
    for agent in range(agents):
        np.testing.assert_allclose(data.cooperator[agent], 1.5 * (m + 1) / agents, atol=1e-12)
        np.testing.assert_allclose(data.defector[agent], 1 + 1.5 * m / agents, atol=1e-12)
    np.testing.assert_allclose(data.average, 1 + 0.5 * n / agents, atol=1e-12)


def test_schelling_keeps_agents_apart_and_averages_over_who_cooperates() -> None:
    data = schelling(Tycoon(agents=3))  # (R, S, T, P) = (3, 0, 4, 1)
    assert data.cooperator[0].tolist() == [0, 3, 6]
    assert data.defector[0].tolist() == [2, 5, 8]
    # The others only meet the tycoon, who is the one cooperator of m = 1 in half of the cases.
    assert data.cooperator[1].tolist() == [0, 1.5, 3]
    assert data.defector[1].tolist() == [1, 2.5, 4]


@given(seed=st.integers(0, 999))
def test_schelling_average_agrees_with_the_lines(seed: int) -> None:
    table = np.random.default_rng(seed).normal(size=(2, 2, 2, 3))
    data = schelling(NormalForm(table=tuple(table.tolist()), cooperative=True))
    for n in range(4):
        cooperators = n * data.cooperator[:, n - 1].mean() if n else 0.0
        defectors = (3 - n) * data.defector[:, n].mean() if n < 3 else 0.0
        np.testing.assert_allclose(data.average[n], (cooperators + defectors) / 3, atol=1e-12)


def test_a_game_without_cooperation_is_refused() -> None:
    for test in (dilemma_test, schelling):
        with pytest.raises(ValueError, match=r"this game's actions \(heads, tails\) have no such reading"):
            test(matrix_game("matching-pennies"))


@pytest.mark.parametrize("name", ["repeated-chicken", "escape-room"])
def test_only_matrix_games_have_payoffs_to_test(name: str) -> None:
    for test in (dilemma_test, schelling):
        with pytest.raises(ValueError, match="one-shot matrix game's payoffs"):
            test(make(name))
