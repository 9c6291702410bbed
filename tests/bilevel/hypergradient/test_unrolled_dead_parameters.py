"""A parameter whose gradient is exactly zero: the hypergradient is the true one, not NaN."""

import pytest
import torch

from bilevel.core import inner_step, leaves
from bilevel.hypergradient import BilevelProblem, Unrolled, check_hypergradient
from bilevel.optimizers import adam, adamw, rmsprop

ADAPTIVE = {
    "adam": adam(0.05),
    "adamw": adamw(0.05),
    "rmsprop": rmsprop(0.05),
    "rmsprop, centered": rmsprop(0.05, centered=True, momentum=0.5),
}


def masked_problem(optimizer, mask):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)

    def loss(theta, phi, data):
        fit = (phi.sigmoid().unsqueeze(-1) * (x * theta - y).square() * mask).sum()
        return fit + 0.1 * (theta * mask).sum() ** 2

    return BilevelProblem(
        step=inner_step(loss, optimizer),
        outer_loss=lambda theta, phi, data: ((x * theta - 2 * y) * mask).square().sum(),
    )


@pytest.mark.parametrize("optimizer", ADAPTIVE.values(), ids=ADAPTIVE)
def test_a_dead_parameter_is_as_good_as_none(optimizer, error):
    generator = torch.Generator().manual_seed(1)
    theta, phi = torch.randn(3, generator=generator).double(), torch.randn(6, generator=generator).double()
    mask = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    dead = Unrolled()(masked_problem(optimizer, mask), theta, optimizer.init(theta), phi, steps=4)

    def pad(short):
        return torch.cat((short, torch.zeros(1, dtype=torch.float64)))

    masked = masked_problem(optimizer, mask)
    generator = torch.Generator().manual_seed(0)
    x, y = (part[:, :2] for part in torch.randn(2, 6, 3, generator=generator, dtype=torch.float64))

    def loss(theta, phi, data):
        return (phi.sigmoid().unsqueeze(-1) * (x * theta - y).square()).sum() + 0.1 * theta.sum() ** 2

    removed = BilevelProblem(
        step=inner_step(loss, optimizer),
        outer_loss=lambda theta, phi, data: masked.outer_loss(pad(theta), phi, data),
    )
    alive = Unrolled()(removed, theta[:2], optimizer.init(theta[:2]), phi, steps=4)
    assert bool(dead.gradient.isfinite().all())
    assert error(dead.gradient, alive.gradient) < 1e-10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_derivative_at_a_gradient_of_zero_is_one_over_epsilon(dtype):
    """theta' = -g / (|g| + epsilon): -1 / epsilon at g = 0 (derived)."""
    zero = torch.zeros((), dtype=dtype)
    for optimizer, expected in (
        (adam(1.0, epsilon=1e-8), -1e8),
        (adam(1.0, epsilon=0.0, epsilon_root=1e-4), -1e2),
        (rmsprop(1.0, epsilon=1e-8), -1e8),
        (rmsprop(1.0, epsilon=1e-8, centered=True), -1e8),
    ):
        problem = BilevelProblem(
            step=inner_step(lambda theta, phi, data: phi * theta, optimizer),
            outer_loss=lambda theta, phi, data: theta,
        )
        gradient = Unrolled()(problem, zero, optimizer.init(zero), zero, steps=1).gradient
        assert gradient.item() == pytest.approx(expected, rel=1e-6 if dtype == torch.float32 else 1e-12)


def test_finite_differences_agree_at_a_gradient_of_zero():
    optimizer = adam(0.1, epsilon=1e-2)
    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: (phi * theta).sum(), optimizer),
        outer_loss=lambda theta, phi, data: theta.exp().sum(),
    )
    theta = torch.zeros(3, dtype=torch.float64)
    state = optimizer.init(theta)
    phi = torch.tensor([0.0, 1e-3, -1.0], dtype=torch.float64)
    result = check_hypergradient(problem, theta, state, phi, steps=3, epsilon=1e-8, tolerance=1e-5)
    assert result.passed, str(result)
    assert all(bool(leaf.isfinite().all()) for leaf in leaves(result.estimated))
