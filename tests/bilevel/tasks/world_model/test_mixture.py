"""The mixture-density head against torch.distributions, and gradients through its samples."""

from __future__ import annotations

import torch
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Independent, MixtureSameFamily, Normal, OneHotCategorical

from bilevel.tasks.world_model._latents import (
    CategoricalLatents,
    CategoricalPrediction,
    GaussianMixture,
    gumbel,
)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_log_likelihood_is_torchs():
    mixture = GaussianMixture.of(3 * drawn(7, 4 * (1 + 2 * 3)), components=4)
    latents = drawn(7, 3, seed=1)
    known = MixtureSameFamily(
        TorchCategorical(logits=mixture.logits),
        Independent(Normal(mixture.mean, mixture.log_deviation.exp()), 1),
    )
    torch.testing.assert_close(
        mixture.log_likelihood(latents), known.log_prob(latents), rtol=1e-12, atol=1e-12
    )


def test_log_likelihood_far_away_is_finite():
    mixture = GaussianMixture.of(drawn(5), components=1)
    assert mixture.log_likelihood(torch.full((2,), 1e6, dtype=torch.float64)).isfinite()


def test_log_likelihood_of_categories_is_torchs():
    logits = drawn(5, 6)
    one_hot = OneHotCategorical(logits=logits.view(5, 2, 3))
    taken = torch.eye(3, dtype=torch.float64)[torch.tensor([[0, 2], [1, 1], [2, 0], [0, 0], [2, 2]])]
    ours = CategoricalPrediction(logits, CategoricalLatents(2, 3)).log_likelihood(taken.flatten(-2))
    torch.testing.assert_close(ours, one_hot.log_prob(taken).sum(-1), rtol=1e-12, atol=1e-12)


def test_samples_have_the_mixtures_mean():
    numbers = drawn(2 * (1 + 2))
    mixture = GaussianMixture.of(numbers.expand(40_000, -1), components=2)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(40_000, 1, generator=generator, dtype=torch.float64)
    samples = mixture.sample(noise, gumbel((40_000, 2), generator))
    mean = (mixture.logits[0].softmax(-1) @ mixture.mean[0]).item()
    assert abs(samples.mean().item() - mean) < 4 * samples.std().item() / 200


def test_a_sample_reaches_means_deviations_and_the_choice():
    numbers = drawn(6, 3 * (1 + 2 * 2)).requires_grad_()
    generator = torch.Generator().manual_seed(2)
    sample = GaussianMixture.of(numbers, 3).sample(drawn(6, 2, seed=3), gumbel((6, 3), generator).double())
    sample.square().sum().backward()
    choice, mean, deviation = numbers.grad.tensor_split([3, 3 + 3 * 2], -1)
    # Numbers of a component lie together: its means, then its deviations.
    assert choice.abs().sum() > 0
    assert mean.abs().sum() > 0
    assert deviation.abs().sum() > 0
