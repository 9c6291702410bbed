"""TorchOpt on modules: its own loop, one meta-optimizer for each module."""

from __future__ import annotations

from typing import Any

import torch
import torchopt
from torch import Tensor, nn

from tests.benchmarks.case import Case, Run
from tests.benchmarks.problems.named import make_modules
from tests.benchmarks.problems.setting import Optimizer


def run(case: Case, **options: Any) -> Run:
    """Build TorchOpt's loop: step every module on its loss, differentiate, put the modules back."""
    problem = make_modules(case, **options)
    optimizers = [meta_optimizer(learner, problem.optimizer) for learner in problem.learners]
    everything = [*problem.learners, *optimizers]
    starts = [torchopt.extract_state_dict(part, by="reference") for part in everything]

    def hypergradient() -> Tensor:
        phi = problem.phi.clone().requires_grad_()
        for k in range(case.steps):
            losses = problem.losses(problem.learners, phi, k)
            for optimizer, loss in zip(optimizers, losses, strict=True):
                optimizer.step(loss)
        gradient = torch.autograd.grad(problem.outer_loss(problem.learners, phi), phi)[0]
        for part, start in zip(everything, starts, strict=True):
            torchopt.recover_state_dict(part, start)
        return gradient

    return hypergradient


def meta_optimizer(learner: nn.Module, optimizer: Optimizer) -> Any:
    """Build TorchOpt's differentiable optimizer of a module."""
    if optimizer.name == "adam":
        return torchopt.MetaAdam(learner, lr=optimizer.rate, betas=optimizer.betas, eps=optimizer.epsilon)
    momentum = optimizer.decay if optimizer.name == "momentum" else 0.0
    return torchopt.MetaSGD(learner, lr=optimizer.rate, momentum=momentum)
