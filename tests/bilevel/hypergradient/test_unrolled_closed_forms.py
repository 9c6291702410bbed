"""Outer gradients that can be worked out by hand (derived, unless a source is named)."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bilevel.core import inner_step, inner_step_per_agent
from bilevel.hypergradient import BilevelProblem, Unrolled
from bilevel.optimizers import momentum, sgd

PAYOFFS = (-1.0, -3.0, 0.0, -2.0)
"""R, S, T, P of the one-shot prisoner's dilemma."""

UNIT = st.floats(0, 1)
RATES = st.floats(0.01, 0.2)


def dilemma_values(mine, yours):
    """Expected payoff; a policy is the probability of cooperating itself, not a logit."""
    r, s, t, p = PAYOFFS
    return mine * (r * yours + s * (1 - yours)) + (1 - mine) * (t * yours + p * (1 - yours))


def both_values(theta):
    x, y = theta.unbind(-1)
    return torch.stack((dilemma_values(x, y), dilemma_values(y, x)), -1)


def sharing_loss(own, others, w, data=None):
    """Agent i gives the fraction w_i of its reward to the other one."""

    def after_sharing(mine, yours, w_mine, w_yours):
        return (1 - w_mine) * dilemma_values(mine, yours) + w_yours * dilemma_values(yours, mine)

    (x, y), (x_seen, y_seen), (w_1, w_2) = own.unbind(-1), others.unbind(-1), w.unbind(-1)
    return -torch.stack((after_sharing(x, y_seen, w_1, w_2), after_sharing(y, x_seen, w_2, w_1)), -1)


def double(numbers):
    return torch.tensor(numbers, dtype=torch.float64)


@given(start=st.tuples(UNIT, UNIT), w=st.tuples(UNIT, UNIT), rate=RATES, steps=st.integers(1, 6))
@settings(max_examples=25)
def test_prisoners_who_share_rewards(start, w, rate, steps):
    """dV1/dw1 = dV2/dw2 = 3 alpha K and dV2/dw1 = dV1/dw2 = 0, for any start and any w."""
    problem = BilevelProblem(
        step=inner_step_per_agent(sharing_loss, sgd(rate)),
        outer_loss=lambda theta, phi, data: -both_values(theta),
    )
    each = BilevelProblem(step=problem.step, outer_loss=problem.outer_loss, per_agent_objective=True)
    state = sgd(rate).init(double(start))
    welfare = Unrolled()(problem, double(start), state, double(w), steps=steps)
    torch.testing.assert_close(-welfare.gradient, double([3 * rate * steps] * 2), rtol=1e-10, atol=1e-12)
    per_giver = Unrolled()(each, double(start), state, double(w), steps=steps)
    expected = 3 * rate * steps * torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close(-per_giver.gradient, expected, rtol=1e-10, atol=1e-12)
    move = rate * steps * torch.stack((2 * double(w)[1] - (1 - w[0]), 2 * double(w)[0] - (1 - w[1])))
    torch.testing.assert_close(welfare.theta - double(start), move, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("steps", "expected"), [(1, 0.15), (3, 0.45), (5, 0.75)])
def test_prisoners_in_numbers(steps, expected):
    problem = BilevelProblem(
        step=inner_step_per_agent(sharing_loss, sgd(0.05)),
        outer_loss=lambda theta, phi, data: -both_values(theta).sum(),
    )
    theta = double([0.5, 0.5])
    gradient = Unrolled()(problem, theta, sgd(0.05).init(theta), double([0.2, 0.2]), steps=steps).gradient
    torch.testing.assert_close(-gradient, double([expected, expected]), rtol=1e-12, atol=0)


@given(start=st.tuples(UNIT, UNIT), incentives=st.tuples(UNIT, UNIT), rate=RATES)
@settings(max_examples=25)
def test_incentives_for_the_other_prisoner(start, incentives, rate):
    """LIO (Yang et al., arXiv 2006.06051) on the same game: the giver's gradient is (+2 alpha, -2 alpha)."""

    def loss(own, others, phi, data):
        (x, y), (x_seen, y_seen) = own.unbind(-1), others.unbind(-1)
        received = phi[0] * y + phi[1] * (1 - y)
        return -torch.stack((dilemma_values(x, y_seen), dilemma_values(y, x_seen) + received), -1)

    problem = BilevelProblem(
        step=inner_step_per_agent(loss, sgd(rate)),
        outer_loss=lambda theta, phi, data: -both_values(theta)[0],
    )
    estimate = Unrolled()(problem, double(start), sgd(rate).init(double(start)), double(incentives), steps=1)
    torch.testing.assert_close(-estimate.gradient, double([2 * rate, -2 * rate]), rtol=1e-10, atol=1e-12)


