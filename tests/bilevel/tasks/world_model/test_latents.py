"""Gaussian and categorical latents: values by closed forms, gradients through samples."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Independent, Normal, kl_divergence

from bilevel.tasks.world_model._latents import CategoricalLatents, GaussianLatents, gumbel, straight_through


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_gaussian_divergence_is_torchs():
    statistics = drawn(5, 6)
    mean, log_variance = statistics.chunk(2, -1)
    ours = GaussianLatents(3).divergence(statistics)
    posterior = Independent(Normal(mean, (log_variance / 2).exp()), 1)
    prior = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    torch.testing.assert_close(ours, kl_divergence(posterior, prior), rtol=1e-12, atol=1e-12)


def test_categorical_divergence_is_torchs():
    logits = drawn(5, 12)
    each = kl_divergence(
        TorchCategorical(logits=logits.view(5, 3, 4)),
        TorchCategorical(logits=torch.zeros(5, 3, 4, dtype=torch.float64)),
    )
    torch.testing.assert_close(
        CategoricalLatents(3, 4).divergence(logits), each.sum(-1), rtol=1e-12, atol=1e-12
    )


def test_reparameterized_sample_has_the_gradient_of_mean_and_deviation():
    statistics = drawn(4).requires_grad_()
    noise = drawn(2, seed=1)
    GaussianLatents(2).sample(statistics, noise).sum().backward()
    spread = (statistics.detach()[2:] / 2).exp() * noise / 2
    torch.testing.assert_close(statistics.grad, torch.cat((torch.ones_like(spread), spread)))


def test_straight_through_is_one_hot_in_value_and_softmax_in_gradient():
    logits, noise, direction = drawn(3, 5).requires_grad_(), drawn(3, 5, seed=1), drawn(3, 5, seed=2)
    value = straight_through(logits, noise)
    torch.testing.assert_close(value.sum(-1), torch.ones(3, dtype=torch.float64))
    assert (value.argmax(-1) == (logits + noise).argmax(-1)).all()
    (found,) = torch.autograd.grad((value * direction).sum(), logits)
    (expected,) = torch.autograd.grad((logits.softmax(-1) * direction).sum(), logits)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert found.abs().max() > 0.01


def test_gumbel_noise_draws_by_the_probabilities():
    logits = torch.tensor([0.0, 1.0, 2.0])
    noise = gumbel((20_000, 3), torch.Generator().manual_seed(0))
    share = straight_through(logits.expand(20_000, 3), noise).mean(0)
    torch.testing.assert_close(share, logits.softmax(-1), atol=0.015, rtol=0)


@pytest.mark.parametrize("latents", [GaussianLatents(3), CategoricalLatents(3, 4)])
def test_sizes_agree(latents):
    noise = latents.noise((2, 5), torch.Generator().manual_seed(0))
    statistics = torch.zeros(2, 5, latents.statistics)
    assert noise.shape == (2, 5, latents.size)
    assert latents.sample(statistics, noise).shape == latents.mode(statistics).shape == (2, 5, latents.size)


def test_a_certain_category_diverges_by_the_logarithm_of_the_classes():
    certain = torch.tensor([100.0, 0.0, 0.0, 0.0])
    assert CategoricalLatents(1, 4).divergence(certain).item() == pytest.approx(math.log(4))
