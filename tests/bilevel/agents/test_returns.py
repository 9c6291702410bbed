"""Returns and baselines against loops."""

import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bilevel.agents._surrogates import discounts, leave_one_out, returns_to_go

SEEDS = st.integers(0, 2**31)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def episodes_that_end(seed: int, *shape: int) -> torch.Tensor:
    """1 while an episode runs: once over, it stays over; [..., time, episode]."""
    return (draw(seed, *shape) < 0.7).double().cumprod(-2)


@given(seed=SEEDS, steps=st.integers(1, 9), discount=st.floats(0, 1))
@settings(max_examples=40)
def test_returns_to_go_are_a_loop_from_the_end(seed: int, steps: int, discount: float) -> None:
    rewards = draw(seed, 2, 3, steps, 4)
    expected, ahead = torch.empty_like(rewards), torch.zeros(2, 3, 4, dtype=torch.float64)
    for time in reversed(range(steps)):
        ahead = rewards[..., time, :] + discount * ahead
        expected[..., time, :] = ahead
    torch.testing.assert_close(returns_to_go(rewards, discount), expected, rtol=0, atol=1e-12)


@given(seed=SEEDS, discount=st.floats(0, 1))
@settings(max_examples=20)
def test_the_first_return_is_the_discounted_sum(seed: int, discount: float) -> None:
    rewards = draw(seed, 6, 4)
    total = (discounts(6, discount, rewards).unsqueeze(-1) * rewards).sum(-2)
    torch.testing.assert_close(returns_to_go(rewards, discount)[0], total, rtol=0, atol=1e-12)


def test_discounts_at_the_ends_of_the_range() -> None:
    like = torch.zeros(1, dtype=torch.float64)
    assert discounts(3, 0.0, like).tolist() == [1.0, 0.0, 0.0]
    assert discounts(3, 1.0, like).tolist() == [1.0, 1.0, 1.0]
    assert discounts(3, 0.9, like).dtype == torch.float64


@given(seed=SEEDS, episodes=st.integers(1, 6))
@settings(max_examples=40)
def test_leave_one_out_is_a_loop_over_the_others_alive(seed: int, episodes: int) -> None:
    returns, mask = draw(seed, 2, 3, 4, episodes), episodes_that_end(seed + 1, 2, 1, 4, episodes)
    baseline = leave_one_out(returns, mask)
    assert baseline.shape == returns.shape
    for place in itertools.product(range(2), range(3), range(4)):
        running = mask[place[0], 0, place[2]]
        for episode in range(episodes):
            others = [e for e in range(episodes) if e != episode and running[e]]
            expected = returns[place][others].mean() if others else torch.zeros(())
            torch.testing.assert_close(
                baseline[*place, episode], expected.double(), rtol=0, atol=1e-12, check_dtype=False
            )


@given(seed=SEEDS)
@settings(max_examples=20)
def test_an_episodes_baseline_does_not_see_its_own_return(seed: int) -> None:
    """Why it adds no bias: b_e is a function of the other episodes, which are independent of what e did."""
    returns, mask = draw(seed, 3, 5), episodes_that_end(seed + 1, 3, 5)
    jacobian = torch.func.jacrev(lambda returns: leave_one_out(returns, mask))(returns)
    own = jacobian.diagonal(dim1=1, dim2=3)
    torch.testing.assert_close(own, torch.zeros_like(own), rtol=0, atol=1e-15)


def test_leave_one_out_adds_no_bias_when_few_are_alive() -> None:
    """Enumerated: a coin in each of two steps, the first of which may end the episode; two episodes.

    The gradient of the expected return with the baseline, averaged over all outcomes of both episodes, is
    the one without it.
    """
    p = torch.tensor(0.3, dtype=torch.float64)
    outcomes = [(0,), (1, 0), (1, 1)]  # 0 in the first step ends the episode

    def probability(outcome: tuple[int, ...]) -> torch.Tensor:
        return torch.stack([p if action else 1 - p for action in outcome]).prod()

    def score(action: int) -> torch.Tensor:
        return 1 / p if action else -1 / (1 - p)

    def with_and_without(pair: tuple[tuple[int, ...], ...]) -> tuple[torch.Tensor, torch.Tensor]:
        rewards, mask, scores = torch.zeros(3, 2, 2, dtype=torch.float64).unbind(0)
        for episode, outcome in enumerate(pair):
            for time, action in enumerate(outcome):
                mask[time, episode], scores[time, episode] = 1, score(action)
                rewards[time, episode] = 2.0 * action + time + 1
        returns = returns_to_go(rewards, 0.9)
        bare = (scores * returns).sum(0).mean()
        return (scores * (returns - leave_one_out(returns, mask)) * mask).sum(0).mean(), bare

    total = torch.zeros(2, dtype=torch.float64)
    differ = False
    for pair in itertools.product(outcomes, repeat=2):
        estimates = torch.stack(with_and_without(pair))
        differ |= bool((estimates[0] - estimates[1]).abs() > 0.1)
        total += probability(pair[0]) * probability(pair[1]) * estimates
    torch.testing.assert_close(total[0], total[1], rtol=0, atol=1e-12)
    assert differ