@given(agents=st.integers(2, 6), k=st.floats(1.1, 5), rate=RATES, seed=st.integers(0, 2**31))
@settings(max_examples=25)
def test_public_goods_with_kept_shares(agents, k, rate, seed):
    """r_i = 1 - c_i + (k/N) sum c; each keeps s_i and splits the rest evenly: dW/ds_i = -alpha (k - 1)."""
    generator = torch.Generator().manual_seed(seed)
    theta, kept = torch.rand(2, agents, generator=generator, dtype=torch.float64)
    itself = torch.eye(agents, dtype=torch.bool)

    def rewards(c):
        return 1 - c + k / agents * c.sum(-1, keepdim=True)

    def loss(own, others, s, data):
        seen = torch.where(itself, own.unsqueeze(-1), others.unsqueeze(-2))
        shares = torch.where(itself, s.unsqueeze(-1), ((1 - s) / (agents - 1)).unsqueeze(-1))
        return -(rewards(seen) * shares.T).sum(-1)

    problem = BilevelProblem(
        step=inner_step_per_agent(loss, sgd(rate)), outer_loss=lambda theta, phi, data: -rewards(theta).sum()
    )
    gradient = Unrolled()(problem, theta, sgd(rate).init(theta), kept, steps=1).gradient
    torch.testing.assert_close(-gradient, torch.full_like(kept, -rate * (k - 1)), rtol=1e-10, atol=1e-12)


class Quadratic:
    """Inner 1/2 |A theta - B phi|^2 + mu/2 |theta|^2, outer 1/2 |theta - c|^2; H = A'A + mu I."""

    def __init__(self, seed: int, size: int = 4, outer_size: int = 3) -> None:
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.A, self.B, self.c = draw(size, size), draw(size, outer_size), draw(size)
        self.theta, self.phi = draw(size), draw(outer_size)
        self.H = self.A.T @ self.A + 0.5 * torch.eye(size, dtype=torch.float64)
        eigenvalues = torch.linalg.eigvalsh(self.H)
        self.smallest, self.largest = float(eigenvalues[0]), float(eigenvalues[-1])
        self.rate = 1 / (self.largest + self.smallest)

    def estimate(self, optimizer, steps):
        def loss(theta, phi, data):
            return 0.5 * (self.A @ theta - self.B @ phi).square().sum() + 0.25 * theta.square().sum()

        problem = BilevelProblem(
            step=inner_step(loss, optimizer),
            outer_loss=lambda theta, phi, data: 0.5 * (theta - self.c).square().sum(),
        )
        return Unrolled()(problem, self.theta, optimizer.init(self.theta), self.phi, steps=steps)

    def exact(self):
        fixed_point = torch.linalg.solve(self.H, self.A.T @ self.B @ self.phi)
        return self.B.T @ self.A @ torch.linalg.solve(self.H, fixed_point - self.c)


@given(seed=st.integers(0, 2**31), steps=st.integers(1, 12))
@settings(max_examples=25)
def test_quadratic_is_a_matrix_power(seed, steps):
    """With M = I - alpha H: theta_K = M^K theta_0 + S phi, S = (I - M^K) H^-1 A'B.

    The gradient is S' (theta_K - c).
    """
    q = Quadratic(seed)
    power = torch.linalg.matrix_power(torch.eye(4) - q.rate * q.H, steps)
    sensitivity = (torch.eye(4) - power) @ torch.linalg.solve(q.H, q.A.T @ q.B)
    end = power @ q.theta + sensitivity @ q.phi
    estimate = q.estimate(sgd(q.rate), steps)
    torch.testing.assert_close(estimate.theta, end, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(estimate.gradient, sensitivity.T @ (end - q.c), rtol=1e-10, atol=1e-10)


def test_quadratic_converges_at_the_rate_of_the_smallest_eigenvalue():
    q = Quadratic(0)
    contraction = 1 - q.rate * q.smallest
    steps = [k * round(-2 / torch.tensor(contraction).log().item()) for k in (2, 3, 4)]
    errors = [float((q.estimate(sgd(q.rate), k).gradient - q.exact()).norm()) for k in steps]
    for k in (0, 1):
        assert errors[k + 1] / errors[k] == pytest.approx(contraction ** (steps[k + 1] - steps[k]), rel=0.05)


def test_quadratic_with_momentum_reaches_the_exact_gradient():
    q = Quadratic(1)
    gradient = q.estimate(momentum(q.rate, 0.8), 400).gradient
    torch.testing.assert_close(gradient, q.exact(), rtol=1e-10, atol=1e-12)
