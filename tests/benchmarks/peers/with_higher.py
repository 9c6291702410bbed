"""`higher` on modules: its own loop, one inner-loop context for each module."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import higher
import torch
from torch import Tensor, nn

from tests.benchmarks.case import Case, Run
from tests.benchmarks.problems.named import make_modules
from tests.benchmarks.problems.setting import Modules, Optimizer


def run(case: Case, *, last: int | None = None, **options: Any) -> Run:
    """Build higher's loop; `last`: only so many of the last steps are tracked."""
    problem = make_modules(case, **options)
    optimizers = [torch_optimizer(learner, problem.optimizer) for learner in problem.learners]
    before = 0 if last is None else max(0, case.steps - last)

    def hypergradient() -> Tensor:
        phi = problem.phi.clone().requires_grad_()
        with _contexts(problem, optimizers) as pairs:
            _learn(problem, pairs, phi.detach(), range(before))
            for model, _ in pairs:
                model.update_params([leaf.detach().requires_grad_() for leaf in model.fast_params])
            _learn(problem, pairs, phi, range(before, case.steps))
            return torch.autograd.grad(problem.outer_loss([model for model, _ in pairs], phi), phi)[0]

    return hypergradient


@contextlib.contextmanager
def _contexts(problem: Modules, optimizers: list[torch.optim.Optimizer]) -> Any:
    """Open an inner loop for every module; gives (functional module, differentiable optimizer) pairs."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(higher.innerloop_ctx(learner, optimizer))
            for learner, optimizer in zip(problem.learners, optimizers, strict=True)
        ]


def _learn(problem: Modules, pairs: list[Any], phi: Tensor, steps: range) -> None:
    for k in steps:
        losses = problem.losses([model for model, _ in pairs], phi, k)
        for (_, optimizer), loss in zip(pairs, losses, strict=True):
            optimizer.step(loss, override=same_formula(problem.optimizer, k))


def same_formula(optimizer: Optimizer, k: int) -> dict[str, list[float]] | None:
    """Give higher's Adam the epsilon that makes its formula PyTorch's.

    It adds epsilon to the second moment's root before the bias correction.
    """
    if optimizer.name != "adam":
        return None
    return {"eps": [optimizer.epsilon * math.sqrt(1 - optimizer.betas[1] ** (k + 1))]}


def torch_optimizer(learner: nn.Module, optimizer: Optimizer) -> torch.optim.Optimizer:
    """Build PyTorch's optimizer, which higher makes differentiable."""
    parameters = learner.parameters()
    if optimizer.name == "adam":
        return torch.optim.Adam(parameters, lr=optimizer.rate, betas=optimizer.betas, eps=optimizer.epsilon)
    momentum = optimizer.decay if optimizer.name == "momentum" else 0.0
    return torch.optim.SGD(parameters, lr=optimizer.rate, momentum=momentum)
