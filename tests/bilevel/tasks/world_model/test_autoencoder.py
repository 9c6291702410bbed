"""The autoencoder's loss, and InfoNCE in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from bilevel.tasks.world_model._latents import CategoricalLatents, GaussianLatents
from bilevel.tasks.world_model._losses import info_nce
from bilevel.tasks.world_model._model import Autoencoder


def test_info_nce_of_orthogonal_pairs():
    pairs, temperature = 5, 0.5
    vectors = 3 * torch.eye(pairs, dtype=torch.float64)
    expected = -math.log(math.exp(1 / temperature) / (math.exp(1 / temperature) + pairs - 1))
    assert info_nce(vectors, vectors, temperature).item() == pytest.approx(expected, rel=1e-12)


def test_info_nce_of_pairs_that_nothing_tells_apart():
    same = torch.ones(7, 3, dtype=torch.float64)
    assert info_nce(same, same, 0.1).item() == pytest.approx(math.log(7), rel=1e-12)


def test_info_nce_is_worse_for_exchanged_pairs():
    vectors = torch.eye(4)
    assert info_nce(vectors, vectors, 0.1) < info_nce(vectors, vectors.roll(1, 0), 0.1)


def test_the_loss_is_squared_error_and_weighted_divergence():
    torch.manual_seed(0)
    latents = GaussianLatents(2)
    model = Autoencoder(6, 4, latents).double()
    pictures = torch.rand(3, 6, dtype=torch.float64)
    noise = torch.zeros(3, 2, dtype=torch.float64)
    statistics = model(pictures)
    error = (model.decoder(latents.mode(statistics)) - pictures).square().sum(-1).mean()
    expected = error + 0.5 * latents.divergence(statistics).mean()
    torch.testing.assert_close(model.loss(pictures, statistics, noise, 0.5), expected)


@pytest.mark.parametrize("latents", [GaussianLatents(2), CategoricalLatents(2, 3)])
def test_the_encoder_learns_from_pixels_through_the_sample(latents):
    torch.manual_seed(0)
    model = Autoencoder(6, 4, latents)
    pictures = torch.rand(3, 6)
    noise = latents.noise((3,), torch.Generator().manual_seed(0))
    model.loss(pictures, model(pictures), noise, kl_coef=0.0).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
