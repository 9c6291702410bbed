"""A function is run with other values in the place of a model's parameters, wherever the model holds them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointFunction, checkpoint

from bilevel.loss_weights._stateless_model import StatelessModel


class Tied(nn.Module):
    """Two layers of one weight, held twice, and a recurrent one, which keeps a list of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight
        self.memory = nn.GRU(3, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.memory(self.second(self.first(x)).tanh())[0]
        return out


def stateless(model: nn.Module) -> StatelessModel:
    return StatelessModel([model], torch.optim.SGD(model.parameters(), lr=0.1))


def test_every_place_of_a_parameter_holds_the_other_value() -> None:
    torch.manual_seed(0)
    model, inputs = Tied().double(), torch.randn(4, 5, 3, dtype=torch.float64)
    substituted, other = stateless(model), copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.3)
    values = [p.detach().clone().requires_grad_() for p in other.parameters()]
    found = substituted.call(lambda: model(inputs), values, substituted.copy_buffers())
    torch.testing.assert_close(found, other(inputs), rtol=1e-12, atol=0)
    gradients = torch.autograd.grad(found.square().sum(), values)
    other(inputs).square().sum().backward()
    for ours, theirs in zip(gradients, other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.grad, rtol=1e-10, atol=1e-14)


def test_the_models_own_parameters_are_back_afterwards_also_after_an_error() -> None:
    model = Tied()
    substituted, own = stateless(model), list(model.parameters())
    others = [torch.zeros_like(p) for p in own]

    def failing() -> None:
        assert model.second.weight is others[0]
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        substituted.call(failing, others, substituted.copy_buffers())
    assert all(one is two for one, two in zip(model.parameters(), own, strict=True))
    assert model.second.weight is model.first.weight is own[0]


class Forgetful(nn.Module):
    """Batch norm in a reentrant checkpoint, with a hook, whose caller fails."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = checkpoint(self.inner, x.requires_grad_(), use_reentrant=True)
        out.register_hook(lambda g: None)
        return out


def test_nothing_of_torch_or_the_model_stays_exchanged_after_an_error() -> None:
    own = torch.batch_norm, torch.Tensor.register_hook, CheckpointFunction.apply
    model = Forgetful()
    hook = model.inner.register_full_backward_hook(lambda module, into, out: None)
    model.inner[0].weight.register_hook(lambda g: None)
    held, substituted = list(model.parameters()), stateless(model)
    kept, hooks = dict(model.inner._backward_hooks), [dict(p._backward_hooks or {}) for p in held]
    substituted.several_steps = True
    others = [p.detach().clone().requires_grad_() for p in held]

    def failing() -> None:
        with substituted.keeping_last():
            substituted.call(lambda: model(torch.ones(4, 3)).sum(), others, substituted.copy_buffers())
            assert type(held[0]) is not nn.Parameter
            raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        failing()
    assert (torch.batch_norm, torch.Tensor.register_hook, CheckpointFunction.apply) == own
    assert all(type(p) is nn.Parameter and not vars(p) for p in held)
    assert all(one is two for one, two in zip(model.parameters(), held, strict=True))
    assert dict(model.inner._backward_hooks) == kept
    assert [dict(p._backward_hooks or {}) for p in held] == hooks
    hook.remove()


def test_an_outside_list_stands_for_other_values_while_something_runs() -> None:
    model = nn.Linear(2, 1, bias=False)
    held, substituted = list(model.parameters()), stateless(model)
    value = torch.tensor([[3.0, 4.0]], requires_grad=True)
    norm = substituted.call(lambda: held[0].square().sum() + sum(p.sum() for p in held), [value], [])
    assert norm.item() == 32
    torch.testing.assert_close(torch.autograd.grad(norm, value)[0], 2 * value.detach() + 1)
    assert type(held[0]) is nn.Parameter
