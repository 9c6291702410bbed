"""What Unrolled is given, what it gives back, and what it refuses."""

import pickle

import pytest
import torch

from bilevel.core import inner_step, leaves, tree_map
from bilevel.hypergradient import BilevelProblem, Unrolled
from bilevel.optimizers import adam, momentum, sgd

INNER = sgd(0.1)


def quadratic(theta, phi, data=None):
    return (theta - phi).square().sum()


def problem(loss=quadratic, outer_loss=lambda theta, phi, data: theta.square().sum(), **more):
    return BilevelProblem(step=inner_step(loss, INNER), outer_loss=outer_loss, **more)


def run(of, theta=None, phi=None, steps=3):
    theta = torch.ones(2) if theta is None else theta
    phi = torch.full((2,), 3.0) if phi is None else phi
    return Unrolled()(of, theta, INNER.init(theta), phi, steps=steps)


def test_data_are_drawn_once_a_step_in_order_without_gradients():
    calls = []

    def inner_data(theta, phi, k):
        calls.append((k, theta.clone(), torch.is_grad_enabled()))
        return torch.tensor(float(k))

    def outer_data(theta, phi):
        calls.append(("outer", theta.clone(), torch.is_grad_enabled()))
        return torch.tensor(7.0)

    def loss(theta, phi, data):
        return quadratic(theta, phi) * (1 + data)

    def outer_loss(theta, phi, data):
        return data * theta.sum()

    estimate = run(problem(loss, outer_loss, inner_data=inner_data, outer_data=outer_data))
    assert [call[0] for call in calls] == [0, 1, 2, "outer"]
    assert not any(call[2] for call in calls)
    torch.testing.assert_close(calls[0][1], torch.ones(2))
    torch.testing.assert_close(calls[3][1], estimate.theta)
    assert [float(data) for data in estimate.inner_data] == [0, 1, 2]
    assert float(estimate.outer_data) == 7
    torch.testing.assert_close(estimate.outer_loss, 7 * estimate.theta.sum())


def test_theta_and_state_are_where_the_steps_lead():
    optimizer = momentum(0.1)
    of = BilevelProblem(step=inner_step(quadratic, optimizer), outer_loss=lambda t, p, d: t.sum())
    theta, phi = torch.ones(2), torch.full((2,), 3.0)
    state = optimizer.init(theta)
    estimate = Unrolled()(of, theta, state, phi, steps=3)
    for _ in range(3):
        theta, state = of.step(theta, state, phi, None)
    torch.testing.assert_close(estimate.theta, theta, rtol=0, atol=0)
    tree_map(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), estimate.opt_state, state)


def test_the_optimizer_state_is_carried_over():
    """Five steps at once, or two of them after three, end in the same place."""
    optimizer = adam(0.1)
    of = BilevelProblem(step=inner_step(quadratic, optimizer), outer_loss=lambda t, p, d: t.sum())
    theta, phi = torch.ones(2), torch.full((2,), 3.0)
    at_once = Unrolled()(of, theta, optimizer.init(theta), phi, steps=5)
    first = Unrolled()(of, theta, optimizer.init(theta), phi, steps=3)
    then = Unrolled()(of, first.theta, first.opt_state, phi, steps=2)
    torch.testing.assert_close(then.theta, at_once.theta, rtol=0, atol=0)


def test_the_gradient_is_shaped_like_phi():
    phi = {"b": torch.ones(2), "a": (torch.tensor(0.5), torch.ones(3, 1))}

    def loss(theta, phi, data):
        return (theta - phi["b"] * phi["a"][0]).square().sum() + theta.sum() * phi["a"][1].sum()

    gradient = run(problem(loss), phi=phi).gradient
    tree_map(lambda g, p: torch.testing.assert_close(g.shape, p.shape), gradient, phi)
    assert list(gradient) == list(phi)


def test_several_objectives_have_the_gradients_they_have_alone(network, error):
    def pair(theta, phi, data):
        both = theta["in"].square() + phi["weights"].sum(), theta["in"].sin() * phi["decay"]
        return torch.stack(both)

    optimizer = adam(0.05)
    start = (network.theta, optimizer.init(network.theta), network.phi)
    both = network._replace(outer_loss=pair).problem(optimizer, per_agent_objective=True)
    together = Unrolled()(both, *start, steps=4)
    assert together.outer_loss.shape == (2, 3, 4)
    for k in range(2):
        one = network._replace(outer_loss=lambda t, p, d, k=k: pair(t, p, d)[k]).problem(optimizer)
        alone = Unrolled()(one, *start, steps=4)
        assert error(tree_map(lambda leaf, k=k: leaf[k], together.gradient), alone.gradient) < 1e-12


