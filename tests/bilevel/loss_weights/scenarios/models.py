"""Models that keep state, recompute activations, or are held from outside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bilevel.loss_weights import HyperParameter
from tests.bilevel.loss_weights.scenarios import Loop, scenario
from tests.bilevel.loss_weights.scenarios.data import loop_of


def net(*extra: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), *extra, nn.Linear(4, 2))


class Checkpointed(nn.Module):
    """Recomputes its hidden layer in the backward pass."""

    def __init__(self, *extra: nn.Module, reentrant: bool = False) -> None:
        super().__init__()
        self.hidden, self.last, self.reentrant = net(*extra)[:-1], nn.Linear(4, 2), reentrant

    def forward(self, x: Tensor) -> Tensor:
        if self.reentrant:
            x = x.clone().requires_grad_()
        out: Tensor = self.last(checkpoint(self.hidden, x, use_reentrant=self.reentrant))
        return out


@scenario("checkpoint: use_reentrant=False")
def checkpointed() -> Loop:
    return loop_of(Checkpointed())


@scenario("checkpoint: use_reentrant=False, with dropout and batch norm inside")
def checkpointed_norm() -> Loop:
    return loop_of(Checkpointed(nn.BatchNorm1d(4), nn.Dropout(0.3)))


@scenario("checkpoint: use_reentrant=False, with a learned temperature")
def checkpointed_temperature() -> Loop:
    model, temperature = Checkpointed().double(), HyperParameter("temperature", 1.5).double()
    return loop_of(model, call=lambda x: model(x) / temperature(), also=[temperature])


@scenario("checkpoint: use_reentrant=True")
def checkpointed_reentrant() -> Loop:
    return loop_of(Checkpointed(reentrant=True))


class Held(torch.autograd.Function):
    """Multiplies by a layer's weight, which it reads anew from the layer in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, layer: nn.Linear) -> Tensor:
        ctx.save_for_backward(x)
        ctx.layer = layer
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradients[0] @ ctx.layer.weight, gradients[0].T @ x, None


class HoldsLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = Held.apply(self.first(x).tanh(), self.second.weight, self.second)
        return out


@scenario("custom autograd function that reads the module in its backward pass")
def holds_layer() -> Loop:
    return loop_of(HoldsLayer())


def with_penalty(**changed: Any) -> Loop:
    """An L2 penalty over a parameter list that was made once, outside the functions."""
    loop = loop_of(net(), **changed)
    held, losses = list(loop.model.parameters()), loop.losses  # type: ignore[union-attr]

    def penalized(index: int) -> dict[str, Tensor]:
        found = losses(index)
        factor = loop.also[0]() if loop.also else 0.3
        penalty = sum((p.square().sum() for p in held), torch.zeros(()).double())
        return {**found, "square": found["square"] + factor * penalty}

    loop.losses = penalized
    return loop


@scenario("parameter list from outside: L2 penalty")
def penalty_outside() -> Loop:
    return with_penalty()


@scenario("parameter list from outside: learned weight decay")
def learned_decay_outside() -> Loop:
    return with_penalty(also=[HyperParameter("weight decay", 0.1).double()])


@scenario("parameter list from outside: penalty in the validation loss")
def penalty_in_validation() -> Loop:
    loop = loop_of(net())
    held, validation = list(loop.model.parameters()), loop.validation  # type: ignore[union-attr]
    loop.validation = lambda: validation() + sum(p.square().sum() for p in held)  # type: ignore[assignment, return-value]
    return loop


@scenario("parameter list from outside: torch.func.functional_call with a dictionary")
def functional_outside() -> Loop:
    model = net().double()
    held = dict(model.named_parameters())
    return loop_of(model, call=lambda x: torch.func.functional_call(model, held, (x,)))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.second(self.first(x).tanh()).tanh())
        return out


@scenario("tied parameters")
def tied() -> Loop:
    return loop_of(Tied())


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory, self.last = nn.GRU(3, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.memory(x.unsqueeze(1).expand(-1, 2, -1))[0][:, -1])
        return out


@scenario("GRU, which keeps a list of its parameters")
def recurrent() -> Loop:
    return loop_of(Recurrent())


