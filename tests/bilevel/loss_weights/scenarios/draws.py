"""Losses that draw: minibatches in the validation loss, dropout and noise in training."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.bilevel.loss_weights.scenarios import Loop, scenario
from tests.bilevel.loss_weights.scenarios.data import loop_of


def net(*extra: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), *extra, nn.Linear(4, 2))


def minibatch(draw: Callable[[], list[int]]) -> Loop:
    """A loop whose validation loss is that of 4 drawn samples of 40."""
    model = net()
    inputs, targets = torch.randn(40, 3).double(), torch.randn(40, 2).double()

    def validation() -> torch.Tensor:
        chosen = draw()
        return (model(inputs[chosen]) - targets[chosen]).square().mean()

    return loop_of(model, validation=validation)


@scenario("draws: validation minibatch by torch.randint")
def by_randint() -> Loop:
    return minibatch(lambda: torch.randint(40, (4,)).tolist())


@scenario("draws: validation minibatch by a shuffling DataLoader")
def by_loader() -> Loop:
    loader = DataLoader(TensorDataset(torch.arange(40)), 4, shuffle=True)
    return minibatch(lambda: next(iter(loader))[0].tolist())


@scenario("draws: validation minibatch by np.random and random")
def by_numpy() -> Loop:
    return minibatch(lambda: [*np.random.randint(40, size=2).tolist(), random.randrange(40)])


@scenario("draws: dropout in training and validation")
def dropout() -> Loop:
    return loop_of(net(nn.Dropout(0.3)))


@scenario("draws: augmentation by np.random in the training losses")
def augmentation() -> Loop:
    loop = loop_of(net())
    losses = loop.losses
    loop.losses = lambda index: {n: loss * (1 + np.random.rand()) for n, loss in losses(index).items()}
    return loop


@scenario("draws: the next batch of an iterator in the training losses")
def iterator() -> Loop:
    loop = loop_of(net())
    losses, order = loop.losses, iter(range(100))
    loop.losses = lambda index: losses(next(order))
    return loop


@scenario("draws: noise of an own torch.Generator in the training losses")
def generator() -> Loop:
    loop = loop_of(net())
    losses, own = loop.losses, torch.Generator().manual_seed(0)
    loop.losses = lambda index: {
        name: loss * (1 + torch.rand((), generator=own).double()) for name, loss in losses(index).items()
    }
    return loop
