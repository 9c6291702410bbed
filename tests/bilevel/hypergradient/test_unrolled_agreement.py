"""The walk back agrees with one graph through all steps, for every inner optimizer."""

import pytest
import torch
import torchopt
from hypothesis import given, settings
from hypothesis import strategies as st

from bilevel import optimizers
from bilevel.core import leaves, tree_map
from bilevel.hypergradient import Unrolled

EXACT = 1e-10
"""Relative error in float64."""


def halving(count):
    return 0.2 * 0.5 ** count.double()


def clipped(*then):
    return optimizers.chain(optimizers.clip_by_norm(0.5), *then)


OURS = {
    "sgd": lambda: optimizers.sgd(0.1),
    "sgd, weight decay": lambda: optimizers.sgd(0.1, weight_decay=0.1),
    "sgd, schedule": lambda: optimizers.sgd(halving),
    "sgd, tensor": lambda: optimizers.sgd(torch.tensor(0.1)),
    "momentum": lambda: optimizers.momentum(0.1),
    "momentum, schedule": lambda: optimizers.momentum(halving, 0.5),
    "momentum, nesterov": lambda: optimizers.momentum(0.1, nesterov=True, weight_decay=0.1),
    "momentum, dampening": lambda: optimizers.momentum(0.1, dampening=0.3),
    "adam": lambda: optimizers.adam(0.05),
    "adam, epsilons": lambda: optimizers.adam(0.05, epsilon=1e-3, epsilon_root=1e-4),
    "adam, schedule": lambda: optimizers.adam(halving, betas=(0.5, 0.9), weight_decay=0.1),
    "adam, no memory": lambda: optimizers.adam(0.05, betas=(0.0, 0.0), epsilon=0.1),
    "adamw": lambda: optimizers.adamw(0.05, weight_decay=0.1),
    "rmsprop": lambda: optimizers.rmsprop(0.02, weight_decay=0.1),
    "rmsprop, all": lambda: optimizers.rmsprop(0.02, centered=True, momentum=0.5),
    "clip by norm": lambda: clipped(optimizers.momentum(0.1)),
    "clip by value": lambda: optimizers.chain(optimizers.clip_by_value(0.2), optimizers.momentum(0.1)),
}

THEIRS = {
    "sgd": lambda: torchopt.sgd(0.1, weight_decay=0.1),
    "momentum": lambda: torchopt.sgd(0.1, momentum=0.9),
    "nesterov": lambda: torchopt.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": lambda: torchopt.adam(0.05),
    "adam, epsilon inside": lambda: torchopt.adam(0.05, eps_root=1e-4),
    "adamw": lambda: torchopt.adamw(0.05, weight_decay=0.1),
    "rmsprop": lambda: torchopt.rmsprop(0.02),
    "rmsprop, centered": lambda: torchopt.rmsprop(0.02, centered=True, momentum=0.5),
    "adagrad": lambda: torchopt.adagrad(0.1),
    "adadelta": lambda: torchopt.adadelta(0.5),
    "radam": lambda: torchopt.radam(0.05),
    "adamax": lambda: torchopt.adamax(0.05),
    "schedule": lambda: torchopt.adam(torchopt.schedule.linear_schedule(0.1, 0.01, 5)),
    "clip": lambda: torchopt.chain(torchopt.clip_grad_norm(0.5), torchopt.sgd(0.1, momentum=0.9)),
}


@pytest.mark.parametrize("make", OURS.values(), ids=OURS)
@pytest.mark.parametrize("steps", [1, 6])
def test_agrees_with_autograd(setting, unroll, error, make, steps):
    compare(setting, unroll, error, make(), steps)


@pytest.mark.parametrize("make", THEIRS.values(), ids=THEIRS)
def test_agrees_with_autograd_for_optimizers_of_torchopt(setting, unroll, error, make):
    compare(setting, unroll, error, make(), 6)


@pytest.mark.parametrize(
    "clip",
    [optimizers.clip_by_norm(0.2, batch_dims=2), optimizers.per_member(torchopt.clip_grad_norm(0.2), 2)],
    ids=["ours", "torchopt"],
)
def test_agrees_with_autograd_for_members_clipped_alone(sharing, unroll, error, clip):
    compare(sharing, unroll, error, optimizers.chain(clip, optimizers.sgd(0.5)), 6)


def compare(setting, unroll, error, optimizer, steps):
    state = optimizer.init(setting.theta)
    estimate = Unrolled()(setting.problem(optimizer), setting.theta, state, setting.phi, steps=steps)
    theta, gradient = unroll(setting, optimizer, steps)
    assert error(estimate.theta, theta) < 1e-12
    assert all(leaf.abs().sum() > 0 for leaf in leaves(gradient))
    assert error(estimate.gradient, gradient) < EXACT


@pytest.mark.parametrize("make", OURS.values(), ids=OURS)
def test_float32_stays_float32_and_close(setting, error, make):
    optimizer, single = make(), setting.to(torch.float32)
    if setting.per_agent:
        estimate = run(single, optimizer)
    else:  # the network's validation data stay in float64
        outer = single.outer_loss
        single = single._replace(
            outer_loss=lambda theta, phi, data: outer(tree_map(torch.Tensor.double, theta), phi, data)
        )
        estimate = run(single, optimizer)
    assert all(leaf.dtype == torch.float32 for leaf in leaves((estimate.theta, estimate.gradient)))
    exact = run(setting, optimizer).gradient
    assert error(tree_map(torch.Tensor.double, estimate.gradient), exact) < 1e-3


def run(setting, optimizer, steps=4):
    state = optimizer.init(setting.theta)
    return Unrolled()(setting.problem(optimizer), setting.theta, state, setting.phi, steps=steps)


MEMBERWISE = {
    "momentum": lambda: optimizers.momentum(0.1),
    "adam": lambda: optimizers.adam(0.05, epsilon=1e-4),
    "clip agents": lambda: optimizers.chain(optimizers.clip_by_norm(0.1, batch_dims=1), optimizers.sgd(1.0)),
    "clip, torchopt": lambda: optimizers.chain(
        optimizers.per_member(torchopt.clip_grad_norm(0.1)), optimizers.sgd(1.0)
    ),
}


@pytest.mark.parametrize("make", MEMBERWISE.values(), ids=MEMBERWISE)
@given(seeds=st.lists(st.integers(0, 2**31), min_size=1, max_size=4))
@settings(max_examples=8)
def test_a_batch_of_seeds_equals_its_members(sharing_of, error, make, seeds):
    optimizer = make()
    batch = run(sharing_of(seeds), optimizer)
    for place, seed in enumerate(seeds):
        alone = run(sharing_of([seed]), optimizer)
        assert error(batch.gradient[place], alone.gradient[0]) < EXACT
        member = tree_map(lambda leaf, place=place: leaf[place : place + 1], batch.theta)
        assert error(member, alone.theta) < EXACT


def test_torchopt_clipping_alone_would_mix_the_members(sharing_of, error):
    optimizer = torchopt.chain(torchopt.clip_grad_norm(0.1), torchopt.sgd(1.0))
    batch, alone = run(sharing_of([1, 2]), optimizer), run(sharing_of([1]), optimizer)
    assert error(batch.gradient[0], alone.gradient[0]) > 0.01
