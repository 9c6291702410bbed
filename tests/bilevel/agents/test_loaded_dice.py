"""Loaded DiCE: its laws, its noise, and the advantages it is made of, against loops."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import logsigmoid

from bilevel.agents import Reinforce, Surrogate, generalized_advantages
from bilevel.agents._surrogates import LoadedDice, decayed_sums, dice, loaded_dice, magic_box

SEEDS = st.integers(0, 2**31)
SHARES = st.floats(0, 1)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_batch(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Joint log-probabilities of two agents in episodes that end, rewards, a critic's values, mask."""
    mask = (draw(seed, 1, 4, 5) < 0.7).double().cumprod(-2)
    joint, rewards, values = (draw(seed + k, 2, 4, 5) * mask for k in (1, 2, 3))
    return joint, rewards, values, mask


def second_derivative(loss, variable: Tensor, along: Tensor) -> Tensor:
    return torch.func.jvp(torch.func.grad(loss), (variable,), (along,))[1]


@given(seed=SEEDS, discount=SHARES, decay=SHARES)
@settings(max_examples=30)
def test_its_value_is_the_mean_return_and_its_first_derivative_that_of_dice(
    seed: int, discount: float, decay: float
) -> None:
    joint, rewards, _, mask = random_batch(seed)
    loaded = LoadedDice(dependency_decay=decay)

    def gradient(surrogate: Surrogate) -> Tensor:
        return mask * torch.func.grad(lambda x: surrogate(x, x, rewards, mask, discount).sum())(joint)

    expected = sum(discount**time * rewards[:, time] for time in range(4)).mean(-1)
    torch.testing.assert_close(loaded(joint, joint, rewards, mask, discount), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient(loaded), gradient(dice), rtol=0, atol=1e-12)


@given(seed=SEEDS, discount=SHARES)
@settings(max_examples=30)
def test_with_a_critic_that_knows_nothing_it_is_dice_without_a_baseline(seed: int, discount: float) -> None:
    """sum_t g^t (box_t - box_{t-1}) G_t = sum_t g^t box_t r_t - G_0 (derived)."""
    joint, rewards, _, mask = random_batch(seed)
    weights = torch.tensor([discount**time for time in range(4)], dtype=torch.float64).unsqueeze(-1)

    def bare(joint: Tensor) -> Tensor:
        return (weights * magic_box(joint.cumsum(-2)) * rewards).sum(-2).mean(-1).sum()

    def loaded(joint: Tensor) -> Tensor:
        zero = torch.zeros_like(rewards)
        return loaded_dice(joint, joint, rewards, mask, discount, zero).sum()

    along = draw(seed + 4, 2, 4, 5)
    assert float(loaded(joint)) == 0
    found, expected = (second_derivative(loss, joint, along) for loss in (loaded, bare))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@given(seed=SEEDS, discount=SHARES, decay=SHARES, gae_lambda=SHARES)