def test_parameters_that_require_gradients_are_left_alone():
    theta, phi = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.full((2,), 3.0))
    estimate = run(problem(), theta, phi)
    assert theta.grad is None
    assert phi.grad is None
    results = leaves((estimate.theta, estimate.gradient, estimate.outer_loss))
    assert not any(leaf.requires_grad for leaf in results)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_grad_mode_outside_does_not_matter(enabled):
    with torch.set_grad_enabled(enabled):
        torch.testing.assert_close(run(problem()).gradient, run(problem()).gradient)
        assert float(run(problem()).gradient.abs().sum()) > 0


def test_an_estimate_and_an_estimator_can_be_pickled():
    estimate = pickle.loads(pickle.dumps(run(problem())))
    torch.testing.assert_close(estimate.gradient, run(problem()).gradient)
    assert pickle.loads(pickle.dumps(Unrolled())) == Unrolled()


def test_a_path_with_a_derivative_of_zero_is_a_gradient_of_zero():
    of = problem(lambda theta, phi, data: (theta * phi.square()).sum())
    gradient = run(of, phi=torch.zeros(2)).gradient
    torch.testing.assert_close(gradient, torch.zeros(2), rtol=0, atol=0)


@pytest.mark.parametrize(
    "loss",
    [
        lambda theta, phi, data: (theta - phi["w"].detach()).square().sum(),
        lambda theta, phi, data: theta.square().sum(),
        lambda theta, phi, data: theta.square().sum() + phi["w"].sum(),
    ],
    ids=["detached", "absent", "only added"],
)
def test_an_inner_loss_without_phi_is_refused(loss):
    phi = {"w": torch.ones(2), "b": [torch.ones(1)]}
    with pytest.raises(ValueError, match=r"on the outer variable: no path from phi \(b/0, w\)"):
        run(problem(loss), phi=phi)


def test_an_outer_loss_that_sees_phi_alone_is_not_enough():
    with pytest.raises(ValueError, match="The outer loss does not depend on theta"):
        run(problem(outer_loss=lambda theta, phi, data: phi.square().sum()))


def test_phi_in_the_outer_loss_alone_is_allowed():
    of = problem(lambda theta, phi, data: theta.square().sum(), lambda theta, phi, data: (theta * phi).sum())
    estimate = run(of, phi=torch.full((2,), 3.0))
    torch.testing.assert_close(estimate.gradient, estimate.theta)


def test_an_outer_loss_with_a_vanishing_derivative_is_allowed():
    of = problem(outer_loss=lambda theta, phi, data: theta.clamp(max=-10.0).sum())
    torch.testing.assert_close(run(of).gradient, torch.zeros(2), rtol=0, atol=0)


@pytest.mark.parametrize("steps", [0, -3])
def test_at_least_one_step(steps):
    with pytest.raises(ValueError, match=f"steps must be at least 1, not {steps}"):
        run(problem(), steps=steps)


REFUSED = {
    "integer theta": ({"theta": torch.ones(2).long()}, "theta must .* but leaf .itself. is torch.int64"),
    "number in phi": ({"phi": {"w": torch.ones(2), "b": 1.0}}, "phi must .* but leaf b is float"),
    "empty phi": ({"phi": {}}, "phi must hold at least one tensor"),
}


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED.values(), ids=REFUSED)
def test_leaves_are_floating_tensors(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        run(problem(), **arguments)


def test_a_step_keeps_the_form_of_theta():
    of = BilevelProblem(step=lambda t, s, p, d: (t.double() * p, s), outer_loss=lambda t, p, d: t.sum())
    with pytest.raises(ValueError, match=r"leaf .itself. went from float32\[2\] to float64\[2\]"):
        run(of)
    of = BilevelProblem(step=lambda t, s, p, d: ({"w": t * p}, s), outer_loss=lambda t, p, d: t.sum())
    with pytest.raises(ValueError, match="step must give theta back in the form it got it"):
        run(of)


def test_several_objectives_need_an_axis():
    with pytest.raises(ValueError, match=r"shape \[objective, ...\], but it is a single number"):
        run(problem(per_agent_objective=True))


def test_a_step_that_draws_is_refused():
    generator = torch.Generator().manual_seed(0)

    def loss(theta, phi, data):
        return (theta * torch.randn(2, generator=generator) - phi).square().sum()

    with pytest.raises(ValueError, match="not a pure function"):
        run(problem(loss))


def test_a_step_that_remembers_is_refused():
    calls = []

    def loss(theta, phi, data):
        calls.append(None)
        return (theta - phi / len(calls)).square().sum()

    with pytest.raises(ValueError, match="not a pure function"):
        run(problem(loss))
