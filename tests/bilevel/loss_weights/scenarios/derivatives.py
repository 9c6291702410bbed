"""Losses with derivatives inside, with kinks, and of attention; compiled models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from tests.bilevel.loss_weights.scenarios import Loop, plain_step, scenario
from tests.bilevel.loss_weights.scenarios.data import loop_of


def net(activation: type[nn.Module] = nn.Tanh, width: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, width), activation(), nn.Linear(width, 2))


def slope(model: nn.Module, inputs: Tensor) -> Tensor:
    """The derivative of the outputs in the inputs, differentiable once more."""
    inputs = inputs.clone().requires_grad_()
    (found,) = torch.autograd.grad(model(inputs).sum(), inputs, create_graph=True)
    return found


@scenario("derivatives: a physics-informed loss, validation too")
def physics() -> Loop:
    model, points = net(), torch.randn(5, 3).double()
    loop = loop_of(model)
    fit, held_out = loop.losses, loop.validation
    loop.losses = lambda index: {**fit(index), "cosh": (slope(model, points) - 1).square().mean()}
    loop.validation = lambda: held_out() + slope(model, points[:2]).square().mean()
    return loop


@scenario("derivatives: a penalty on the gradient in the parameters")
def penalty() -> Loop:
    model = net()
    loop = loop_of(model)
    fit = loop.losses

    def losses(index: int) -> dict[str, Tensor]:
        found = fit(index)
        gradients = torch.autograd.grad(found["square"], list(model.parameters()), create_graph=True)
        squares = torch.stack([g.square().sum() for g in gradients])
        return {**found, "cosh": found["cosh"] + 0.1 * squares.sum()}

    loop.losses = losses
    return loop


@scenario("derivatives: a ReLU network and Adam")
def rectified() -> Loop:
    model = net(nn.ReLU, 32)
    loop = loop_of(model, lambda p: torch.optim.Adam(p, lr=1e-4))
    for index in range(3):
        plain_step(loop, index)
    return loop


class Attention(nn.Module):
    """Scaled dot product attention over three tokens of one input each."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.outward = nn.Linear(1, 12), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.inward(x.unsqueeze(-1)).unsqueeze(1).chunk(3, -1)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        found: Tensor = self.outward(mixed.squeeze(1).mean(1))
        return found


@scenario("derivatives: scaled_dot_product_attention")
def attention() -> Loop:
    return loop_of(Attention())


@scenario("derivatives: nn.TransformerEncoderLayer")
def transformer() -> Loop:
    layer = nn.TransformerEncoderLayer(3, 1, 4, dropout=0.1, activation="gelu", batch_first=True)
    model = nn.Sequential(nn.Unflatten(1, (1, 3)), layer, nn.Flatten(), nn.Linear(3, 2))
    return loop_of(model)


class Once(torch.autograd.Function):
    """A sine with a first derivative by reverse mode, and no other."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        found: Tensor = gradient * x.cos()
        return found


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = Once.apply(x)
        return found


@scenario("derivatives: an autograd function marked with once_differentiable")
def once() -> Loop:
    return loop_of(net(Sine))
