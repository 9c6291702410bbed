"""One step: of one loss, and of every agent on its own; the right way and the two wrong ones."""

import pytest
import torch

from bilevel.core import inner_step, inner_step_per_agent, over_minibatches, tree_map
from bilevel.hypergradient import (
    BilevelProblem,
    Forward,
    RecordedData,
    Truncated,
    Unrolled,
    check_hypergradient,
)
from bilevel.optimizers import adam, momentum, sgd

RATE, STEPS = 0.1, 4


def losses(own, others, phi, data=None):
    """Two agents, smooth and coupled; agent i sees itself in `own` and the other one in `others`."""
    a, b = own.unbind(-1)
    seen_by_b, seen_by_a = others.unbind(-1)
    return torch.stack(
        (torch.sin(a * seen_by_a) + phi * a**2 - seen_by_a, (b - phi * seen_by_b) ** 2 + a_cubed(seen_by_b)),
        -1,
    )


def a_cubed(x):
    return x**3


def outer_loss(theta, phi, data=None):
    return theta[..., 0].cos() * theta[..., 1]


def start():
    return torch.tensor([0.7, -0.4], dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)


def by_autograd(view):
    """K steps of plain gradient descent in one graph; `view` says what a step sees as (own, others)."""
    theta, phi = start()
    phi.requires_grad_()
    theta.requires_grad_()
    for _ in range(STEPS):
        own, others = view(theta)
        (gradient,) = torch.autograd.grad(losses(own, others, phi).sum(), own, create_graph=True)
        theta = theta - RATE * gradient
    (result,) = torch.autograd.grad(outer_loss(theta, phi), phi)
    return theta.detach(), result


def ours():
    theta, phi = start()
    problem = BilevelProblem(step=inner_step_per_agent(losses, sgd(RATE)), outer_loss=outer_loss)
    estimate = Unrolled()(problem, theta, sgd(RATE).init(theta), phi, steps=STEPS)
    return estimate.theta, estimate.gradient


def test_every_agent_follows_its_own_loss():
    theta, phi = start()
    after, _ = inner_step_per_agent(losses, sgd(1.0))(theta, sgd(1.0).init(theta), phi, None)
    x, y, p = 0.7, -0.4, 0.3
    expected = torch.tensor([x - (y * torch.cos(torch.tensor(x * y)) + 2 * p * x), y - 2 * (y - p * x)])
    torch.testing.assert_close(after, expected.double(), rtol=1e-6, atol=0)


def test_agrees_with_autograd_where_own_is_a_connected_clone():
    theta, gradient = ours()
    expected_theta, expected = by_autograd(lambda theta: (theta.clone(), theta))
    torch.testing.assert_close(theta, expected_theta, rtol=1e-14, atol=0)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=0)


def test_own_equal_to_theta_is_another_step():
    theta, _ = ours()
    other, _ = by_autograd(lambda theta: (theta, theta))
    assert (theta - other).norm() > 0.1


@pytest.mark.parametrize(
    "view",
    [lambda theta: (theta.detach().requires_grad_(), theta), lambda theta: (theta.clone(), theta.detach())],
    ids=["own detached", "others detached"],
)
def test_detaching_keeps_the_step_and_spoils_the_gradient(view):
    theta, gradient = ours()
    same, wrong = by_autograd(view)
    torch.testing.assert_close(theta, same, rtol=1e-14, atol=0)
    assert abs(wrong / gradient - 1) > 0.1


def test_finite_differences_side_with_the_right_way():
    theta, phi = start()
    problem = BilevelProblem(step=inner_step_per_agent(losses, momentum(RATE)), outer_loss=outer_loss)
    result = check_hypergradient(problem, theta, momentum(RATE).init(theta), phi, steps=STEPS)
    assert result.passed, str(result)


@pytest.mark.parametrize("estimator", [Unrolled(), Forward(), Truncated(steps=STEPS)])
def test_a_rate_among_the_data_has_its_closed_form(estimator):
    """On (theta - phi)^2 / 2 what is left of theta - phi is the product of 1 - rate_k over the steps."""
    rates = torch.tensor([0.5, 0.1, 0.9, 0.3], dtype=torch.float64)
    theta, phi = torch.tensor([2.0, -1.0]).double(), torch.tensor([0.5, 0.25]).double()
    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: (theta - phi) ** 2 / 2, lambda data: sgd(data[0])),
        outer_loss=lambda theta, phi, data: theta**2 / 2,
        inner_data=RecordedData(tuple((rate,) for rate in rates)),
    )
    found = estimator(problem, theta, sgd(1.0).init(theta), phi, steps=STEPS)
    left = (1 - rates).prod()
    torch.testing.assert_close(found.theta, phi + left * (theta - phi), rtol=0, atol=1e-14)
    torch.testing.assert_close(found.gradient, found.theta * (1 - left), rtol=0, atol=1e-14)


def test_a_loss_per_agent_needs_an_agent_axis():
    theta, phi = start()
    step = inner_step_per_agent(lambda own, others, phi, data: (own * others).sum(), sgd(0.1))
    with pytest.raises(ValueError, match=r"shape \[\.\.\., agent\], but it is a single number"):
        step(theta, sgd(0.1).init(theta), phi, None)


def test_a_step_changes_nothing_in_place():
    optimizer = adam(0.1)
    theta = {"w": torch.ones(3), "b": (torch.zeros(2), torch.ones(1))}
    state = optimizer.init(theta)
    before = tree_map(torch.clone, (theta, state))

    def loss(theta, phi, data):
        return (phi * theta["w"]).sum() + theta["b"][0].exp().sum()

    after, new_state = inner_step(loss, optimizer)(theta, state, torch.tensor(2.0), None)
    tree_map(lambda old, new: torch.testing.assert_close(old, new, rtol=0, atol=0), before, (theta, state))
    assert list(after) == ["w", "b"]
    assert not torch.equal(after["w"], theta["w"])
    assert new_state[1].steps == 1


def test_a_step_in_parts_is_these_steps_one_after_the_other() -> None:
    """Parts may depend on theta before them and on phi, and estimators see that."""
    theta, phi = start()
    single = inner_step_per_agent(
        lambda own, others, phi, scale: scale * losses(own, others, phi), momentum(RATE)
    )
    scales = (1.0, 0.5, -0.2)

    def parts(theta, phi, data):
        return [scale * (data + theta.sum() + phi) for scale in scales]

    problem = BilevelProblem(
        step=over_minibatches(single, parts),
        outer_loss=outer_loss,
        inner_data=lambda *_: torch.tensor(2.0).double(),
    )
    begin = theta, momentum(RATE).init(theta), phi
    found = Unrolled()(problem, *begin, steps=2)
    expected, state = begin[:2]
    for _ in range(2):
        total = 2 + expected.sum() + phi
        for scale in scales:
            expected, state = single(expected, state, phi, scale * total)
    torch.testing.assert_close(found.theta, expected, rtol=0, atol=1e-14)
    assert not torch.allclose(found.theta, theta, atol=0.01)
    assert check_hypergradient(problem, *begin, steps=2).passed
