"""The window that slides: truncated back-propagation through time while phi moves."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bilevel import optimizers
from bilevel.core import inner_step, leaves, tree_map
from bilevel.experiments import load_checkpoint
from bilevel.experiments._checkpoint import Checkpoint, save_checkpoint
from bilevel.hypergradient import (
    BilevelProblem,
    Truncated,
    Unrolled,
    check_hypergradient,
    format_hypergradient,
    make_hypergradient,
)
from bilevel.hypergradient._truncated import StepWindow
from bilevel.optimizers import sgd


def close(found, expected, tolerance=1e-12):
    tree_map(lambda a, b: torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance), found, expected)


def same_bits(found, expected):
    tree_map(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), found, expected)


def online(setting, optimizer, phis, estimator, steps, per_agent_objective=False):
    """Learn without a break, K steps with each phi, each with data of its own: estimates and windows."""
    theta, opt_state, window, found = setting.theta, optimizer.init(setting.theta), None, []
    for turn, phi in enumerate(phis):
        data = [setting.data[(turn * steps + k) % len(setting.data)] for k in range(steps)]
        problem = setting._replace(data=data).problem(optimizer, per_agent_objective=per_agent_objective)
        estimate, window = estimator.estimate(problem, theta, opt_state, phi, window, steps=steps)
        theta, opt_state = estimate.theta, estimate.opt_state
        found.append((estimate, window))
    return found


def moving(phi, turns):
    """Outer variables that move from turn to turn."""
    return [tree_map(lambda leaf, t=t: leaf + 0.3 * t * torch.cos(leaf), phi) for t in range(turns)]


OPTIMIZERS = {
    "sgd": lambda: sgd(0.1),
    "adam": lambda: optimizers.adam(0.05),
    "momentum": lambda: optimizers.momentum(0.1),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize(("steps", "window"), [(1, 4), (2, 5), (2, 6), (3, 3), (3, 2), (1, 99), (3, 4)])
def test_autograd_through_the_last_steps_with_the_phis_they_had(setting, make, steps, window):
    """One shift, added to the phi of every step in the window; the derivative by it, by one backward pass."""
    turns, optimizer = 5, make()
    phis = moving(setting.phi, turns)
    estimates = online(setting, optimizer, phis, Truncated(steps=window, window=True), steps)
    states = [(setting.theta, optimizer.init(setting.theta))]
    step = setting.problem(optimizer).step
    for t in range(turns * steps):
        states.append(step(*states[-1], phis[t // steps], setting.data[t % len(setting.data)]))
    for turn, (estimate, _) in enumerate(estimates):
        end = (turn + 1) * steps
        first = max(0, end - window)
        shift = tree_map(lambda leaf: torch.zeros_like(leaf).requires_grad_(), setting.phi)
        theta, opt_state = states[first]
        for t in range(first, end):
            shifted = tree_map(torch.add, phis[t // steps], shift)
            theta, opt_state = step(theta, opt_state, shifted, setting.data[t % len(setting.data)])
        total = setting.outer_loss(theta, tree_map(torch.add, phis[turn], shift), None).sum()
        flat = iter(torch.autograd.grad(total, leaves(shift)))
        close(estimate.gradient, tree_map(lambda leaf, flat=flat: next(flat), shift), 1e-11)
        close((estimate.theta, estimate.opt_state), states[end], 1e-13)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_all_of_it_while_phi_stands_still_is_the_whole_unroll(setting, error, steps):
    optimizer = optimizers.adam(0.05)
    last, _ = online(
        setting, optimizer, [setting.phi] * (8 // steps), Truncated(steps=8, window=True), steps
    )[-1]
    whole = Unrolled()(
        setting.problem(optimizer), setting.theta, optimizer.init(setting.theta), setting.phi, steps=8
    )
    assert error(last.gradient, whole.gradient) == 0
    same_bits(last.theta, whole.theta)


RATES = st.floats(0.05, 0.9)


@given(
    rate=RATES,
    phis=st.lists(st.floats(-2, 2), min_size=1, max_size=7),
    steps=st.integers(1, 3),
    window=st.integers(1, 9),
    start=st.floats(-2, 2),
)
@settings(max_examples=40)
def test_a_quadratic_in_closed_form(rate, phis, steps, window, start):
    """theta' = theta - a phi (theta - 1): with c_t = a (theta_t - 1) and q_t = 1 - a phi_t (derived),

    d theta_T / d shift = -sum over the window of c_t q_t+1 ... q_T-1.
    """
    inner = sgd(rate)
    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: phi * (theta - 1) ** 2 / 2, inner),
        outer_loss=lambda theta, phi, data: theta,
    )
    estimator, past = Truncated(steps=window, window=True), None
    theta = torch.tensor(start, dtype=torch.float64)
    opt_state, slopes, factors = inner.init(theta), [], []
    for phi in phis:
        theta_t = float(theta)
        for _ in range(steps):
            slopes.append(-rate * (theta_t - 1))
            factors.append(1 - rate * phi)
            theta_t -= rate * phi * (theta_t - 1)
        expected, factor = 0.0, 1.0
        for slope, q in list(zip(slopes, factors, strict=True))[: -window - 1 : -1]:
            expected += slope * factor
            factor *= q
        phi = torch.tensor(phi, dtype=torch.float64)
        estimate, past = estimator.estimate(problem, theta, opt_state, phi, past, steps=steps)
        theta, opt_state = estimate.theta, estimate.opt_state
        assert float(theta) == pytest.approx(theta_t, rel=1e-12, abs=1e-12)
        assert float(estimate.gradient) == pytest.approx(expected, rel=1e-10, abs=1e-10)


def test_several_objectives_share_the_window(sharing, error):
    reference = sharing.outer_loss

    def objectives(theta, phi, data):
        return torch.stack((reference(theta, phi, data), theta["level"].square().sum(-1)))

    estimator, optimizer, phis = (
        Truncated(steps=5, window=True),
        optimizers.adam(0.05),
        moving(sharing.phi, 4),
    )
    both, _ = online(
        sharing._replace(outer_loss=objectives), optimizer, phis, estimator, 2, per_agent_objective=True
    )[-1]
    assert both.gradient.shape == (2, *sharing.phi.shape)
    for place in range(2):
        alone = sharing._replace(outer_loss=lambda t, p, d, place=place: objectives(t, p, d)[place])
        expected, _ = online(alone, optimizer, phis, estimator, 2)[-1]
        assert error(both.gradient[place], expected.gradient) < 1e-12


def test_without_a_window_before_it_is_plainly_truncated(network):
    optimizer = optimizers.adam(0.05)
    start = (network.problem(optimizer), network.theta, optimizer.init(network.theta), network.phi)
    expected = Truncated(steps=3)(*start, steps=5)
    found, window = Truncated(steps=3, window=True).estimate(*start, steps=5)
    assert isinstance(window, StepWindow)
    assert window.steps == ()
    same_bits((found.gradient, found.theta), (expected.gradient, expected.theta))
    empty = Truncated(steps=9, window=True).init(*start, steps=5)
    same_bits(
        Truncated(steps=9, window=True).estimate(*start, empty, steps=5)[0].gradient,
        Unrolled()(*start, steps=5).gradient,
    )
    assert check_hypergradient(*start, steps=4, estimator=Truncated(steps=4, window=True)).passed


def test_the_window_holds_the_last_steps(network):
    """k = 5, K = 2: three steps, from when they were taken; and nothing of it is the caller's own tensor."""
    optimizer = optimizers.momentum(0.1)
    phis = moving(network.phi, 3)
    estimates, windows = zip(
        *online(network, optimizer, phis, Truncated(steps=5, window=True), 2), strict=True
    )
    assert [int(window.filled) for window in windows] == [2, 3, 3]
    assert all(len(window.steps) == 3 for window in windows)
    last = windows[-1].steps
    same_bits([step.phi for step in last], [phis[1], phis[2], phis[2]])
    same_bits([step.data for step in last], network.data[3:6])
    same_bits((last[1].theta, last[1].opt_state), (estimates[1].theta, estimates[1].opt_state))
    own = {leaf.data_ptr() for leaf in leaves(phis) + leaves([estimate.theta for estimate in estimates])}
    assert own.isdisjoint(leaf.data_ptr() for step in last for leaf in leaves((step.theta, step.phi)))


