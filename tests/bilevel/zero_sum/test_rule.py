"""Laws of all learning rules, the recorded iterates, batches, derivatives, and bad input."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bilevel.zero_sum import RULES, FictitiousPlay, MultiplicativeWeights, Rule, learn, log_spaced, make_rule
from games import make, nash_conv
from games.theory import payoff_table
from tests.bilevel.zero_sum.games_of_theory import PERTURBED, random_matrix, random_start, tensors

BATCHED = sorted(set(RULES) - {"psro"})


@pytest.mark.parametrize("name", RULES)
@given(rows=st.integers(1, 4), columns=st.integers(1, 4), seed=st.integers(0, 999))
@settings(max_examples=10, deadline=None)
def test_iterates_stay_on_the_simplex(name: str, rows: int, columns: int, seed: int) -> None:
    payoffs = random_matrix(rows, columns, seed)
    start = random_start(rows, columns, seed=seed)
    steps = 4 if name == "psro" else 30
    history = learn(payoffs, RULES[name](), steps, start=start, record=range(steps + 1))
    for iterates in (history.last, history.average):
        assert (nash_conv(payoffs, iterates) >= -1e-12).all()
        for strategies in iterates:
            assert (strategies >= 0).all()
            ones = torch.ones(steps + 1, dtype=torch.float64)
            torch.testing.assert_close(strategies.sum(-1), ones, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", BATCHED)
def test_a_batch_of_starts_equals_its_members(name: str) -> None:
    rule, start = RULES[name](), random_start(3, 3, seed=0, batch=(2, 4))
    whole = learn(PERTURBED, rule, 20, start=start, record=(5, 20))
    for index in ((0, 0), (1, 3)):
        alone = learn(PERTURBED, rule, 20, start=[one[index] for one in start], record=(5, 20))
        for found, expected in zip(whole.last + whole.average, alone.last + alone.average, strict=True):
            torch.testing.assert_close(found[:, *index], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", BATCHED)
def test_a_table_of_both_agents_payoffs_equals_the_matrix(name: str) -> None:
    start = random_start(2, 3, seed=1)
    matrix = random_matrix(2, 3, seed=1)
    table = torch.stack((matrix, -matrix), -1)
    one, other = (learn(payoffs, RULES[name](), 25, start=start) for payoffs in (matrix, table))
    torch.testing.assert_close(one.last, other.last, atol=1e-12, rtol=0)
    torch.testing.assert_close(nash_conv(matrix, one.last), nash_conv(table, other.last))


def test_payoffs_may_be_a_batch_under_vmap() -> None:
    rule, start = MultiplicativeWeights(), random_start(3, 2, seed=3)
    games = torch.stack([random_matrix(3, 2, seed) for seed in range(4)])

    def after(payoffs: torch.Tensor) -> torch.Tensor:
        state = rule.init(games[0], start)
        for _ in range(3):
            state = rule.step(state, payoffs)
        return state.strategies[0]

    expected = torch.stack([learn(payoffs, rule, 3, start=start).state.strategies[0] for payoffs in games])
    torch.testing.assert_close(torch.vmap(after)(games), expected)


@pytest.mark.parametrize(
    "text",
    ["multiplicative-weights", "optimistic-multiplicative-weights", "magnetic-mirror-descent", "r-nad"],
)
def test_steps_are_differentiable_in_the_payoffs(text: str) -> None:
    rule, start = make_rule(text), random_start(3, 3, seed=4)
    payoffs = PERTURBED.clone().requires_grad_()

    def last(payoffs: torch.Tensor) -> torch.Tensor:
        return torch.cat(learn(payoffs, rule, 5, start=start).state.strategies)

    assert torch.autograd.gradcheck(last, (payoffs,))


@pytest.mark.parametrize("name", BATCHED)
def test_a_step_changes_nothing_in_place(name: str) -> None:
    rule = RULES[name]()
    state = rule.step(rule.init(PERTURBED, random_start(3, 3, seed=5)), PERTURBED)
    before = [one.clone() for one in (*state.strategies, *state.totals)]
    first, second = rule.step(state, PERTURBED), rule.step(state, PERTURBED)
    torch.testing.assert_close(before, [*state.strategies, *state.totals], atol=0, rtol=0)
    torch.testing.assert_close(first.strategies, second.strategies, atol=0, rtol=0)


def test_the_average_is_of_the_strategies_before_each_step() -> None:
    start = random_start(3, 3, seed=6)
    history = learn(PERTURBED, MultiplicativeWeights(), 4, start=start, record=range(5))
    torch.testing.assert_close(history.average[0][4], history.last[0][:4].mean(0))
    torch.testing.assert_close(history.average[0][0], start[0])  # nothing was played yet


def test_games_of_the_catalogue() -> None:
    payoffs = torch.from_numpy(payoff_table(make("rock-paper-scissors")).copy())
    for name in RULES:
        assert nash_conv(payoffs, learn(payoffs, RULES[name](), 3).last).shape == (3,)


def test_recorded_steps() -> None:
    assert log_spaced(1) == (1,)
    assert {1, 10, 100, 1000} <= set(log_spaced(1234))
    assert log_spaced(1234)[-1] == 1234
    history = learn(PERTURBED, FictitiousPlay(), 7, record=[7, 0, 3, 3])
    assert history.steps == (0, 3, 7)
    assert history.state.steps == 7


@pytest.mark.parametrize(
    ("payoffs", "start", "message"),
    [
        (torch.zeros(3), None, "their shape is 3"),
        (torch.zeros(2, 2, 3), None, "their shape is 2 x 2 x 3"),
        (torch.zeros(0, 2), None, "their shape is 0 x 2"),
        (torch.tensor([[1.0, math.inf]]), None, "must be a finite floating number"),
        (torch.ones(2, 2, dtype=torch.int64), None, "must be a finite floating number"),
        (PERTURBED, tensors([0.5, 0.5], [0.2, 0.3, 0.5]), "have 3, 3 actions; the strategies are over 2, 3"),
        (PERTURBED, tensors([0.2, 0.3, 0.5]), "have 3, 3 actions; the strategies are over 3"),
        (PERTURBED, tensors([0.2, 0.3, 0.6], [0.2, 0.3, 0.5]), "0 or more each, with the sum 1"),
        (PERTURBED, tensors([-0.2, 0.7, 0.5], [0.2, 0.3, 0.5]), "0 or more each, with the sum 1"),
        (PERTURBED, tensors([math.nan, 0.7, 0.5], [0.2, 0.3, 0.5]), "0 or more each, with the sum 1"),
    ],
)
def test_bad_input(payoffs: torch.Tensor, start: tuple[torch.Tensor, ...] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learn(payoffs, MultiplicativeWeights(), 1, start=start)


def test_strategies_that_are_not_finite_are_reported() -> None:
    rule = make_rule("r-nad(temperature=1e-300, learning_rate=1e299)")
    with pytest.raises(FloatingPointError, match="not finite after 1 step: a smaller learning rate may help"):
        learn(1e20 * PERTURBED, rule, 5, start=random_start(3, 3, seed=0))


def test_bad_steps() -> None:
    with pytest.raises(ValueError, match="must be 1 or more, not 0"):
        learn(PERTURBED, FictitiousPlay(), 0)
    with pytest.raises(ValueError, match=r"are from 0 to 5, not \[6\]"):
        learn(PERTURBED, FictitiousPlay(), 5, record=[6])


def test_rules_by_name() -> None:
    assert make_rule("multiplicative-weights(learning_rate=0.5)") == MultiplicativeWeights(0.5)
    for text, message in (
        ("hedge", "There is no learning rule 'hedge'"),
        ("multiplicative-weights(rate=1)", "no setting of multiplicative-weights 'rate'"),
        ("multiplicative-weights(learning_rate=fast)", "must be of the type float, but it is 'fast'"),
        ("multiplicative-weights(learning_rate=-1)", "must be above 0 and finite, not -1"),
        ("psro(oracle=exact)", "must be of the type .*, but it is 'exact'"),
        ("two words", "is not a learning rule: write its name"),
    ):
        with pytest.raises(ValueError, match=message):
            make_rule(text)


def test_all_registered_rules_are_rules() -> None:
    assert all(isinstance(RULES[name](), Rule) for name in RULES)
