"""Minimal transfers: published and derived answers, laws, and dominance checked in the shared game."""

import numpy as np
import pytest

from games import make
from games.matrix import (
    Cyclical,
    NormalForm,
    PublicGoods,
    SymmetricalChicken,
    SymmetricalPrisonersDilemma,
    SymmetricalStagHunt,
    SymmetricTwoAgentGame,
)
from games.matrix._families import Family
from games.theory import FeasibleTransfer, InfeasibleTransfer, minimal_transfer, welfare_optima
from games.wrappers import shared
from tests.games.theory.transfer_checks import largest_gain

CLOSED_FORMS = {  # arXiv 2310.12928; derived, for c = 3 and d = 1
    SymmetricalPrisonersDilemma: lambda n: 3 / (3 + (n - 1)),
    SymmetricalChicken: lambda n: 2 / (2 + (n - 1)),
    SymmetricalStagHunt: lambda n: 2 / (2 + (n - 1)),
}


@pytest.mark.parametrize("agents", [2, 3, 4, 5])
@pytest.mark.parametrize("family", CLOSED_FORMS)
def test_symmetrical_families_have_their_closed_forms(family: type[Family], agents: int) -> None:
    found = minimal_transfer(family(agents=agents))
    assert found.s == pytest.approx(CLOSED_FORMS[family](agents), abs=1e-12)
    assert found.g == pytest.approx(CLOSED_FORMS[family](agents), abs=1e-12)


@pytest.mark.parametrize("agents", [2, 3, 5, 12])
@pytest.mark.parametrize(("c", "d"), [(3, 1), (5, 2)])
def test_the_symmetrical_prisoners_dilemma_with_other_numbers(agents: int, c: float, d: float) -> None:
    found = minimal_transfer(SymmetricalPrisonersDilemma(agents=agents, c=c, d=d))
    assert found.s == pytest.approx(c / (c + (agents - 1) * d), abs=1e-12)
    assert found.g == pytest.approx(c / (c + (agents - 1) * d), abs=1e-12)


@pytest.mark.parametrize("agents", [2, 3, 4, 5])
@pytest.mark.parametrize("k", [1.25, 1.5])
def test_public_goods(agents: int, k: float) -> None:
    found = minimal_transfer(PublicGoods(agents=agents, k=k))
    assert found.s == pytest.approx(k / agents, abs=1e-12)
    assert found.g == pytest.approx(k / agents, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("prisoners-dilemma", 2 / 3),
        ("prisoners-dilemma-axelrod", 3 / 5),
        ("prisoners-dilemma-lase", 4 / 5),
        ("asymmetric-prisoners-dilemma", 3 / 5),
    ],
)
@pytest.mark.parametrize("least", [0.0, 0.5])
def test_two_agent_games(name: str, share: float, least: float) -> None:
    found = minimal_transfer(make(name), min_share=least)
    assert found.s == pytest.approx(share, abs=1e-12)
    assert found.g == pytest.approx(share, abs=1e-12)


def test_no_transfers_heal_the_textbooks_roads() -> None:
    braess, pigou = minimal_transfer(make("braess")), minimal_transfer(make("pigou"))
    assert braess.s is braess.g is pigou.s is None
    assert pigou.g == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("payoffs", [(4, 0, 2, 2), (2, -2, 1, 1)])
def test_stag_hunts_with_equal_punishment_and_temptation(payoffs: tuple[float, ...]) -> None:
    names = ("reward", "sucker", "temptation", "punishment")
    game = SymmetricTwoAgentGame(**dict(zip(names, payoffs, strict=True)))
    swap = minimal_transfer(game)
    assert swap.s == pytest.approx(0, abs=1e-12)
    assert swap.g == pytest.approx(0, abs=1e-12)
    assert isinstance(swap.general, FeasibleTransfer)
    np.testing.assert_allclose(swap.general.matrix, [[0, 1], [1, 0]], atol=1e-12)
    kept = minimal_transfer(game, min_share=0.5)
    assert kept.s is kept.g is None
    # whoever hunts alone loses P - S, of which it feels a half, and its partner loses nothing by it
    loss = (payoffs[3] - payoffs[1]) / 2
    for answer in (kept.symmetric, kept.general):
        assert isinstance(answer, InfeasibleTransfer)
        assert answer.gain == pytest.approx(loss, abs=1e-12)
        assert all(profile[agent] == 0 and 1 in profile for (agent, _, profile), _ in answer.weights)


def test_a_third_action_must_be_worse_too() -> None:
    # by hand: to leave 0 for 1 costs the other 2 and pays 1; for 2 it costs the other 1 and pays 1
    own = np.array([[3.0, 1, 2], [4, 2, 3], [4, 2, 3]])
    table = np.stack((own, own.T), -1)
    found = minimal_transfer(NormalForm(table=table.tolist()))
    assert found.optimum.profile == (0, 0)
    assert found.s == pytest.approx(1 / 2, abs=1e-12)  # s - (1 - s) <= 0; of the first, s <= 2/3
    assert isinstance(found.symmetric, FeasibleTransfer)
    assert {action for _, action, _ in found.symmetric.binding} == {2}


