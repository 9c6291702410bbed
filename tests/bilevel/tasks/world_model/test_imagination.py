"""Imagined roll-outs: how their return depends on the controller, and on nothing else."""

from __future__ import annotations

import pytest
import torch

from bilevel.tasks.world_model._losses import ImaginationNoise, imagined_return
from tests.bilevel.tasks.world_model.tiny import a_model, reached, tiny


def imagined(model, steps=3, discount=0.9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    dream = ImaginationNoise.draw(model, steps, 6, generator)
    latents, memory = torch.rand(6, model.latents.size), torch.rand(6, 5)
    return imagined_return(model, latents.requires_grad_(), memory, dream, discount)


@pytest.mark.parametrize("latents", ["gaussian", "categorical"])
def test_the_gradient_reaches_the_controller_through_the_dynamics_and_stays_there(latents):
    model = a_model(tiny(latents=latents))
    imagined(model).mean().backward()
    assert reached(model.controller)
    assert not reached(model.dynamics)
    assert not reached(model.autoencoder)
    assert not reached(model.value)


def test_an_action_counts_through_later_latents():
    """With rewards and ends that do not read the action's memory directly, only later steps can see it."""
    model = a_model(tiny(value_head=False))
    imagined(model, steps=1).mean().backward()
    one_step = [p.grad.clone() for p in model.controller.parameters()]
    model.zero_grad()
    imagined(model, steps=4).mean().backward()
    four = [p.grad for p in model.controller.parameters()]
    assert any(not torch.allclose(a, b) for a, b in zip(one_step, four, strict=True))


def test_certain_rewards_without_an_end_are_a_geometric_series():
    model = a_model(tiny(value_head=False))
    with torch.no_grad():
        model.dynamics.outcome.weight.zero_()
        model.dynamics.outcome.bias.copy_(torch.tensor([2.0, -100.0]))
    torch.testing.assert_close(imagined(model, steps=3, discount=0.5), torch.full((6,), 2 * (1 + 0.5 + 0.25)))


def test_nothing_comes_after_a_certain_end():
    model = a_model()
    with torch.no_grad():
        model.dynamics.outcome.weight.zero_()
        model.dynamics.outcome.bias.copy_(torch.tensor([2.0, 100.0]))
    torch.testing.assert_close(imagined(model), torch.full((6,), 2.0))


def test_the_value_head_is_what_comes_after():
    model = a_model()
    with torch.no_grad():
        for parameter in (*model.value.parameters(), *model.dynamics.outcome.parameters()):
            parameter.zero_()
        model.value.net[-1].bias.fill_(1.0)
        model.dynamics.outcome.bias.copy_(torch.tensor([0.0, -100.0]))
    expected = torch.full((6,), 0.5**3 * model.value.scale)
    torch.testing.assert_close(imagined(model, steps=3, discount=0.5), expected)


def test_the_controller_learns_the_action_that_is_foretold_to_pay():
    model = a_model(tiny(value_head=False))
    cell, size = model.dynamics.cell, model.latents.size
    with torch.no_grad():
        for parameter in model.dynamics.parameters():
            parameter.zero_()
        # The new memory is (1 - 1/2) tanh(+-1) by action, + 1/2 of the old; the reward is its sum.
        cell.weight_ih[-5:, size:] = torch.tensor([-1.0, 1.0])
        model.dynamics.outcome.weight[0] = 1
    optimizer = torch.optim.Adam(model.controller.parameters(), lr=0.05)
    for seed in range(60):
        optimizer.zero_grad()
        (-imagined(model, seed=seed).mean()).backward()
        optimizer.step()
    chances = model.controller(torch.rand(6, size), torch.rand(6, 5)).softmax(-1)
    assert chances[:, 1].min() > 0.9
