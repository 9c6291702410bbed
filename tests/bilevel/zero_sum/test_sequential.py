"""CFR, CFR+ and magnetic mirror descent on Kuhn poker."""

from __future__ import annotations

import numpy as np
import pytest

pyspiel = pytest.importorskip("pyspiel")

from bilevel.zero_sum import (  # noqa: E402
    CounterfactualRegretMinimization,
    CounterfactualRegretMinimizationPlus,
    MagneticMirrorDescent,
    SequentialRule,
    learn_sequential,
    make_sequential_rule,
)
from bilevel.zero_sum._game_tree import GameTree  # noqa: E402

MARKS = (10, 100, 1000)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (CounterfactualRegretMinimization(), [0.137398, 0.016452, 0.001875]),
        (CounterfactualRegretMinimizationPlus(), [0.065374, 0.002389, 0.000175]),
    ],
)
def test_nash_conv_on_kuhn_poker(rule: SequentialRule, expected: list[float]) -> None:
    history = learn_sequential("kuhn_poker", rule, 1000, record=MARKS)
    assert history.steps == MARKS
    assert history.average.tolist() == pytest.approx(expected, abs=5e-7)
    assert history.values[-1].item() == pytest.approx(-1 / 18, abs=1e-4)


def test_the_equilibrium_family_of_kuhn_poker() -> None:
    policy = learn_sequential("kuhn_poker", CounterfactualRegretMinimizationPlus(), 10_000).policy
    assert len(policy) == 12
    bluff = policy["0"][1]  # bet with the jack
    assert 0 <= bluff <= 1 / 3 + 1e-3
    assert policy["2"][1] == pytest.approx(3 * bluff, abs=0.01)  # bet with the king
    assert policy["1pb"][1] == pytest.approx(bluff + 1 / 3, abs=0.01)  # call with the queen
    assert policy["1b"][1] == pytest.approx(1 / 3, abs=0.01)  # the second agent calls with the queen
    assert policy["0p"][1] == pytest.approx(1 / 3, abs=0.01)  # and bluffs with the jack


def test_uniform_play_on_kuhn_poker() -> None:
    game = pyspiel.load_game("kuhn_poker")
    assert pyspiel.nash_conv(game, pyspiel.UniformRandomPolicy(game)) == pytest.approx(0.916667, abs=5e-7)