def test_a_ring_that_gives_along_its_graph() -> None:
    """By hand: whoever defects gains 1 and costs 3 to the one before it, which feels the whole of it.

    On a ring of four, one share for all gives half of the rest to either side, of which that agent is one;
    s - 3 (1 - s) / 2 <= 0, so s = 3/5. With any shares all the rest goes to the right side, and s = 3/4.
    Among everybody a third of the rest goes there: s - 3 (1 - s) / 3 <= 0, so s = 1/2.
    """
    game = Cyclical(agents=4)
    along, among = minimal_transfer(game, along_graph=True), minimal_transfer(game)
    assert along.s == pytest.approx(3 / 5, abs=1e-12)
    assert among.s == pytest.approx(1 / 2, abs=1e-12)
    for found in (along, among):
        assert found.g == pytest.approx(3 / 4, abs=1e-12)
    for answer in (along.symmetric, along.general):
        assert isinstance(answer, FeasibleTransfer)
        assert (answer.matrix[~game.neighbors.numpy()] == 0).all()
        assert largest_gain(game, (0,) * 4, answer.matrix) < 1e-12


def test_a_zero_sum_game_is_settled_by_halves() -> None:
    # derived: sharing makes it (T_11 - T_21) times the old game, which must be 0
    for name in ("matching-pennies", "rock-paper-scissors"):
        found = minimal_transfer(make(name))
        assert found.s == pytest.approx(1 / 2, abs=1e-12)
        assert found.g == pytest.approx(1 / 2, abs=1e-12)
        assert len(found.optima) == int(make(name).action_space.n) ** 2


def test_what_is_dominant_already_needs_no_transfer() -> None:
    found = minimal_transfer(PublicGoods(agents=3, k=4))
    assert found.s == found.g == 1
    assert isinstance(found.general, FeasibleTransfer)
    np.testing.assert_array_equal(found.general.matrix, np.eye(3))
    flat = minimal_transfer(NormalForm(table=np.ones((2, 2, 2)).tolist()))
    assert flat.s == flat.g == 1


def test_the_size_and_the_zero_of_payoffs_do_not_matter() -> None:
    for factor in (1e-12, 1e-3, 1e6):
        game = SymmetricTwoAgentGame(reward=-factor, sucker=-3 * factor, temptation=0, punishment=-2 * factor)
        assert minimal_transfer(game).s == pytest.approx(2 / 3, abs=1e-9)
        coordination = np.zeros((2, 2, 2))
        coordination[0, 0] = coordination[1, 1] = factor
        answer = minimal_transfer(NormalForm(table=(coordination + 5 * factor).tolist())).general
        assert isinstance(answer, InfeasibleTransfer)
        assert answer.gain == pytest.approx(factor, rel=1e-9)
    moved = SymmetricTwoAgentGame(reward=99, sucker=97, temptation=100, punishment=98)
    assert minimal_transfer(moved).s == pytest.approx(2 / 3, abs=1e-12)


def test_several_optima_are_told_and_can_be_chosen() -> None:
    chicken = make("chicken")
    found = minimal_transfer(chicken)
    assert [outcome.profile for outcome in found.optima] == [(0, 0), (0, 1), (1, 0)]
    assert found.optima == welfare_optima(chicken)
    assert found.optimum == found.optima[0]
    assert found.s == pytest.approx(1 / 2, abs=1e-12)
    other = minimal_transfer(chicken, optimum=[0, 1])
    assert other.optimum.profile == (0, 1)
    assert other.s is None  # agent 1 should go straight even where both crash


def test_a_game_that_is_shared_already() -> None:
    """It has no table: its profiles are laid out from its exact values."""
    game = shared(make("prisoners-dilemma"), [[0.5, 0.5], [0.5, 0.5]])
    assert minimal_transfer(game).s == 1
    half_way = shared(make("prisoners-dilemma"), [[5 / 6, 1 / 6], [1 / 6, 5 / 6]])
    # s of what is left and (1 - s) of the other's, where one agent's own share is 2/3: s 5/6 + (1 - s) / 6
    assert minimal_transfer(half_way).s == pytest.approx(3 / 4, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("chicken", {"optimum": (1, 1)}, r"must be one of 0 0; 0 1; 1 0 \(an action.* it is 1 1"),
        ("chicken", {"optimum": ()}, "it is empty"),
        ("matching-pennies", {"min_share": 1.5}, "least share must be from 0 to 1; it is 1.5"),
        (
            "repeated-chicken",
            {},
            "Only one-shot games have a payoff table; RepeatedGame has 150 steps and 5 observations",
        ),
        ("escape-room", {}, "needs exact values, and EscapeRoom has none: its episodes are sampled"),
    ],
)
def test_bad_input_is_refused(name: str, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        minimal_transfer(make(name), **arguments)


def test_too_many_profiles_are_refused() -> None:
    with pytest.raises(ValueError, match="up to 100000; 10 agents with 3 actions have 393660"):
        minimal_transfer(make("braess", agents=10))
