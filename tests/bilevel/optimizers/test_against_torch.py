"""Our optimizers take the steps that torch.optim takes, and keep their dtype and shape."""

import pickle

import pytest
import torch
import torchopt

from bilevel import optimizers
from bilevel.core import leaves, tree_map

PAIRS = {
    "sgd": (optimizers.sgd(0.1, weight_decay=0.2), torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.2}),
    "momentum": (
        optimizers.momentum(0.1, 0.8, dampening=0.3, weight_decay=0.2),
        torch.optim.SGD,
        {"lr": 0.1, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.2},
    ),
    "nesterov": (
        optimizers.momentum(0.1, 0.8, nesterov=True),
        torch.optim.SGD,
        {"lr": 0.1, "momentum": 0.8, "nesterov": True},
    ),
    "adam": (
        optimizers.adam(0.1, betas=(0.8, 0.99), epsilon=1e-2, weight_decay=0.2),
        torch.optim.Adam,
        {"lr": 0.1, "betas": (0.8, 0.99), "eps": 1e-2, "weight_decay": 0.2},
    ),
    "adamw": (
        optimizers.adamw(0.1, weight_decay=0.2),
        torch.optim.AdamW,
        {"lr": 0.1, "weight_decay": 0.2},
    ),
    "rmsprop": (
        optimizers.rmsprop(0.1, decay=0.9, epsilon=1e-3, weight_decay=0.2),
        torch.optim.RMSprop,
        {"lr": 0.1, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.2},
    ),
    "rmsprop, centered": (
        optimizers.rmsprop(0.1, decay=0.9, centered=True, momentum=0.5),
        torch.optim.RMSprop,
        {"lr": 0.1, "alpha": 0.9, "centered": True, "momentum": 0.5},
    ),
}


@pytest.mark.parametrize(("ours", "theirs", "settings"), PAIRS.values(), ids=PAIRS)
def test_twenty_steps_as_torch_takes_them(ours, theirs, settings):
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(5, generator=generator, dtype=torch.float64)
    parameter = torch.nn.Parameter(theta.clone())
    reference, state = theirs([parameter], **settings), ours.init(theta)
    for _ in range(20):
        gradient = torch.randn(5, generator=generator, dtype=torch.float64)
        parameter.grad = gradient
        reference.step()
        updates, state = ours.update(gradient, state, params=theta)
        theta = theta + updates
    torch.testing.assert_close(theta, parameter.detach(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("beta", [0.9, 0.999, 0.999999])
def test_bias_correction_is_exact_in_float64(beta):
    """Of gradients that are all g, the corrected means are g and g^2: the step is g / |g| (derived)."""
    adam = optimizers.adam(1.0, betas=(beta, beta), epsilon=1e-300)
    theta = gradient = torch.tensor([0.3, -7.0], dtype=torch.float64)
    state = adam.init(theta)
    for _ in range(5):
        updates, state = adam.update(gradient, state, params=theta)
        # The means themselves lose digits as beta nears 1: (1 - beta) is rounded.
        tolerance = 4e-16 / (1 - beta) + 1e-15
        torch.testing.assert_close(updates, -gradient.sign(), rtol=tolerance, atol=0)


def test_a_schedule_counts_from_zero_as_in_torchopt():
    schedule = torchopt.schedule.linear_schedule(1.0, 0.0, 4)
    ours, theirs = optimizers.sgd(schedule), torchopt.sgd(schedule)
    gradient = {"w": torch.ones(2, dtype=torch.float64)}
    state, their_state = ours.init(gradient), theirs.init(gradient)
    for expected in (1.0, 0.75, 0.5, 0.25, 0.0, 0.0):
        updates, state = ours.update(gradient, state, params=gradient)
        their_updates, their_state = theirs.update(gradient, their_state, params=gradient, inplace=False)
        torch.testing.assert_close(updates["w"], torch.full((2,), -expected, dtype=torch.float64))
        torch.testing.assert_close(updates["w"], their_updates["w"], rtol=0, atol=0)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1, dtype=torch.float64)], ids=["number", "tensor"])
def test_dtype_and_shape_are_kept_and_nothing_is_changed_in_place(name, dtype, rate):
    optimizer = optimizers.make_optimizer(name, learning_rate=rate, weight_decay=0.1)
    theta = {"w": torch.ones(2, 3, dtype=dtype), "b": [torch.ones((), dtype=dtype)]}
    gradient, state = tree_map(torch.ones_like, theta), optimizer.init(theta)
    before = tree_map(torch.clone, (theta, gradient, state))
    updates, after = optimizer.update(gradient, state, params=theta, inplace=True)
    tree_map(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), before, (theta, gradient, state))
    for new, old in zip(leaves((updates, after)), leaves((theta, state)), strict=True):
        assert isinstance(new, torch.Tensor)
        assert (new.dtype, new.shape) == (old.dtype, old.shape)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_the_state_can_be_pickled(name):
    optimizer = optimizers.make_optimizer(name, learning_rate=lambda count: 0.1 / (1 + count))
    theta = torch.ones(3)
    _, state = optimizer.update(theta, optimizer.init(theta), params=theta)
    again = pickle.loads(pickle.dumps(state))
    for got in (state, again):
        updates, _ = optimizer.update(theta, got, params=theta)
        torch.testing.assert_close(updates, optimizer.update(theta, state, params=theta)[0], rtol=0, atol=0)


def test_a_learning_rate_of_its_own_for_every_seed():
    rate = torch.tensor([[0.1], [1.0]])
    updates, _ = optimizers.sgd(rate).update(torch.ones(2, 3), optimizers.sgd(rate).init(torch.ones(2, 3)))
    torch.testing.assert_close(updates, -rate.expand(2, 3))


def test_centered_rmsprop_survives_a_variance_that_rounds_below_zero():
    optimizer = optimizers.rmsprop(0.1, decay=0.5, centered=True)
    theta = torch.full((4,), 1.0)
    gradient = torch.tensor([0.1, 0.3, 0.7, 1.1])
    state = optimizer.init(theta)
    for _ in range(200):
        updates, state = optimizer.update(gradient, state, params=theta)
        assert bool(updates.isfinite().all())