def test_a_simultaneous_game_is_taken_in_turn() -> None:
    game = "goofspiel(num_cards=3,points_order=descending,returns_type=win_loss)"
    history = learn_sequential(game, CounterfactualRegretMinimizationPlus(), 100)
    assert history.average[-1].item() < 0.02
    assert history.values[-1].item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("game", "message"),
    [
        ("kuhn_pokr", "There is no OpenSpiel game 'kuhn_pokr'; did you mean 'kuhn_poker'"),
        ("kuhn_poker(players=3)", "kuhn_poker is zero-sum and has 3 agents"),
        (
            "matrix_pd",
            "games of two agents can be solved; matrix_pd is general-sum and has 2 agents",
        ),
        ("breakthrough", "breakthrough has no tree with information states"),
        ("kuhn_poker(foo=1)", "OpenSpiel refuses the game kuhn_poker.foo=1.: Unknown parameter 'foo'"),
    ],
)
def test_bad_games(game: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learn_sequential(game, CounterfactualRegretMinimization(), 10)


def test_a_policy_that_is_not_finite_is_reported() -> None:
    with pytest.raises(FloatingPointError, match="not finite after 1 step: a smaller learning rate may help"):
        learn_sequential("kuhn_poker", MagneticMirrorDescent(temperature=1e10, learning_rate=1e300), 5)


def test_games_too_large_to_walk_through_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bilevel.zero_sum._sequential.MAX_HISTORIES", 57)
    with pytest.raises(ValueError, match="kuhn_poker has more than 57 histories"):  # it has 58
        learn_sequential("kuhn_poker", CounterfactualRegretMinimization(), 10)
    monkeypatch.setattr("bilevel.zero_sum._sequential.MAX_HISTORIES", 58)
    assert learn_sequential("kuhn_poker", CounterfactualRegretMinimization(), 10).steps[-1] == 10


def test_bad_steps() -> None:
    rule = make_sequential_rule("cfr")
    with pytest.raises(ValueError, match="must be 1 or more, not 0"):
        learn_sequential("kuhn_poker", rule, 0)
    with pytest.raises(ValueError, match=r"are from 1 to 5, not \[0\]"):
        learn_sequential("kuhn_poker", rule, 5, record=[0])
    with pytest.raises(ValueError, match="There is no learning rule of sequential games 'psro'"):
        make_sequential_rule("psro")


AGENT_QUANTAL = {
    0.2: {
        "0": 0.192214, "0pb": 0.006693, "1": 0.243522, "1pb": 0.568840, "2": 0.560443, "2pb": 1.0,
        "1p": 0.149275, "1b": 0.526879, "2p": 0.801029, "2b": 1.0, "0p": 0.287113, "0b": 0.006693,
    },
    0.5: {
        "0": 0.284290, "0pb": 0.119203, "1": 0.396992, "1pb": 0.638226, "2": 0.536128, "2pb": 0.997527,
        "1p": 0.346148, "1b": 0.683985, "2p": 0.671080, "2b": 0.997527, "0p": 0.317196, "0b": 0.119203,
    },
}  # fmt: skip
"""Temperature -> information state of Kuhn poker -> probability of betting in the agent quantal response
equilibrium that is stored with the authors' code."""


@pytest.mark.parametrize("temperature", AGENT_QUANTAL)
def test_agent_quantal_response_equilibria(temperature: float) -> None:
    rule = MagneticMirrorDescent(temperature=temperature, learning_rate=temperature / 2)
    solver = rule.solver(pyspiel.load_game("kuhn_poker"))
    for _ in range(int(60 / temperature**2)):
        solver.evaluate_and_update_policy()
    for state, bet in AGENT_QUANTAL[temperature].items():
        assert dict(solver.current_policy().get_state_policy(state))[1] == pytest.approx(bet, abs=1e-6)


def test_a_moving_magnet_and_annealing_lead_to_the_nash_equilibrium() -> None:
    # the settings of the authors' experiments on Kuhn poker
    moving = MagneticMirrorDescent(temperature=1.0, learning_rate=0.1, magnet_rate=0.05)
    history = learn_sequential("kuhn_poker", moving, 5000, record=(100, 1000, 5000))
    assert history.last.tolist() == pytest.approx([0.188, 0.00733, 0], abs=5e-4)
    assert history.last[-1].item() < 1e-7
    annealed = MagneticMirrorDescent(temperature=1.0, learning_rate=1.0, anneal=True)
    history = learn_sequential("kuhn_poker", annealed, 2000, record=(20, 200, 2000))
    assert (history.last[1:] < 0.35 * history.last[:-1]).all()
    assert history.average[-1].item() < 0.02


def test_the_tree_agrees_with_openspiel() -> None:
    for name in ("kuhn_poker", "leduc_poker"):
        game = pyspiel.load_game(name)
        tree = GameTree(game)
        generator = np.random.default_rng(0)
        policy = tree.normalized(generator.uniform(0.1, 1.0, len(tree.agents)))
        _, value = tree.evaluate(policy)
        expected = pyspiel.expected_returns(game.new_initial_state(), tree.tabular(policy), -1, True)
        assert value == pytest.approx(expected[0], abs=1e-12)
        np.testing.assert_allclose(tree.normalized(policy), policy)
        assert len(tree.states) == {"kuhn_poker": 12, "leduc_poker": 936}[name]


def test_action_values_of_the_tree_by_hand() -> None:
    tree = GameTree(pyspiel.load_game("kuhn_poker"))
    values, value = tree.evaluate(tree.uniform())
    assert value == pytest.approx(1 / 8)  # of OpenSpiel's uniform policy, too
    first = tree.states["0b"]  # the second agent has the jack, and the first one bet: fold -1, call -2
    assert values[first : first + 2].tolist() == pytest.approx([-1, -2])
    first = tree.states["1b"]  # the queen, against jack or king
    assert values[first : first + 2].tolist() == pytest.approx([-1, 0])
    reach = tree.own_reach(tree.uniform())
    first = tree.states["1pb"]
    assert reach[first : first + 2].tolist() == [0.5, 0.5]
    assert reach[tree.states["1b"]] == 1


def test_states_that_are_not_reached_have_no_values() -> None:
    tree = GameTree(pyspiel.load_game("kuhn_poker"))
    policy = tree.uniform()
    for state in ("0", "1", "2"):
        policy[tree.states[state] : tree.states[state] + 2] = 1, 0  # the first agent never bets
    values, _ = tree.evaluate(policy)
    assert values[tree.states["1b"] : tree.states["1b"] + 2].tolist() == [0, 0]
    assert np.isfinite(values).all()
