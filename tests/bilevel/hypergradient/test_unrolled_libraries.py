"""The same hypergradients as TorchOpt's and higher's own unrolling of an nn.Module.

Where the formulas are the same they agree to 1e-10. Adam's are not all the same:
* TorchOpt computes the bias correction in the default dtype (float32 unless told otherwise): 1e-4;
* higher adds epsilon before the second moment's bias correction, so that its epsilon is
  epsilon / sqrt(1 - beta2^t) in ours: 32 times larger in the first step.
"""

import copy
import math
from typing import NamedTuple

import higher
import pytest
import torch
import torchopt

from bilevel import optimizers
from bilevel.core import Tree, inner_step, leaves, tree_map
from bilevel.hypergradient import BilevelProblem, Unrolled
from bilevel.optimizers import GradientTransformation

STEPS = 5


class Fit:
    """A module fitted to weighted data: the weights are learned above, on other data."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(STEPS, 6, 3, generator=generator, dtype=torch.float64)
        self.y = torch.randn(STEPS, 6, 1, generator=generator, dtype=torch.float64)
        self.weights = torch.randn(6, 1, generator=generator, dtype=torch.float64)
        self.net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)).double()
        with torch.no_grad():
            for parameter in self.net.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def inner(self, predict, weights, k):
        return (weights.sigmoid() * (predict(self.x[k]) - self.y[k]) ** 2).mean()

    def outer(self, predict):
        return (predict(self.x[-1] + 0.1) - self.y[-1]).square().mean()

    def ours(self, optimizer: GradientTransformation) -> torch.Tensor:
        def predict(theta):
            return lambda x: torch.func.functional_call(self.net, theta, (x,))

        problem = BilevelProblem(
            step=inner_step(lambda theta, phi, k: self.inner(predict(theta), phi, k), optimizer),
            outer_loss=lambda theta, phi, data: self.outer(predict(theta)),
            inner_data=lambda theta, phi, k: k,
        )
        theta = dict(self.net.named_parameters())
        return Unrolled()(problem, theta, optimizer.init(theta), self.weights, steps=STEPS).gradient

    def by_torchopt(self, optimizer: type, **settings) -> torch.Tensor:
        weights = self.weights.clone().requires_grad_()
        net = copy.deepcopy(self.net)
        meta = optimizer(net, **settings)
        for k in range(STEPS):
            meta.step(self.inner(net, weights, k))
        return torch.autograd.grad(self.outer(net), weights)[0]

    def by_higher(self, optimizer: type, **settings) -> torch.Tensor:
        weights = self.weights.clone().requires_grad_()
        inner = optimizer(self.net.parameters(), **settings)
        with higher.innerloop_ctx(self.net, inner) as (net, differentiable):
            for k in range(STEPS):
                differentiable.step(self.inner(net, weights, k))
            return torch.autograd.grad(self.outer(net), weights)[0]


@pytest.fixture
def fit():
    return Fit()


@pytest.fixture
def float64_by_default():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


DESCENT = {
    "plain": (optimizers.sgd(0.1), {"lr": 0.1}),
    "weight decay": (optimizers.sgd(0.1, weight_decay=0.1), {"lr": 0.1, "weight_decay": 0.1}),
    "momentum": (optimizers.momentum(0.1, 0.8), {"lr": 0.1, "momentum": 0.8}),
    "nesterov": (
        optimizers.momentum(0.1, 0.8, nesterov=True),
        {"lr": 0.1, "momentum": 0.8, "nesterov": True},
    ),
}


@pytest.mark.parametrize(("ours", "settings"), DESCENT.values(), ids=DESCENT)
def test_descent_agrees_with_both(fit, error, ours, settings):
    expected = fit.ours(ours)
    assert error(fit.by_higher(torch.optim.SGD, **settings), expected) < 1e-10
    assert error(fit.by_torchopt(torchopt.MetaSGD, **settings), expected) < 1e-10


def test_dampening_agrees_with_higher(fit, error):
    expected = fit.ours(optimizers.momentum(0.1, 0.8, dampening=0.3))
    assert error(fit.by_higher(torch.optim.SGD, lr=0.1, momentum=0.8, dampening=0.3), expected) < 1e-10


def test_adam_agrees_with_torchopt_as_far_as_its_float32_goes(fit, error):
    theirs = fit.by_torchopt(torchopt.MetaAdam, lr=0.05, eps=1e-3)
    assert 1e-10 < error(theirs, fit.ours(optimizers.adam(0.05, epsilon=1e-3))) < 1e-4


@pytest.mark.usefixtures("float64_by_default")
def test_adam_agrees_with_torchopt_in_float64(fit, error):
    theirs = fit.by_torchopt(torchopt.MetaAdam, lr=0.05, eps=1e-3)
    assert error(theirs, fit.ours(optimizers.adam(0.05, epsilon=1e-3))) < 1e-10


class State(NamedTuple):
    first: Tree
    second: Tree
    steps: torch.Tensor


def adam_of_higher(learning_rate, epsilon):
    """m_hat / (sqrt(v) / sqrt(1 - beta2^t) + epsilon / sqrt(1 - beta2^t)): epsilon before the correction."""

    def init(params):
        zeros = tree_map(torch.zeros_like, params)
        return State(zeros, zeros, torch.zeros((), dtype=torch.int64))

    def update(updates, state, *, params=None, inplace=True):
        steps = state.steps + 1
        first = tree_map(lambda m, g: 0.9 * m + 0.1 * g, state.first, updates)
        second = tree_map(lambda v, g: 0.999 * v + 0.001 * g * g, state.second, updates)
        rate = learning_rate * math.sqrt(1 - 0.999 ** int(steps)) / (1 - 0.9 ** int(steps))
        step = tree_map(lambda m, v: -rate * m / (v.sqrt() + epsilon), first, second)
        return step, State(first, second, steps)

    return GradientTransformation(init, update)


@pytest.mark.parametrize("epsilon", [1e-3, 1e-8])
def test_adam_of_higher_is_another_formula(fit, error, epsilon):
    by_higher = fit.by_higher(torch.optim.Adam, lr=0.05, eps=epsilon)
    assert error(by_higher, fit.ours(adam_of_higher(0.05, epsilon))) < 1e-10
    ours = fit.ours(optimizers.adam(0.05, epsilon=epsilon))
    assert error(by_higher, ours) > 1e-7


def test_where_epsilon_stands_changes_the_hypergradient_by_order_one():
    """One step on loss phi * theta: theta' = -phi / (|phi| + e), so d theta'/d phi = -e / (|phi| + e)^2.

    e is epsilon in ours and epsilon / sqrt(0.001) in higher's (derived).
    """
    phi, zero, epsilon = torch.tensor(1e-8, dtype=torch.float64), torch.zeros((), dtype=torch.float64), 1e-8
    results = []
    for optimizer, e in (
        (optimizers.adam(1.0, epsilon=epsilon), epsilon),
        (adam_of_higher(1.0, epsilon), epsilon / math.sqrt(0.001)),
    ):
        problem = BilevelProblem(
            step=inner_step(lambda theta, phi, data: phi * theta, optimizer),
            outer_loss=lambda theta, phi, data: theta,
        )
        gradient = Unrolled()(problem, zero, optimizer.init(zero), phi, steps=1).gradient
        assert gradient.item() == pytest.approx(-e / (1e-8 + e) ** 2, rel=1e-10)
        results.append(gradient.item())
    assert abs(results[1] / results[0] - 1) > 0.5


def test_torchopt_momentum_with_dampening_is_refused_for_its_hidden_flag(fit):
    with pytest.raises(ValueError, match="The step is not a pure function"):
        fit.ours(torchopt.sgd(0.1, momentum=0.8, dampening=0.3))


def test_torchopt_adam_is_nan_at_a_zero_second_moment_and_ours_is_not(fit):
    with torch.no_grad():
        fit.net[2].weight[0, 0] = 0
    fit.x[..., 0] = 0  # the first input's weights have a gradient of exactly zero
    assert all(bool(leaf.isnan().any()) for leaf in leaves(fit.ours(torchopt.adam(0.05))))
    assert bool(fit.ours(optimizers.adam(0.05)).isfinite().all())