@settings(max_examples=30)
def test_it_is_the_papers_algorithm(seed: int, discount: float, decay: float, gae_lambda: float) -> None:
    """Step by step: w <- decay w + log pi, v = w - log pi, J += g^t (box(w) - box(v)) A_t, after V_0."""
    joint, rewards, values, mask = random_batch(seed)
    advantages = generalized_advantages(rewards, values, discount, gae_lambda)

    def by_loop(joint: Tensor) -> Tensor:
        total, so_far = values[:, 0], torch.zeros_like(joint[:, 0])
        for time in range(4):
            before = decay * so_far
            so_far = before + joint[:, time]
            reach = magic_box(so_far) - magic_box(before)
            total = total + discount**time * reach * advantages[:, time]
        return total.mean(-1)

    def loaded(joint: Tensor) -> Tensor:
        surrogate = LoadedDice(dependency_decay=decay, gae_lambda=gae_lambda)
        return surrogate(joint, joint, rewards, mask, discount, values)

    torch.testing.assert_close(loaded(joint), by_loop(joint), rtol=0, atol=1e-12)
    along = draw(seed + 4, 2, 4, 5)
    found, expected = (
        second_derivative(lambda x, loss=loss: loss(x).sum(), joint, along) for loss in (loaded, by_loop)
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_critics_values_after_the_end_do_not_matter() -> None:
    joint, rewards, values, mask = random_batch(0)
    assert not mask.all()
    critics = values, values + 5 * (1 - mask)
    clean, dirty = (loaded_dice(joint, joint, rewards, mask, 0.9, critic) for critic in critics)
    assert torch.equal(clean, dirty)


def test_its_second_derivative_is_far_less_noisy_than_that_of_dice() -> None:
    """Ten tosses of a coin in each of 32 episodes, rewards far from zero: the truth is 0, and 800 estimates.

    The expected return is 10 (10 + sigmoid(x)), whose second derivative at x = 0 vanishes.
    """
    heads = (draw(0, 800, 1, 10, 32) > 0).double()
    rewards, mask = 10 + heads, torch.ones(1, 10, 32, dtype=torch.float64)

    def estimates(surrogate: Surrogate) -> Tensor:
        def loss(logit: Tensor) -> Tensor:
            x = logit.reshape(-1, 1, 1, 1)
            log = heads * logsigmoid(x) + (1 - heads) * logsigmoid(-x)
            return surrogate(log, log, rewards, mask, 1.0).sum()

        zero = torch.zeros(800, dtype=torch.float64)
        return second_derivative(loss, zero, torch.ones_like(zero))

    noise = {}
    for name, surrogate in (("dice", dice), ("loaded", loaded_dice)):
        found = estimates(surrogate)
        noise[name] = float(found.std())
        assert abs(float(found.mean())) < 4 * noise[name] / 800**0.5
    assert noise["loaded"] < 0.1 * noise["dice"]


@given(seed=SEEDS, discount=SHARES, gae_lambda=SHARES)
@settings(max_examples=30)
def test_advantages_are_the_usual_recursion(seed: int, discount: float, gae_lambda: float) -> None:
    _, rewards, values, _ = random_batch(seed)
    found = generalized_advantages(rewards, values, discount, gae_lambda)
    following, value = torch.zeros(2, 5, dtype=torch.float64), torch.zeros(2, 5, dtype=torch.float64)
    for time in reversed(range(4)):
        surprise = rewards[:, time] + discount * value - values[:, time]
        following, value = surprise + discount * gae_lambda * following, values[:, time]
        torch.testing.assert_close(found[:, time], following, rtol=0, atol=1e-12)


@given(seed=SEEDS, decay=SHARES)
@settings(max_examples=30)
def test_decayed_sums_are_the_usual_recursion(seed: int, decay: float) -> None:
    values = draw(seed, 2, 4, 5)
    found, total = decayed_sums(values, decay), torch.zeros(2, 5, dtype=torch.float64)
    for time in range(4):
        total = decay * total + values[:, time]
        torch.testing.assert_close(found[:, time], total, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["dependency_decay", "gae_lambda"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be from 0 to 1, not"):
        LoadedDice(**{name: value})


@pytest.mark.parametrize("kind", [LoadedDice, Reinforce])
def test_a_trace_is_from_0_to_1_and_needs_a_critic(kind: type[LoadedDice] | type[Reinforce]) -> None:
    joint, rewards, _, mask = random_batch(0)
    with pytest.raises(ValueError, match=r"A gae_lambda of 0\.9, below 1, needs a critic's values"):
        kind(gae_lambda=0.9)(joint, joint, rewards, mask, 1.0)
    with pytest.raises(ValueError, match="gae_lambda must be from 0 to 1, not 2"):
        kind(gae_lambda=2.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_keeps_the_type_and_travels(dtype: torch.dtype) -> None:
    joint, rewards, _, mask = (tensor.to(dtype) for tensor in random_batch(0))
    surrogate = LoadedDice(dependency_decay=0.5)
    value = surrogate(joint, joint, rewards, mask, 0.9)
    assert (value.dtype, value.shape) == (dtype, (2,))
    assert pickle.loads(pickle.dumps(surrogate)) == surrogate != loaded_dice