def test_phi_may_be_changed_in_place():
    """As an optimizer of torch's does with a Parameter."""
    inner = sgd(0.3)
    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: phi * (theta - 1) ** 2 / 2, inner),
        outer_loss=lambda theta, phi, data: theta.square(),
    )

    def run(in_place):
        theta, phi, window = torch.tensor(2.0), torch.nn.Parameter(torch.tensor(0.5)), None
        estimator = Truncated(steps=3, window=True)
        opt_state = inner.init(theta)
        for _ in range(4):
            estimate, window = estimator.estimate(problem, theta, opt_state, phi, window, steps=1)
            opt_state = estimate.opt_state
            with torch.no_grad():
                if in_place:
                    theta.copy_(estimate.theta)
                    phi.sub_(0.1 * estimate.gradient)
                else:
                    theta, phi = estimate.theta, phi - 0.1 * estimate.gradient
        return estimate.gradient

    same_bits(run(in_place=True), run(in_place=False))


def test_a_window_is_saved_and_goes_on_to_the_same_bits(network, tmp_path):
    optimizer, estimator = optimizers.adam(0.05), Truncated(steps=7, window=True)
    problem, phis = network.problem(optimizer), moving(network.phi, 6)

    def start():
        opt_state = optimizer.init(network.theta)
        window = estimator.init(problem, network.theta, opt_state, phis[0], steps=2)
        return {"theta": network.theta, "opt_state": opt_state, "estimator": window}

    def go_on(state, turns):
        gradients = []
        for phi in turns:
            start = state["theta"], state["opt_state"], phi, state["estimator"]
            estimate, window = estimator.estimate(problem, *start, steps=2)
            state = {"theta": estimate.theta, "opt_state": estimate.opt_state, "estimator": window}
            gradients.append(estimate.gradient)
        return state, gradients

    for stop in (1, 4):
        state, _ = go_on(start(), phis[:stop])
        save_checkpoint(tmp_path / "checkpoint", Checkpoint(state, {}, 0.0))
        loaded = load_checkpoint(tmp_path / "checkpoint", start()).state
        assert isinstance(loaded["estimator"], StepWindow)
        same_bits(go_on(loaded, phis[stop:]), go_on(state, phis[stop:]))
        same_bits(go_on(pickle.loads(pickle.dumps(state)), phis[stop:]), go_on(state, phis[stop:]))


