import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from games.matrix import random_general_sum, random_zero_sum


@given(actions=st.integers(2, 6), seed=st.integers(0, 2**40))
@settings(max_examples=20)
def test_zero_sum_games_sum_to_zero_and_depend_on_the_seed_alone(actions: int, seed: int) -> None:
    game = random_zero_sum(actions, seed)
    assert game.payoffs().sum(-1).eq(0).all()
    assert game.num_agents == 2
    assert game.action_space.n == actions
    assert game == random_zero_sum(actions, seed)
    assert game != random_zero_sum(actions, seed + 1)


@pytest.mark.parametrize(("agents", "actions"), [(2, 120), (3, 25), (4, 11)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_payoffs_are_standard_normal_with_the_correlation_asked_for(
    agents: int, actions: int, share: float
) -> None:
    least = -1 / (agents - 1)
    correlation = least + share * (1 - least)
    payoffs = random_general_sum(actions, 7, agents=agents, correlation=correlation).payoffs()
    payoffs = payoffs.flatten(0, -2)
    expected = torch.full((agents, agents), correlation, dtype=torch.float64).fill_diagonal_(1)
    margin = 5 / len(payoffs) ** 0.5
    assert payoffs.mean(0).abs().max() < margin
    torch.testing.assert_close(payoffs.T.cov(), expected, atol=2 * margin, rtol=0)


@given(agents=st.integers(2, 5), seed=st.integers(0, 999))
@settings(max_examples=20)
def test_the_ends_of_the_correlation(agents: int, seed: int) -> None:
    opposed = random_general_sum(2, seed, agents=agents, correlation=-1 / (agents - 1)).payoffs()
    assert opposed.sum(-1).abs().max() < 1e-13
    assert opposed.abs().max() > 0.1
    aligned = random_general_sum(2, seed, agents=agents, correlation=1).payoffs()
    assert aligned.eq(aligned[..., :1]).all()
    assert aligned[..., 0].std() > 0


def test_games_differ_by_seed() -> None:
    assert random_general_sum(2, 1, agents=3) == random_general_sum(2, 1, agents=3)
    assert random_general_sum(2, 1, agents=3) != random_general_sum(2, 2, agents=3)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"actions": 1}, "at least 2 actions; there are 1"),
        ({"actions": 2, "agents": 1}, "at least 2 agents; there are 1"),
        ({"actions": 2, "agents": 20}, "at most 1000000 payoffs; 20 agents with 2 actions have 20971520"),
        (
            {"actions": 2, "agents": 3, "correlation": -0.6},
            "Payoffs of 3 agents can correlate from -0.5",
        ),
        ({"actions": 2, "correlation": 1.5}, r"from -1 to 1; the correlation is 1.5"),
        ({"actions": 2, "correlation": float("nan")}, "the correlation is nan"),
    ],
)
def test_bad_settings_are_refused(settings_: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        random_general_sum(seed=0, **settings_)


def test_too_many_actions_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 1000000 payoffs"):
        random_zero_sum(actions=1000, seed=0)
