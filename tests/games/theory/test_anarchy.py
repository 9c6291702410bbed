"""Pure equilibria and their prices: the textbooks' numbers, brute force, and what has no price."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from games import make
from games.matrix import (
    Braess,
    CongestionGame,
    Cyclical,
    NormalForm,
    Pigou,
    PublicGoods,
    SymmetricalChicken,
    SymmetricalPrisonersDilemma,
    SymmetricTwoAgentGame,
    random_general_sum,
)
from games.matrix._congestion import equilibria, price_of_anarchy, social_optimum
from games.theory import nash_conv, payoff_table, price_of_selfishness, pure_equilibria, welfare_optima
from games.theory._profiles import deviations
from games.wrappers import shared


@pytest.mark.parametrize(
    ("game", "anarchy", "stability"),
    [
        (Braess(), 16 / 13, 16 / 13),
        (Braess(shortcut=False), 1, 1),
        (Pigou(agents=2), 4 / 3, 1),
        (Pigou(agents=3), 9 / 7, 1),
        (Pigou(agents=4), 4 / 3, 13 / 12),
        (make("prisoners-dilemma"), 2, 2),
        (make("prisoners-dilemma-axelrod"), 3, 3),
        (make("stag-hunt"), 3, 1),
        (make("assurance"), 2, 1),
        (make("asymmetric-prisoners-dilemma"), 3, 3),
        (make("battle-of-the-sexes"), 1, 1),
        (PublicGoods(agents=5, k=3), 3, 3),
        (SymmetricalPrisonersDilemma(agents=4, c=5, d=2), 5 / 2, 5 / 2),
        (Cyclical(agents=4), 3, 3),
    ],
    ids=str,
)
def test_prices_by_hand(game: CongestionGame, anarchy: float, stability: float) -> None:
    found = price_of_selfishness(game)
    assert found.price_of_anarchy.value == pytest.approx(anarchy, abs=1e-12)
    assert found.price_of_stability.value == pytest.approx(stability, abs=1e-12)


@pytest.mark.parametrize(
    "game", [Braess(agents=3), Braess(agents=6, slope=7), Pigou(agents=5), Pigou(agents=8)]
)
def test_the_table_and_the_loads_agree(game: CongestionGame) -> None:
    """Two programs for one number: all profiles here, all loads there."""
    found = price_of_selfishness(game)
    drivers, network = game.agents, game.network
    assert found.price_of_anarchy.value == pytest.approx(price_of_anarchy(network, drivers), abs=1e-12)
    assert found.optima[0].welfare == pytest.approx(-drivers * social_optimum(network, drivers).mean_cost)
    loads = {
        tuple(outcome.profile.count(route) for route in range(len(network.routes)))
        for outcome in found.equilibria
    }
    assert loads == {traffic.loads for traffic in equilibria(network, drivers)}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("stag-hunt-gifting", "runs from -1 to 4: a ratio would depend on where zero was put"),
        ("matching-pennies", "no pure equilibrium"),
        ("chicken", "best welfare is 0"),
        ("contribution", "welfare is 0 and the best is 2.4: no ratio is finite"),
    ],
)
def test_what_has_no_price_says_why(name: str, reason: str) -> None:
    found = price_of_selfishness(make(name))
    for price in (found.price_of_anarchy, found.price_of_stability):
        assert price.value is None
        assert reason in price.reason


def test_one_price_may_be_undefined_and_the_other_not() -> None:
    table = (((2, 2), (0, 0)), ((0, 0), (0, 0)))  # both stay where both get nothing: nobody gains alone
    found = price_of_selfishness(NormalForm(table=table))
    assert [outcome.profile for outcome in found.equilibria] == [(0, 0), (1, 1)]
    assert found.price_of_anarchy.value is None
    assert found.price_of_stability.value == 1


def test_reasons_name_the_totals() -> None:
    costs, payoffs = price_of_selfishness(Braess()), price_of_selfishness(make("stag-hunt"))
    assert costs.price_of_anarchy.reason == "Cost of the equilibrium over the minimum cost: 320 / 260."
    assert payoffs.price_of_anarchy.reason == "The best welfare over the equilibrium's: 6 / 2."


def test_the_equilibria_of_chicken_for_three() -> None:
    # each pair plays (R, S, T, P) = (3, 1, 4, 0), divided by the 2 others met
    found = {outcome.profile for outcome in pure_equilibria(SymmetricalChicken(agents=3))}
    by_hand = set()
    for profile in itertools.product((0, 1), repeat=3):
        swerve = [3 - sum(profile) - (action == 0) for action in profile]  # others who swerve
        straight_pays = [4 * others / 2 for others in swerve]
        swerving_pays = [(3 * others + (2 - others)) / 2 for others in swerve]
        pairs = zip(profile, straight_pays, swerving_pays, strict=True)
        if all(s >= w if action else w >= s for action, s, w in pairs):
            by_hand.add(profile)
    assert found == by_hand


@given(agents=st.integers(2, 3), actions=st.integers(2, 3), seed=st.integers(0, 999))
@settings(max_examples=40)
def test_nobody_gains_by_leaving_a_pure_equilibrium(agents: int, actions: int, seed: int) -> None:
    game = random_general_sum(actions, seed, agents=agents)
    profiles = torch.tensor(list(itertools.product(range(actions), repeat=agents)))
    policies = torch.nn.functional.one_hot(profiles, actions).double().unsqueeze(-2)
    stable = profiles[nash_conv(game, policies) < 1e-9].tolist()
    found = price_of_selfishness(game)
    assert [list(outcome.profile) for outcome in found.equilibria] == stable
    assert found.optima[0].welfare == pytest.approx(game.best_welfare, abs=1e-12)
    for outcome in (*found.equilibria, *found.optima):
        assert outcome.welfare == pytest.approx(game.payoffs()[outcome.profile].sum().item(), abs=1e-12)


@given(seed=st.integers(0, 999), moved=st.sampled_from((20.0, -20.0)))
@settings(max_examples=30)
def test_prices_are_one_or_more(seed: int, moved: float) -> None:
    """Anarchy costs at least as much as stability, with payoffs as with costs."""
    game = NormalForm(table=(random_general_sum(2, seed).payoffs() + moved).tolist())
    found = price_of_selfishness(game)
    if found.equilibria:
        assert found.price_of_anarchy.value is not None
        assert found.price_of_stability.value is not None
        assert found.price_of_anarchy.value >= found.price_of_stability.value >= 1


def test_rounding_is_no_gain() -> None:
    third = 1 / 3
    table = (((third, third), (0, 0.1 + 0.2)), ((third + 1e-16, 0.3), (0, 0)))
    assert (0, 0) in {outcome.profile for outcome in pure_equilibria(NormalForm(table=table))}
    tied = NormalForm(table=(((0.1, 0.2), (0.3, 0.0)), ((0, 0), (0, 0))))
    assert len(welfare_optima(tied)) == 2


def test_profiles_of_a_game_without_a_table() -> None:
    dilemma = make("prisoners-dilemma")
    half = shared(dilemma, [[0.5, 0.5], [0.5, 0.5]])
    laid_out = payoff_table(half)
    expected = dilemma.payoffs().mean(-1, keepdim=True).expand(2, 2, 2).numpy()
    assert laid_out == pytest.approx(expected, abs=1e-15)
    assert [outcome.profile for outcome in pure_equilibria(half)] == [(0, 0)]
    many = shared(PublicGoods(agents=7), torch.eye(7))  # more profiles than are asked for at once
    assert payoff_table(many) == pytest.approx(payoff_table(PublicGoods(agents=7)), abs=1e-12)


def test_deviations_go_through_every_profile_of_the_others() -> None:
    game = random_general_sum(3, 1, agents=3)
    table = payoff_table(game)
    found = deviations(table, (2, 0, 1))
    assert len(found.gains) == 3 * 2 * 9
    seen = {found.at(index) for index in range(len(found.gains))}
    assert len(seen) == len(found.gains)
    for index, (agent, action, profile) in enumerate(map(found.at, range(len(found.gains)))):
        assert profile[agent] == (2, 0, 1)[agent] != action
        left = (*profile[:agent], action, *profile[agent + 1 :])
        assert found.gains[index] == pytest.approx(table[left] - table[profile], abs=1e-12)


class Crowd(SymmetricTwoAgentGame):
    """Says that there are more agents than it could lay out."""

    num_agents = property(lambda self: 30)


def test_what_cannot_be_laid_out_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"has 2000000 entries at most; 30 agents with 2 actions have 30 x 2\^30"
    ):
        pure_equilibria(Crowd())
    with pytest.raises(ValueError, match="RepeatedGame has 150 steps and 5 observations"):
        price_of_selfishness(make("repeated-stag-hunt"))
    sampled = "A payoff table needs exact values, and CoinGame has none: its episodes are sampled"
    with pytest.raises(ValueError, match=sampled):
        welfare_optima(make("coin-game"))