def in_eval(model: nn.Module, loop: Loop) -> Loop:
    """Train in train mode, and validate in eval mode."""
    losses, validation = loop.losses, loop.validation

    def training(index: int) -> Any:
        model.train()
        return losses(index)

    def validating() -> Tensor:
        model.eval()
        found = validation()
        model.train()
        return found

    loop.losses, loop.validation = training, validating
    return loop


@scenario("batch norm, validation in eval mode")
def batch_norm() -> Loop:
    model = net(nn.BatchNorm1d(4))
    return in_eval(model, loop_of(model))


@scenario("batch norm, validation in train mode")
def batch_norm_train() -> Loop:
    return loop_of(net(nn.BatchNorm1d(4)))


@scenario("batch norm with a cumulative average, validation in eval mode")
def batch_norm_cumulative() -> Loop:
    model = net(nn.BatchNorm1d(4, momentum=None))
    return in_eval(model, loop_of(model))


class Instances(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm1d(2, track_running_stats=True, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x.unflatten(-1, (2, 2))).flatten(1)
        return out


@scenario("instance norm with running statistics, validation in eval mode")
def instance_norm() -> Loop:
    model = net(Instances())
    return in_eval(model, loop_of(model))


@scenario("spectral norm, validation in eval mode")
def spectral_norm() -> Loop:
    model = net()
    model[0] = nn.utils.parametrizations.spectral_norm(model[0])
    return in_eval(model, loop_of(model))


@scenario("spectral norm, validation in train mode")
def spectral_norm_train() -> Loop:
    model = net()
    model[0] = nn.utils.parametrizations.spectral_norm(model[0])
    return loop_of(model)


@scenario("layer norm and weight norm")
def weight_norm() -> Loop:
    model = net(nn.LayerNorm(4))
    model[0] = nn.utils.parametrizations.weight_norm(model[0])
    return loop_of(model)


class Stateful(nn.Module):
    """Starts from the hidden state that its last call left."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.last = nn.RNNCell(3, 4), nn.Linear(4, 2)
        self.hidden: Tensor = torch.zeros(6, 4).double()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.cell(x, self.hidden)
        self.hidden = hidden.detach()
        out: Tensor = self.last(hidden)
        return out


@scenario("state: hidden state as a plain attribute")
def stateful() -> Loop:
    return loop_of(Stateful())


class Counting(nn.Module):
    """Scales by how often it was called; keeps what it saw in a list, a dictionary and an array."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.seen, self.of = 0, [0.0], {"last": torch.zeros(1).double()}
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(float(self.calls))
        self.of["last"].add_(1)
        out: Tensor = self.layer(x) * (1 + 0.1 * self.calls) + self.of["last"] + self.seen[-1]
        return out


@scenario("state: counters and containers as plain attributes")
def counting() -> Loop:
    return loop_of(net(Counting()))


class Storing(nn.Module):
    """Stores an activation that the losses read from it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.features = self.first(x).tanh()
        out: Tensor = self.last(self.features)
        return out


@scenario("state: an activation stored for the losses")
def storing() -> Loop:
    model = Storing().double()
    loop = loop_of(model)
    losses = loop.losses

    def also(index: int) -> dict[str, Tensor]:
        found = losses(index)
        return {**found, "square": found["square"] + model.features.square().mean()}

    loop.losses = also
    return loop


class Drifting(nn.Module):
    """Normalizes by a running mean of its own inputs, which it rebinds."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return x - self.mean


@scenario("state: a running mean of the inputs, as a buffer that is bound anew")
def drifting() -> Loop:
    return loop_of(nn.Sequential(Drifting(), *net()))


class Averaging(nn.Module):
    """Subtracts a running mean of its activations, updated without a gradient."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.mean.mul_(0.9).add_(x.mean(0), alpha=0.1)
        return x - self.mean


@scenario("state: a running mean of activations, without a gradient")
def averaging() -> Loop:
    return loop_of(net(Averaging()))


@scenario("mode: validation leaves the model in eval mode")
def left_in_eval() -> Loop:
    model = net(nn.Dropout(0.3))
    loop = loop_of(model)
    validation = loop.validation

    def validating() -> Tensor:
        model.eval()
        return validation()

    loop.validation = validating
    return loop
