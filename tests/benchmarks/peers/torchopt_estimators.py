"""TorchOpt's estimators that do not unroll, `diff.implicit` and `diff.zero_order`, on functions."""

from __future__ import annotations

from typing import Any

import torch
import torchopt
from torch import Tensor

from tests.benchmarks.case import Case, Run
from tests.benchmarks.peers import draws
from tests.benchmarks.problems.named import make_setting
from tests.benchmarks.problems.setting import Setting


def implicit(case: Case, **options: Any) -> Run:
    """Build implicit differentiation of the point where everybody's own gradient is zero.

    All seeds are one system of equations; it is not symmetric, so the normal equations are solved.
    """
    setting = make_setting(case, **options)
    solver = torchopt.linear_solve.solve_normal_cg(rtol=1e-10)

    def own_gradient(theta: Tensor, phi: Tensor) -> Tensor:
        return _own_gradient(setting, theta, phi)

    @torchopt.diff.implicit.custom_root(own_gradient, argnums=1, solve=solver)
    def learn(theta: Tensor, phi: Tensor) -> Tensor:
        return _learn(setting, theta, phi, case.steps)

    def run() -> Tensor:
        phi = setting.phi.clone().requires_grad_()
        end = learn(setting.theta.clone().requires_grad_(), phi)
        return torch.autograd.grad(setting.outer_loss(end, phi, None).sum(), phi)[0]

    return run


def evolution(case: Case, **options: Any) -> Run:
    """Build evolution by antithetic pairs, which TorchOpt runs one after the other; for one seed alone.

    Of several seeds it would see the sum of their losses only, so that each has the noise of all.
    """
    setting = make_setting(case, **options)
    noise = torch.from_numpy(draws.of_evolution(case))

    def run() -> Tensor:
        phi, rest = setting.phi.clone().requires_grad_(), iter(noise)

        @torchopt.diff.zero_order(
            lambda shape: next(rest), "antithetic", argnums=0, num_samples=len(noise), sigma=draws.SIGMA
        )
        def loss(phi: Tensor) -> Tensor:
            end = _learn(setting, setting.theta, phi, case.steps)
            return setting.outer_loss(end, phi, None).sum()

        return torch.autograd.grad(loss(phi), phi)[0]

    return run


def _learn(setting: Setting, theta: Tensor, phi: Tensor, steps: int) -> Tensor:
    with torch.no_grad():
        for _ in range(steps):
            theta = theta - setting.optimizer.rate * _own_gradient(setting, theta, phi)
    return theta


def _own_gradient(setting: Setting, theta: Tensor, phi: Tensor) -> Tensor:
    gradient: Tensor = torch.func.grad(lambda own: setting.loss(own, theta, phi, None).sum())(theta)
    return gradient
