"""Every gradient estimator against its theory on the quadratic bilevel problem.

Inner 1/2 |A theta - B phi|^2 + mu/2 |theta|^2, outer 1/2 |theta - c|^2; with H = A'A + mu I the exact
gradient is B'A H^-1 (theta* - c), and with M = I - alpha H one step is theta' = M theta + alpha A'B phi
(derived).
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bilevel.core import inner_step
from bilevel.hypergradient import BilevelProblem, Forward, Implicit, OneStep, Truncated, Unrolled
from bilevel.optimizers import adam, adamw, momentum, rmsprop, sgd

SEEDS = st.integers(0, 2**31)
SOLVERS = ("gmres", "normal-cg", "cg", "neumann")
MU = 0.5


class Quadratic:
    def __init__(self, seed, size=4, outer_size=3):
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.A, self.B, self.c = draw(size, size), draw(size, outer_size), draw(size)
        self.theta, self.phi = draw(size), draw(outer_size)
        identity = torch.eye(size, dtype=torch.float64)
        self.H = self.A.T @ self.A + MU * identity
        eigenvalues = torch.linalg.eigvalsh(self.H)
        self.rate = float(1 / (eigenvalues[0] + eigenvalues[-1]))
        self.M = identity - self.rate * self.H
        self.contraction = 1 - self.rate * float(eigenvalues[0])
        self.fixed_point = torch.linalg.solve(self.H, self.A.T @ self.B @ self.phi)
        self.exact = self.B.T @ self.A @ torch.linalg.solve(self.H, self.fixed_point - self.c)

    def problem(self, optimizer):
        def loss(theta, phi, data):
            return 0.5 * (self.A @ theta - self.B @ phi).square().sum() + MU / 2 * theta.square().sum()

        return BilevelProblem(
            step=inner_step(loss, optimizer),
            outer_loss=lambda theta, phi, data: 0.5 * (theta - self.c).square().sum(),
        )

    def run(self, estimator, steps, optimizer=None, theta=None):
        optimizer = sgd(self.rate) if optimizer is None else optimizer
        theta = self.theta if theta is None else theta
        return estimator(self.problem(optimizer), theta, optimizer.init(theta), self.phi, steps=steps)

    def series(self, end, first, last):
        """alpha B'A (M^first + ... + M^(last - 1)) (end - c)."""
        powers = sum((torch.linalg.matrix_power(self.M, k) for k in range(first, last)), 0 * self.M)
        return self.rate * self.B.T @ self.A @ powers @ (end - self.c)


@given(seed=SEEDS, steps=st.integers(1, 10), kept=st.integers(1, 12))
@settings(max_examples=25)
def test_truncated_keeps_the_last_terms(seed, steps, kept):
    q = Quadratic(seed)
    estimate = q.run(Truncated(steps=kept), steps)
    expected = q.series(estimate.theta, 0, min(kept, steps))
    torch.testing.assert_close(estimate.gradient, expected, rtol=1e-10, atol=1e-11)
    lost = q.run(Unrolled(), steps).gradient - estimate.gradient
    torch.testing.assert_close(lost, q.series(estimate.theta, kept, steps), rtol=1e-9, atol=1e-11)


@given(seed=SEEDS, steps=st.integers(1, 10))
@settings(max_examples=15)
def test_one_step_is_the_first_term(seed, steps):
    q = Quadratic(seed)
    estimate = q.run(OneStep(), steps)
    torch.testing.assert_close(estimate.gradient, q.series(estimate.theta, 0, 1), rtol=1e-10, atol=1e-12)


