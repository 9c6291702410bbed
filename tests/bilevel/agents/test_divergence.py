"""Divergences of policies: those of torch.distributions, laws, and means over the steps that were taken."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical, Normal, kl_divergence

import games
from bilevel.agents import MLP, SURROGATES, ExactPlay, SampledPlay, Softmax, SquashedGaussian, Tabular
from bilevel.sharing import SharedBy

F64 = torch.float64
numbers = st.lists(st.floats(-4, 4), min_size=4, max_size=4).map(
    lambda values: torch.tensor(values, dtype=F64)
)
SQUASHED = SquashedGaussian(low=(-1.0, 0.0), high=(1.0, 3.0))


@given(numbers, numbers)
def test_softmax(reference: torch.Tensor, logits: torch.Tensor) -> None:
    found = Softmax(outputs=4).divergence(reference, logits)
    expected = kl_divergence(Categorical(logits=reference), Categorical(logits=logits))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert found > -1e-12
    torch.testing.assert_close(Softmax(outputs=4).divergence(reference, reference + 1), found * 0)


@given(numbers, numbers)
def test_squashed_gaussian(reference: torch.Tensor, outputs: torch.Tensor) -> None:
    """Of the Gaussians before squashing, summed over two numbers: mean, mean, log std, log std."""
    found = SQUASHED.divergence(reference, outputs)
    before, after = (Normal(values[:2], values[2:].exp()) for values in (reference, outputs))
    torch.testing.assert_close(found, kl_divergence(before, after).sum(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(SQUASHED.divergence(reference, reference), found * 0)


def test_squashing_keeps_the_divergence() -> None:
    """The mean of log p(a) - log q(a) over many actions of p."""
    reference, outputs = torch.tensor([[0.3, -0.5, -0.2, 0.1], [-0.1, 0.2, 0.0, -0.3]], dtype=F64)
    drawn = SQUASHED.draw(reference.expand(200_000, 4), torch.Generator().manual_seed(0))
    logs = [SQUASHED.log_probability(values.expand(200_000, 4), drawn) for values in (reference, outputs)]
    ratio = logs[0] - logs[1]
    error = ratio.std() / len(ratio) ** 0.5
    assert abs(ratio.mean() - SQUASHED.divergence(reference, outputs)) < 4 * error


def test_illegal_actions_add_nothing() -> None:
    reference, logits = torch.tensor([0.3, 0.0, -1e9], dtype=F64), torch.tensor([1.0, 0.0, -1e9], dtype=F64)
    softmax = Softmax(outputs=3)
    assert softmax.divergence(reference, logits) == softmax.divergence(reference[:2], logits[:2]) > 0


def test_exact_play_has_the_mean_over_all_observations() -> None:
    play = ExactPlay(games.make("repeated-prisoners-dilemma"), Tabular(num_observations=5, num_actions=2))
    before, after = torch.linspace(-2, 2, 10, dtype=F64).reshape(1, 2, 5), torch.zeros(1, 2, 5, dtype=F64)
    old, new = (torch.distributions.Bernoulli(logits=logits) for logits in (before, after))
    torch.testing.assert_close(play.divergence(before, after, ()), kl_divergence(old, new).mean(-1))


def test_sampled_play_has_the_mean_over_the_steps_of_its_episodes() -> None:
    """Some episodes of the Escape Room end early; their later steps do not count."""
    game = games.make("escape-room", horizon=6)
    play = SampledPlay(game, MLP(num_features=7, num_actions=3), SURROGATES["dice"], episodes=20)
    before = torch.stack([play.policy.initial(torch.Generator().manual_seed(seed), 2) for seed in (0, 1)])
    after = 2 * before
    agents = torch.eye(2, dtype=F64).expand(2, 2, 2)
    data = play.sample(before, SharedBy(agents), torch.Generator().manual_seed(0))
    found = play.divergence(before, after, data)
    seed, agent = 1, 0
    total, count = 0.0, 0
    for time in range(data.acting.shape[-2]):
        for episode in range(20):
            if data.acting.expand(2, 2, -1, -1)[seed, agent, time, episode]:
                seen = data.observations[seed, agent, time, episode]
                one = [
                    play.policy.unroll(theta[seed, agent : agent + 1], seen[None, None, None]).flatten()
                    for theta in (before, after)
                ]
                total += float(kl_divergence(*(Categorical(logits=logits) for logits in one)))
                count += 1
    assert 0 < count < 6 * 20
    torch.testing.assert_close(found[seed, agent], torch.tensor(total / count, dtype=F64))
