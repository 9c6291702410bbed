"""Surrogates: laws, and first derivatives by sampling against exact values."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import games
from bilevel.agents import SURROGATES, ExactPlay, SampledPlay, Surrogate, Tabular, chosen, entropy
from bilevel.agents._surrogates import dice, loaded_dice, magic_box, reinforce
from bilevel.sharing import SharedBy
from games.core import ExactGame
from games.matrix import RepeatedGame

SEEDS = st.integers(0, 2**31)
NO_BONUS = torch.zeros((), dtype=torch.float64)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_batch(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-probabilities of two agents in episodes that end, what the other one did, rewards, mask."""
    mask = (draw(seed, 1, 4, 5) < 0.7).double().cumprod(-2)
    own, others, rewards = (draw(seed + k, 2, 4, 5) * mask for k in (1, 2, 3))
    return own, others, rewards, mask


def test_a_magic_box_has_the_value_one_and_every_derivative_of_its_exponential() -> None:
    x = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    box = magic_box(x.sin())
    (first,) = torch.autograd.grad(box, x, create_graph=True)
    (second,) = torch.autograd.grad(first, x)
    assert box.item() == 1
    assert first.item() == pytest.approx(x.cos().item(), abs=1e-14)
    assert second.item() == pytest.approx((x.cos() ** 2 - x.sin()).item(), abs=1e-14)


@given(seed=SEEDS, discount=st.floats(0, 1))
@settings(max_examples=30)
def test_both_surrogates_have_the_same_first_derivative(seed: int, discount: float) -> None:
    own, others, rewards, mask = random_batch(seed)
    gradients = []
    for surrogate in (reinforce, dice):
        variable = own.clone().requires_grad_()
        value = surrogate(variable, variable + others, rewards, mask, discount).sum()
        gradients.append(torch.autograd.grad(value, variable)[0] * mask)
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


@given(seed=SEEDS, discount=st.floats(0, 1))
@settings(max_examples=30)
def test_the_value_of_dice_is_the_mean_discounted_return(seed: int, discount: float) -> None:
    own, others, rewards, mask = random_batch(seed)
    expected = sum(discount**time * rewards[:, time] for time in range(4)).mean(-1)
    value = dice(own, own + others, rewards, mask, discount)
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)


SAMPLED: list[tuple[str, ExactGame]] = [
    ("stag hunt", games.make("stag-hunt")),
    ("repeated", RepeatedGame(discount=0.8, horizon=40)),
]
TRIALS, EPISODES = 100, 64


@pytest.mark.parametrize("name", sorted(SURROGATES))
@pytest.mark.parametrize("game", [game for _, game in SAMPLED], ids=[name for name, _ in SAMPLED])
def test_sampled_gradients_agree_with_exact_ones(name: str, game: ExactGame) -> None:
    """On a one-shot and on a repeated game (0.8^40 = 1.3e-4 of the value is cut off): within 4.5 errors."""
    policy = Tabular(game.num_observations, 2)
    theta = draw(1, 2, policy.num_parameters).expand(TRIALS, -1, -1)
    sharing = draw(2, 2, 2).softmax(-1).expand(TRIALS, -1, -1)
    exact, sampled = ExactPlay(game, policy), SampledPlay(game, policy, SURROGATES[name], EPISODES)
    data = sampled.sample(theta, SharedBy(sharing), torch.Generator().manual_seed(0))

    def each_agents_gradient(play: ExactPlay | SampledPlay) -> Tensor:
        return torch.func.grad(lambda own: play.losses(own, theta, SharedBy(sharing), data, NO_BONUS).sum())(
            theta
        )

    def welfare_gradient(play: ExactPlay | SampledPlay) -> Tensor:
        return torch.func.grad(lambda theta: play.values(theta, data).sum())(theta)

    for gradient in (each_agents_gradient, welfare_gradient):
        estimates, truth = gradient(sampled), gradient(exact)[0]
        error = estimates.std(0) / TRIALS**0.5
        assert float(((estimates.mean(0) - truth) / error).abs().max()) < 4.5
        assert float(error.max() / truth.abs().max()) < 0.05


def test_the_baseline_lowers_the_variance() -> None:
    """Of the derivative by a coin's log-odds, when both rewards are far from zero."""
    actions = (draw(0, 500, 1, 1, 16) > 0).double()
    rewards, mask = 10 + actions, torch.ones(500, 1, 1, 16, dtype=torch.float64)
    score = actions - 0.5

    def noise(use: Surrogate) -> Tensor:
        variable = torch.zeros_like(score, requires_grad=True)
        value = use(variable, variable, rewards, mask, 1.0)
        return (torch.autograd.grad(value.sum(), variable)[0] * score).sum(-1).std()

    bare = (score * rewards).mean(-1).std()
    for surrogate in (reinforce, dice, loaded_dice):
        assert float(noise(surrogate)) < 0.2 * float(bare)


@given(logits=st.lists(st.floats(-20, 20), min_size=2, max_size=5))
@settings(max_examples=30)
def test_entropy_is_that_of_the_distribution(logits: list[float]) -> None:
    values = torch.tensor(logits, dtype=torch.float64)
    expected = torch.distributions.Categorical(logits=values).entropy()
    torch.testing.assert_close(entropy(values), expected, rtol=0, atol=1e-12)


def test_log_probabilities_of_what_was_chosen() -> None:
    logits, actions = draw(0, 2, 3, 4), torch.tensor([[0, 1, 3], [2, 2, 0]])
    expected = torch.distributions.Categorical(logits=logits).log_prob(actions)
    torch.testing.assert_close(chosen(logits, actions), expected, rtol=0, atol=1e-14)