def test_a_window_from_elsewhere_is_refused(network):
    optimizer, estimator = optimizers.adam(0.05), Truncated(steps=4, window=True)
    problem, state = network.problem(optimizer), optimizer.init(network.theta)
    first, window = estimator.estimate(problem, network.theta, state, network.phi, steps=2)
    with pytest.raises(ValueError, match="state does not lead to this theta and opt_state"):
        estimator.estimate(problem, network.theta, state, network.phi, window, steps=2)
    after = first.theta, first.opt_state, network.phi
    with pytest.raises(ValueError, match="With K = 3 a window of 4 steps reaches 1 steps into the past"):
        estimator.estimate(problem, *after, window, steps=3)
    with pytest.raises(ValueError, match="Truncated has a state with window=True alone"):
        Truncated(steps=4).estimate(problem, *after, window, steps=2)
    assert Truncated(steps=4).init(problem, *after, steps=2) is None
    with pytest.raises(ValueError, match="The state of Truncated is a StepWindow, not tuple"):
        estimator.estimate(problem, *after, (), steps=2)


def test_steps_are_tensors():
    inner = sgd(0.1)
    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: phi * theta * data["scale"], inner),
        outer_loss=lambda theta, phi, data: theta,
        inner_data=lambda theta, phi, k: {"scale": 2.0},
    )
    one = torch.tensor(1.0)
    with pytest.raises(ValueError, match="A window holds tensors only, but leaf scale of data is float"):
        Truncated(steps=4, window=True)(problem, one, inner.init(one), one, steps=2)


@pytest.mark.parametrize(
    "bounds",
    [{"segments": 2}, {"memory_budget": "1MB"}, {"keep_dtype": "float32"}, {"offload": True}],
)
def test_a_window_goes_with_no_bounds(bounds):
    with pytest.raises(ValueError, match="window=True excludes segments, levels, memory_budget, keep_dtype"):
        Truncated(steps=4, window=True, **bounds)


def test_a_window_is_written_as_text():
    estimator = make_hypergradient("truncated(steps=20, window=True)")
    assert estimator == Truncated(steps=20, window=True)
    assert make_hypergradient(format_hypergradient(estimator)) == estimator
