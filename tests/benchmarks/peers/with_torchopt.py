"""TorchOpt on modules: its own loop, one meta-optimiser for each module."""

from __future__ import annotations

from typing import Any

import torch
import torchopt
from torch import Tensor, nn

from tests.benchmarks.case import Case, Run
from tests.benchmarks.problems.named import make_modules
from tests.benchmarks.problems.setting import Optimiser


def run(case: Case, **options: Any) -> Run:
    """Build TorchOpt's loop: step every module on its loss, differentiate, put the modules back."""
    problem = make_modules(case, **options)
    optimisers = [meta_optimiser(learner, problem.optimiser) for learner in problem.learners]
    everything = [*problem.learners, *optimisers]
    starts = [torchopt.extract_state_dict(part, by="reference") for part in everything]

    def meta_gradient() -> Tensor:
        phi = problem.phi.clone().requires_grad_()
        for k in range(case.steps):
            losses = problem.losses(problem.learners, phi, k)
            for optimiser, loss in zip(optimisers, losses, strict=True):
                optimiser.step(loss)
        gradient = torch.autograd.grad(problem.outer_loss(problem.learners, phi), phi)[0]
        for part, start in zip(everything, starts, strict=True):
            torchopt.recover_state_dict(part, start)
        return gradient

    return meta_gradient


def meta_optimiser(learner: nn.Module, optimiser: Optimiser) -> Any:
    """Build TorchOpt's differentiable optimiser of a module."""
    if optimiser.name == "adam":
        return torchopt.MetaAdam(learner, lr=optimiser.rate, betas=optimiser.betas, eps=optimiser.epsilon)
    momentum = optimiser.decay if optimiser.name == "momentum" else 0.0
    return torchopt.MetaSGD(learner, lr=optimiser.rate, momentum=momentum)
