"""FiniteDifference: the last step's exact effect, without a derivative of the step."""

import math
import pickle

import pytest
import torch
import torchopt

from bilevel.core import inner_step, leaves, tree_map
from bilevel.hypergradient import BilevelProblem, FiniteDifference, OneStep, Unrolled
from bilevel.optimizers import adam, momentum, sgd

OPTIMIZERS = {
    "sgd": sgd(0.1),
    "momentum": momentum(0.1),
    "adam": adam(0.05, epsilon=1e-2),
    "torchopt": torchopt.adam(0.05, eps=1e-2),
}
# TorchOpt's second moments, which torch batches as a loop; see `learn_samples`.
SLOW_BATCH = pytest.mark.filterwarnings("ignore:There is a performance drop")


def run(estimator, setting, optimizer, steps, **more):
    problem = setting.problem(optimizer, **more)
    return estimator(problem, setting.theta, optimizer.init(setting.theta), setting.phi, steps=steps)


def scalar(inner, outer_loss=lambda theta, phi, data: theta**2):
    return BilevelProblem(step=inner_step(inner, sgd(0.1)), outer_loss=outer_loss)


def of_scalar(estimator, problem, theta, phi, steps=1):
    return estimator(problem, theta, sgd(0.1).init(theta), phi, steps=steps).gradient


def double(number):
    return torch.tensor(number, dtype=torch.float64)


@SLOW_BATCH
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("steps", [1, 4])
def test_it_is_the_derivative_of_the_last_step(setting, error, optimizer, steps):
    estimate = run(FiniteDifference(), setting, optimizer, steps)
    exact = run(OneStep() if steps > 1 else Unrolled(), setting, optimizer, steps)
    assert error(estimate.gradient, exact.gradient) < 1e-8
    tree_map(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), estimate.theta, exact.theta)
    tree_map(
        lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), estimate.opt_state, exact.opt_state
    )
    torch.testing.assert_close(estimate.outer_loss, exact.outer_loss, rtol=0, atol=0)
    assert len(estimate.inner_data) == steps


def test_it_agrees_with_the_formula_of_darts(network, error):
    """Equations 7 and 8: direct - alpha (grad_phi L(theta + e v) - grad_phi L(theta - e v)) / (2 e)."""
    estimate = run(FiniteDifference(), network, sgd(0.1), 1)
    v, direct = torch.func.grad(network.outer_loss, argnums=(0, 1))(estimate.theta, network.phi, None)
    e = 1e-5
    ahead, behind = (
        torch.func.grad(network.loss, argnums=1)(
            tree_map(lambda leaf, along, s=s: leaf + s * e * along, network.theta, v),
            network.phi,
            network.data[0],
        )
        for s in (1, -1)
    )
    darts = tree_map(lambda d, a, b: d - 0.1 * (a - b) / (2 * e), direct, ahead, behind)
    assert error(estimate.gradient, darts) < 1e-8


def test_the_bias_is_epsilon_squared_over_six_times_the_third_derivative():
    """L = -theta sin(phi), F = theta: the difference quotient of sin is cos(phi) sin(epsilon) / epsilon."""
    problem = scalar(lambda theta, phi, data: -theta * phi.sin(), lambda theta, phi, data: theta)
    for epsilon in (0.5, 0.1):
        gradient = of_scalar(FiniteDifference(epsilon=epsilon), problem, double(1.0), double(0.3))
        expected = 0.1 * math.cos(0.3) * math.sin(epsilon) / epsilon
        torch.testing.assert_close(gradient, double(expected), rtol=1e-12, atol=0)


def test_it_leaves_out_all_steps_but_the_last():
    """theta' = 0.8 theta + 0.2 phi, F = theta: exact 1 - 0.8^K, the last step alone 0.2."""
    problem = scalar(lambda theta, phi, data: (theta - phi) ** 2, lambda theta, phi, data: theta)
    for steps in (1, 2, 10):
        gradient = of_scalar(FiniteDifference(), problem, double(0.0), double(1.0), steps)
        torch.testing.assert_close(gradient, double(0.2), rtol=1e-9, atol=0)
        exact = of_scalar(Unrolled(), problem, double(0.0), double(1.0), steps)
        torch.testing.assert_close(exact, double(1 - 0.8**steps), rtol=1e-12, atol=0)


