"""Training steps on noisy digits: plain, by this toolkit's tuner, and by hand with what there is else.

Each gives what the weights moved by under plain descent, and starts where the last one did: parameters are
copied back, and momentum is forgotten, in the time that is counted; so it is for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import higher
import torch
import torchopt
from torch import Tensor
from torch.func import functional_call

from bilevel.loss_weights import LossWeightTuner
from tests.benchmarks.case import Case, Run
from tests.benchmarks.problems.digits import MOMENTUM, OUTER_RATE, RATE, Digits, digits

TERMS = 3
"""Of AuxiLearn's Neumann series, as in its examples."""

Meta = Callable[[Digits, torch.optim.Optimizer], Tensor]
"""Gives d(validation loss after a virtual step)/d(weights)."""


def plain(case: Case) -> Run:
    """Build the loop without weights; it gives zeros."""
    problem = digits(case)

    def step(optimizer: torch.optim.Optimizer, _: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        problem.each(problem.model).mean().backward()
        optimizer.step()

    return _again(problem, step)


def ours(case: Case, *, estimator: str = "unrolled", first: Literal["weights", "model"] = "weights") -> Run:
    """Build this toolkit's tuner."""
    problem = digits(case)
    tuners: list[LossWeightTuner] = []

    def step(optimizer: torch.optim.Optimizer, outer: torch.optim.Optimizer) -> None:
        if not tuners:
            tuners.append(
                LossWeightTuner(
                    problem.model, optimizer, problem.weights, outer, estimator=estimator, first=first
                )
            )
        tuners[0].step(lambda: problem.each(problem.model), lambda: problem.outcome(problem.model))

    return _again(problem, step)


def by_autograd(case: Case) -> Run:
    """Build the loop with a virtual step written out; with no momentum yet it is one of plain descent."""

    def meta(problem: Digits, _: torch.optim.Optimizer) -> Tensor:
        names, params = zip(*problem.model.named_parameters(), strict=True)
        loss = problem.weights(problem.each(problem.model))
        found = torch.autograd.grad(loss, params, create_graph=True)
        after = {name: p - RATE * g for name, p, g in zip(names, params, found, strict=True)}
        outcome = problem.outcome(lambda x: functional_call(problem.model, after, (x,)))  # type: ignore[arg-type]
        return torch.autograd.grad(outcome, problem.weights.theta)[0]

    return _by_hand(case, meta)


def with_higher(case: Case) -> Run:
    """Build the loop that higher's documents show."""

    def meta(problem: Digits, optimizer: torch.optim.Optimizer) -> Tensor:
        with higher.innerloop_ctx(problem.model, optimizer) as (model, differentiable):
            differentiable.step(problem.weights(problem.each(model)))
            return torch.autograd.grad(problem.outcome(model), problem.weights.theta)[0]

    return _by_hand(case, meta)


def with_torchopt(case: Case) -> Run:
    """Build the loop with TorchOpt's differentiable optimizer of modules, put back after the look ahead."""
    made: list[tuple[torchopt.MetaSGD, object]] = []

    def meta(problem: Digits, _: torch.optim.Optimizer) -> Tensor:
        if not made:
            virtual = torchopt.MetaSGD(problem.model, lr=RATE, momentum=MOMENTUM)
            made.append((virtual, torchopt.extract_state_dict(virtual, by="reference")))
        virtual, fresh = made[0]
        start = torchopt.extract_state_dict(problem.model, by="reference")
        virtual.step(problem.weights(problem.each(problem.model)))
        gradient = torch.autograd.grad(problem.outcome(problem.model), problem.weights.theta)[0]
        torchopt.recover_state_dict(problem.model, start)
        torchopt.recover_state_dict(virtual, fresh)
        return gradient

    return _by_hand(case, meta)


def implicitly(case: Case) -> Run:
    """Build the loop with AuxiLearn's gradient: implicit differentiation, the inverse by a Neumann series.

    Source:
        Navon et al., Auxiliary learning by implicit differentiation, arXiv 2007.02693: another gradient.
    """

    def meta(problem: Digits, _: torch.optim.Optimizer) -> Tensor:
        params = list(problem.model.parameters())
        v = torch.autograd.grad(problem.outcome(problem.model), params)
        loss = problem.weights(problem.each(problem.model))
        slope = torch.autograd.grad(loss, params, create_graph=True)
        total = v
        for _ in range(TERMS):
            curved = torch.autograd.grad(slope, params, v, retain_graph=True)
            v = tuple(one - RATE * c for one, c in zip(v, curved, strict=True))
            total = tuple(map(torch.add, total, v))
        return -RATE * torch.autograd.grad(slope, problem.weights.theta, total)[0]

    return _by_hand(case, meta)


def _by_hand(case: Case, meta: Meta) -> Run:
    """A training step around a hypergradient: move the weights, then take the model's step with them."""
    problem = digits(case)

    def step(optimizer: torch.optim.Optimizer, outer: torch.optim.Optimizer) -> None:
        problem.weights.theta.grad = meta(problem, optimizer)
        outer.step()
        outer.zero_grad()
        optimizer.zero_grad()
        losses = problem.each(problem.model)
        weights = problem.weights.values(losses).detach()
        ((weights * losses).sum() / weights.sum()).backward()
        optimizer.step()

    return _again(problem, step)


def _again(problem: Digits, step: Callable[[torch.optim.Optimizer, torch.optim.Optimizer], None]) -> Run:
    params = [*problem.model.parameters(), problem.weights.theta]
    start = [p.detach().clone() for p in params]
    optimizer = torch.optim.SGD(problem.model.parameters(), lr=RATE, momentum=MOMENTUM)
    outer = torch.optim.SGD(problem.weights.parameters(), lr=OUTER_RATE)

    def run() -> Tensor:
        with torch.no_grad():
            torch._foreach_copy_(params, start)
        optimizer.state.clear()
        step(optimizer, outer)
        return (start[-1] - problem.weights.theta.detach()) / OUTER_RATE

    return run
