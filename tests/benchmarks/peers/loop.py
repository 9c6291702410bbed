"""Plain autograd and TorchOpt's functional form: one graph through all K steps, on functions of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optree
import torch
import torchopt
from torch import Tensor

from bilevel.optimisers import GradientTransformation
from tests.benchmarks.case import Case, Run
from tests.benchmarks.peers import ours
from tests.benchmarks.problems.named import make_setting
from tests.benchmarks.problems.setting import Optimiser, Setting


def by_autograd(case: Case, **options: Any) -> Run:
    """Build the loop with this toolkit's optimisers: the reference that all others must agree with."""
    return _loop(case, ours.inner_optimiser, **options)


def by_torchopt(case: Case, **options: Any) -> Run:
    """Build the loop with TorchOpt's functional optimisers."""
    return _loop(case, torchopt_optimiser, **options)


def torchopt_optimiser(optimiser: Optimiser) -> Any:
    """Build TorchOpt's optimiser of a problem."""
    if optimiser.name == "adam":
        return torchopt.adam(optimiser.rate, betas=optimiser.betas, eps=optimiser.epsilon)
    return torchopt.sgd(optimiser.rate, momentum=optimiser.decay if optimiser.name == "momentum" else 0.0)


def _loop(
    case: Case,
    make: Callable[[Optimiser], GradientTransformation],
    *,
    last: int | None = None,
    **options: Any,
) -> Run:
    """Build the loop; `last`: only so many of the last steps are in the graph."""
    setting = make_setting(case, **options)
    optimiser = make(setting.optimiser)
    before = 0 if last is None else max(0, case.steps - last)

    def run() -> Tensor:
        phi = setting.phi.clone().requires_grad_()
        theta = optree.tree_map(lambda leaf: leaf.clone().requires_grad_(), setting.theta)
        state = optimiser.init(setting.theta)
        for k in range(case.steps):
            in_graph = k >= before
            gradient = _gradient(setting, theta, phi, k, in_graph)
            updates, state = optimiser.update(gradient, state, params=theta, inplace=False)
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
