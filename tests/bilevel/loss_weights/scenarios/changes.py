"""What users hang on parameters and modules, and change once the tuner has been built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bilevel.loss_weights import HyperParameter
from tests.bilevel.loss_weights.scenarios import Loop, plain_step, scenario
from tests.bilevel.loss_weights.scenarios.data import adam, loop_of
from tests.bilevel.loss_weights.scenarios.models import net


def changed(name: str) -> Callable[[Callable[[nn.Sequential, Loop], Any]], None]:
    """Register a loop on which this function is called once the tuner has been built."""

    def register(change: Callable[[nn.Sequential, Loop], Any]) -> None:
        def build() -> Loop:
            model = net()
            loop = loop_of(model)
            loop.change = lambda: change(model, loop)
            loop.symmetric = not name.startswith("hook: parameter")
            return loop

        scenario(name)(build)

    return register


@changed("hook: parameter's, that masks the gradient")
def masks(model: nn.Sequential, loop: Loop) -> None:
    mask = (torch.arange(12).view(4, 3) % 2).double()
    model[0].weight.register_hook(lambda g: g * mask)


@changed("hook: parameter's, that is no linear function")
def squashes(model: nn.Sequential, loop: Loop) -> None:
    model[0].weight.register_hook(lambda g: g.tanh())


@changed("hook: parameter's, that only looks")
def looks(model: nn.Sequential, loop: Loop) -> None:
    seen: list[float] = []
    model[0].weight.register_hook(lambda g: seen.append(float(g.detach().norm())))


@changed("hook: parameter's, after accumulation")
def after_accumulation(model: nn.Sequential, loop: Loop) -> None:
    def halve(parameter: Tensor) -> None:
        parameter.grad = 0.5 * parameter.grad  # type: ignore[operator]

    model[0].weight.register_post_accumulate_grad_hook(halve)


@changed("hook: module's, forward")
def forward_hook(model: nn.Sequential, loop: Loop) -> None:
    model[0].register_forward_hook(lambda module, inputs, out: 1.5 * out)
    model[2].register_forward_pre_hook(lambda module, inputs: (inputs[0] * module.weight.mean(),))


@changed("hook: module's, full backward, that halves the gradient")
def backward_hook(model: nn.Sequential, loop: Loop) -> None:
    model[2].register_full_backward_hook(lambda module, into, out: tuple(0.5 * g for g in into))


@changed("hook: module's, full backward, that only looks")
def backward_hook_looks(model: nn.Sequential, loop: Loop) -> None:
    seen: list[float] = []
    model[2].register_full_backward_hook(lambda module, into, out: seen.append(float(out[0].detach().norm())))


@changed("hook: module's, full backward pre, that halves the gradient")
def backward_pre_hook(model: nn.Sequential, loop: Loop) -> None:
    model[2].register_full_backward_pre_hook(lambda module, out: tuple(0.5 * g for g in out))


class Clamped(nn.Module):
    """Clamps the gradient of its activation."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        x = 1.0 * x
        if x.requires_grad:
            x.register_hook(lambda g: g.clamp(-self.limit, self.limit))
        return x


@scenario("hook: an activation's, that clamps its gradient")
def clamps() -> Loop:
    return loop_of(net(Clamped(0.01)))


@scenario("hook: an activation's, with a limit that is never met")
def clamps_nothing() -> Loop:
    return loop_of(net(Clamped(1e6)))


@changed("change: a parameter is frozen")
def freezes(model: nn.Sequential, loop: Loop) -> None:
    model[0].weight.requires_grad_(False)


@scenario("change: a frozen parameter is trained again")
def thaws() -> Loop:
    model = net()
    model[0].weight.requires_grad_(False)
    loop = loop_of(model)

    def change() -> None:
        model[0].weight.requires_grad_(True)

    loop.change = change
    return loop


@changed("change: a layer is replaced, and the optimizer not told")
def replaces(model: nn.Sequential, loop: Loop) -> None:
    model[2] = nn.Linear(4, 2).double()


@changed("change: a layer is replaced, in the optimizer, too")
def replaces_everywhere(model: nn.Sequential, loop: Loop) -> None:
    model[2] = nn.Linear(4, 2).double()
    loop.optimizer.param_groups[0]["params"] = list(model.parameters())


@changed("change: a layer is added with optimizer.add_param_group")
def adds(model: nn.Sequential, loop: Loop) -> None:
    model.append(nn.Linear(2, 2).double())
    loop.optimizer.add_param_group({"params": model[3].parameters(), "lr": 0.01})


@changed("change: a layer is removed, and the optimizer not told")
def removes(model: nn.Sequential, loop: Loop) -> None:
    del model[0]
    model[1] = nn.Linear(3, 2).double()


@changed("change: other learning rate, betas and weight decay in the groups")
def other_settings(model: nn.Sequential, loop: Loop) -> None:
    loop.optimizer.param_groups[0].update(lr=0.02, betas=(0.5, 0.9), weight_decay=0.1)


@changed("change: maximize=True in the groups")
def maximizes(model: nn.Sequential, loop: Loop) -> None:
    loop.optimizer.param_groups[0]["maximize"] = True


@changed("change: a parametrization is registered")
def parametrizes(model: nn.Sequential, loop: Loop) -> None:
    class Doubled(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    nn.utils.parametrize.register_parametrization(model[0], "weight", Doubled())


@changed("change: weight_norm is registered, and the optimizer not told")
def normalizes(model: nn.Sequential, loop: Loop) -> None:
    nn.utils.parametrizations.weight_norm(model[0])


@changed("change: parameters are tied")
def ties(model: nn.Sequential, loop: Loop) -> None:
    model.append(nn.Tanh())
    model.append(nn.Linear(2, 4, bias=False).double())
    model[4].weight = nn.Parameter(torch.randn(2, 2).double())
    loop.optimizer.add_param_group({"params": [model[4].weight]})
    model.append(nn.Linear(2, 2, bias=False).double())
    model[5].weight = model[4].weight


@changed("change: model.to(float64), and values set by load_state_dict")
def moves(model: nn.Sequential, loop: Loop) -> None:
    model.to(torch.float64)
    model.load_state_dict({name: value + 0.1 for name, value in model.state_dict().items()})


@changed("change: the optimizer's state is loaded")
def loads(model: nn.Sequential, loop: Loop) -> None:
    plain_step(loop, 2)
    loop.optimizer.load_state_dict(loop.optimizer.state_dict())


@scenario("change: a buffer is replaced")
def replaces_buffer() -> Loop:
    model = net(nn.BatchNorm1d(4))
    loop = loop_of(model)

    def change() -> None:
        model[2].running_mean = torch.ones(4).double()

    loop.change = change
    return loop


@scenario("parameter groups, clipping, accumulation and a learned learning rate")
def groups() -> Loop:
    model = net()
    rate = HyperParameter("learning rate", 0.05).double()

    def make(_: Any) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            [{"params": model[0].parameters(), "weight_decay": 0.1}, {"params": model[2].parameters()}],
            eps=1e-3,
        )

    loop = loop_of(model, make, settings={"max_norm": 0.5, "accumulate": 2})
    loop.learning_rate = rate
    return loop


@scenario("a learned temperature in training and validation losses")
def temperature() -> Loop:
    model, knob = net(), HyperParameter("temperature", 1.5).double()
    return loop_of(model, adam, call=lambda x: model(x) / knob(), also=[knob])
