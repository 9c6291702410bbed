"""The recurrent network: where back-propagation through time is cut, and where memory starts anew."""

from __future__ import annotations

import pytest
import torch

from tests.bilevel.tasks.world_model.tiny import a_model, tiny


def unrolled(truncate, steps=6, first=None):
    model = a_model()
    latents = torch.rand(steps, 1, 3, requires_grad=True)
    actions = torch.zeros(steps, 1, 2)
    starts = torch.zeros(steps + 1, 1, dtype=torch.bool) if first is None else first
    memories = model.dynamics.unroll(torch.zeros(1, 5), latents, actions, starts, truncate)
    memories[-1].sum().backward()
    return latents.grad.abs().sum((1, 2)) > 0


def test_full_back_propagation_reaches_the_first_step():
    assert unrolled(None).tolist() == [True] * 6


@pytest.mark.parametrize(
    ("truncate", "expected"),
    [(6, [1, 1, 1, 1, 1, 1]), (4, [0, 0, 0, 0, 1, 1]), (3, [0, 0, 0, 1, 1, 1]), (1, [0, 0, 0, 0, 0, 1])],
)
def test_truncated_back_propagation_is_cut_at_multiples(truncate, expected):
    assert unrolled(truncate).tolist() == [bool(step) for step in expected]


def test_truncation_changes_no_value():
    model, latents = a_model(), torch.rand(6, 2, 3)
    actions, first = torch.zeros(6, 2, 2), torch.zeros(7, 2, dtype=torch.bool)
    whole, cut = (
        model.dynamics.unroll(torch.zeros(2, 5), latents, actions, first, truncate) for truncate in (None, 2)
    )
    assert torch.equal(whole, cut)


def test_a_new_episode_starts_without_memory():
    first = torch.zeros(7, 1, dtype=torch.bool)
    first[4] = True
    assert unrolled(None, first=first).tolist() == [False] * 4 + [True] * 2


@pytest.mark.parametrize("latents", ["gaussian", "categorical"])
def test_the_loss_is_likelihood_reward_and_end(latents):
    model = a_model(tiny(latents=latents)).double()
    memory = torch.rand(4, 5, dtype=torch.float64)
    latent = model.latents.sample(
        torch.randn(4, model.latents.statistics, dtype=torch.float64),
        model.latents.noise((4,), torch.Generator().manual_seed(0)).double(),
    )
    rewards, ended = torch.tensor([[1.0, 0, 1, 1], [0.0, 1, 0, 0]]).double()
    predicted = model.dynamics.predict(memory)
    chance = predicted.end_logit.sigmoid()
    ends = -torch.where(ended == 1, chance.log(), (1 - chance).log())
    expected = (ends - predicted.latent.log_likelihood(latent) + (predicted.reward - rewards) ** 2).mean()
    torch.testing.assert_close(
        model.dynamics.loss(memory, latent, rewards, ended), expected, rtol=1e-12, atol=1e-12
    )
