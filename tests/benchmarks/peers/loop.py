"""Plain autograd and TorchOpt's functional form: one graph through all K steps, on functions of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optree
import torch
import torchopt
from torch import Tensor

from bilevel.optimizers import GradientTransformation
from tests.benchmarks.case import Case, Run
from tests.benchmarks.peers import ours
from tests.benchmarks.problems.named import make_setting
from tests.benchmarks.problems.setting import Optimizer, Setting


def by_autograd(case: Case, **options: Any) -> Run:
    """Build the loop with this toolkit's optimizers: the reference that all others must agree with."""
    return _loop(case, ours.inner_optimizer, **options)


def by_torchopt(case: Case, **options: Any) -> Run:
    """Build the loop with TorchOpt's functional optimizers."""
    return _loop(case, torchopt_optimizer, **options)


def torchopt_optimizer(optimizer: Optimizer) -> Any:
    """Build TorchOpt's optimizer of a problem."""
    if optimizer.name == "adam":
        return torchopt.adam(optimizer.rate, betas=optimizer.betas, eps=optimizer.epsilon)
    return torchopt.sgd(optimizer.rate, momentum=optimizer.decay if optimizer.name == "momentum" else 0.0)


def _loop(
    case: Case,
    make: Callable[[Optimizer], GradientTransformation],
    *,
    last: int | None = None,
    **options: Any,
) -> Run:
    """Build the loop; `last`: only so many of the last steps are in the graph."""
    setting = make_setting(case, **options)
    optimizer = make(setting.optimizer)
    before = 0 if last is None else max(0, case.steps - last)

    def run() -> Tensor:
        phi = setting.phi.clone().requires_grad_()
        theta = optree.tree_map(lambda leaf: leaf.clone().requires_grad_(), setting.theta)
        state = optimizer.init(setting.theta)
        for k in range(case.steps):
            in_graph = k >= before
            gradient = _gradient(setting, theta, phi, k, in_graph)
            updates, state = optimizer.update(gradient, state, params=theta, inplace=False)
            theta = optree.tree_map(torch.add, theta, updates)
            if not in_graph:
                theta = optree.tree_map(lambda leaf: leaf.detach().requires_grad_(), theta)
        return torch.autograd.grad(setting.outer_loss(theta, phi, None).sum(), phi)[0]

    return run


def _gradient(setting: Setting, theta: Any, phi: Tensor, k: int, in_graph: bool) -> Any:
    """Every agent's gradient by its own parameters: `own` is a copy, still connected to theta."""
    own = optree.tree_map(torch.clone, theta)
    flat, spec = optree.tree_flatten(own)
    loss = setting.loss(own, theta, phi, setting.data[k % len(setting.data)]).sum()
    return optree.tree_unflatten(spec, torch.autograd.grad(loss, flat, create_graph=in_graph))