@given(seed=SEEDS, steps=st.integers(1, 10))
@settings(max_examples=15)
def test_forward_is_all_terms(seed, steps):
    q = Quadratic(seed)
    estimate = q.run(Forward(), steps)
    torch.testing.assert_close(estimate.gradient, q.series(estimate.theta, 0, steps), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("solver", SOLVERS)
@given(seed=SEEDS)
@settings(max_examples=15)
def test_implicit_is_exact_at_the_fixed_point(solver, seed):
    q = Quadratic(seed)
    terms = math.ceil(math.log(1e-11) / math.log(q.contraction)) if solver == "neumann" else 100
    gradient = q.run(Implicit(solver=solver, iterations=terms), 1, theta=q.fixed_point).gradient
    assert float((gradient - q.exact).norm() / q.exact.norm()) < 1e-8


@given(seed=SEEDS, terms=st.integers(1, 12))
@settings(max_examples=25)
def test_neumann_terms_are_truncated_steps_at_the_fixed_point(seed, terms):
    q = Quadratic(seed)
    neumann = Implicit(solver="neumann", iterations=terms, tolerance=math.inf)
    gradient = q.run(neumann, terms, theta=q.fixed_point).gradient
    truncated = q.run(Truncated(steps=terms), terms, theta=q.fixed_point).gradient
    torch.testing.assert_close(gradient, truncated, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(gradient, q.series(q.fixed_point, 0, terms), rtol=1e-10, atol=1e-11)


def test_the_bias_of_each_is_its_theory():
    """Unrolled: as theta_K and M^K; implicit: |B'A H^-1| times theta's distance, also when it is accepted."""
    q = Quadratic(0)
    for steps in (3, 30):
        estimate = q.run(Implicit(max_distance=math.inf), steps)
        off = torch.linalg.solve(q.H, estimate.theta - q.fixed_point)
        torch.testing.assert_close(estimate.gradient - q.exact, q.B.T @ q.A @ off, rtol=1e-8, atol=1e-9)
    pace = round(-2 / math.log(q.contraction))
    errors = [float((q.run(Unrolled(), k).gradient - q.exact).norm()) for k in (2 * pace, 3 * pace)]
    assert errors[1] / errors[0] == pytest.approx(q.contraction**pace, rel=0.05)
    there = [
        float((q.run(Truncated(steps=k), k, theta=q.fixed_point).gradient - q.exact).norm())
        for k in (2 * pace, 3 * pace)
    ]
    assert there[1] / there[0] == pytest.approx(q.contraction**pace, rel=0.05)


def test_the_distance_is_said_whatever_the_rate():
    """On a quadratic the Newton step is the distance itself, and the learning rate has no part in it."""
    q = Quadratic(0)
    away = float((q.theta - q.fixed_point).norm() / q.theta.norm())
    for rate in (1e-9, 1e-4):
        with pytest.raises(ValueError, match=rf"theta is about {away:.2g} times its own size away"):
            q.run(Implicit(), 1, sgd(rate))


STATEFUL = {
    "momentum": lambda q: momentum(q.rate, 0.8),
    "nesterov": lambda q: momentum(q.rate, 0.5, nesterov=True),
    "adam": lambda q: adam(lambda count: 0.1 * 0.98 ** count.double()),
    "rmsprop": lambda q: rmsprop(lambda count: 0.05 * 0.98 ** count.double(), decay=0.9),
}


@pytest.mark.parametrize("make", STATEFUL.values(), ids=STATEFUL)
@pytest.mark.parametrize("solver", ["gmres", "normal-cg"])
def test_a_held_state_cancels(make, solver):
    q = Quadratic(3)
    estimator = Implicit(solver=solver, iterations=400, tolerance=1e-8)
    gradient = q.run(estimator, 700, make(q), theta=q.fixed_point + 1e-3 * q.theta).gradient
    assert float((gradient - q.exact).norm() / q.exact.norm()) < 1e-5


def test_decoupled_decay_beside_adam_is_refused():
    q = Quadratic(3)
    optimizer = adamw(0.05, betas=(0.5, 0.5), weight_decay=0.3, epsilon=1.0)
    with pytest.raises(ValueError, match="the fixed point depends on it"):
        q.run(Implicit(), 500, optimizer)


def test_conjugate_gradient_is_refused_beside_adam():
    q = Quadratic(3)
    optimizer = adam(lambda count: 0.1 * 0.98 ** count.double())
    with pytest.raises(ValueError, match="needs a symmetric Jacobian"):
        q.run(Implicit(solver="cg"), 300, optimizer)


def test_a_step_that_does_not_contract_is_refused_by_neumann_alone():
    q = Quadratic(0)
    with pytest.raises(ValueError, match="its terms grow by a factor of"):
        q.run(Implicit(solver="neumann"), 1, sgd(4 * q.rate), theta=q.fixed_point)
    for solver in ("gmres", "cg", "normal-cg"):
        gradient = q.run(Implicit(solver=solver), 1, sgd(4 * q.rate), theta=q.fixed_point).gradient
        torch.testing.assert_close(gradient, q.exact, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solver_that_does_not_converge_says_so(solver):
    q = Quadratic(0)
    with pytest.raises(ValueError, match=rf"{solver} did not converge: after 2 iterations .* residual is"):
        q.run(Implicit(solver=solver, iterations=2), 1, theta=q.fixed_point)