def test_several_objectives(sharing):
    exact = run(OneStep(), sharing, momentum(0.1), 3, per_agent_objective=True).gradient
    estimate = run(FiniteDifference(), sharing, momentum(0.1), 3, per_agent_objective=True).gradient
    assert estimate.shape == (2, 2, 3, 3)
    torch.testing.assert_close(estimate, exact, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("per_agent_objective", [True, False])
def test_members_change_the_cost_and_not_the_result(sharing, per_agent_objective):
    calls = []

    def counted(step):
        def step_and_count(theta, opt_state, phi, data):
            calls.append(theta)
            return step(theta, opt_state, phi, data)

        return step_and_count

    def gradient(members):
        problem = sharing.problem(sgd(0.1), per_agent_objective=per_agent_objective)
        problem = BilevelProblem(
            step=counted(problem.step),
            outer_loss=problem.outer_loss,
            inner_data=problem.inner_data,
            per_agent_objective=per_agent_objective,
        )
        estimator = FiniteDifference(members=members, chunk_size=1)
        state = sgd(0.1).init(sharing.theta)
        return estimator(problem, sharing.theta, state, sharing.phi, steps=1).gradient

    together = gradient(False)
    assert len(calls) == 3 + 2 * 18
    calls.clear()
    torch.testing.assert_close(gradient(True), together, rtol=1e-9, atol=1e-10)
    assert len(calls) == 3 + 2 * 9


def test_chunks_change_nothing(network, error):
    whole, chunked = (
        run(FiniteDifference(chunk_size=size), network, sgd(0.1), 2).gradient for size in (64, 4)
    )
    assert error(chunked, whole) < 1e-9


def test_single_precision(sharing, error):
    exact = run(OneStep(), sharing, sgd(0.1), 2).gradient
    estimate = run(FiniteDifference(), sharing.to(torch.float32), sgd(0.1), 2).gradient
    assert estimate.dtype == torch.float32
    assert error(estimate.double(), exact) < 1e-3


def test_the_step_need_not_be_differentiable():
    """The step detaches phi, so autograd sees nothing: dF/dphi = 5 x 2 phi all the same."""

    def step(theta, opt_state, phi, data):
        with torch.no_grad():
            return theta + phi.detach() ** 2, opt_state

    problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: 5 * theta)
    gradient = FiniteDifference()(problem, double(0.0), None, double(3.0), steps=1).gradient
    torch.testing.assert_close(gradient, double(30.0), rtol=1e-8, atol=0)


def test_it_can_be_pickled():
    estimator = FiniteDifference(epsilon=0.1)
    assert pickle.loads(pickle.dumps(estimator)) == estimator


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epsilon": 0.0}, "epsilon must be a number above 0, or None, not 0.0"),
        ({"epsilon": math.inf}, "epsilon must be a number above 0, or None, not inf"),
        ({"max_entries": 0}, "max_entries must be at least 1, not 0"),
        ({"chunk_size": 0}, "chunk_size must be at least 1, not 0"),
    ],
)
def test_bad_settings(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        FiniteDifference(**settings)


def test_too_many_entries_are_refused(sharing):
    with pytest.raises(ValueError, match="each of the 18 entries of phi, and max_entries is 17"):
        run(FiniteDifference(max_entries=17), sharing, sgd(0.1), 1)
    run(FiniteDifference(max_entries=9, members=True), sharing, sgd(0.1), 1)


def test_a_step_that_remembers_is_refused():
    calls = []

    def step(theta, opt_state, phi, data):
        calls.append(theta)
        return theta + len(calls) * phi, opt_state

    problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    with pytest.raises(ValueError, match="The step is not a pure function"):
        FiniteDifference()(problem, double(0.0), None, double(1.0), steps=1)


def test_missing_paths_are_refused(network):
    with pytest.raises(ValueError, match="The inner loss does not depend on the outer variable"):
        of_scalar(FiniteDifference(), scalar(lambda t, p, d: t**2), double(1.0), double(1.0))
    blind = scalar(lambda t, p, d: (t - p) ** 2, lambda theta, phi, data: phi**2)
    with pytest.raises(ValueError, match="The outer loss does not depend on theta"):
        of_scalar(FiniteDifference(), blind, double(1.0), double(1.0))
    with pytest.raises(ValueError, match="must share their first axis"):
        run(FiniteDifference(members=True), network, sgd(0.1), 1)
    assert len(leaves(network.phi)) == 2
