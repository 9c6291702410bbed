"""Evolution: right within its own interval, and as noisy as it says."""

import dataclasses
import math
import pickle

import pytest
import torch

import games
from bilevel.core import inner_step, tree_map
from bilevel.hypergradient import BilevelProblem, Evolution, Unrolled
from bilevel.hypergradient import _evolution as evolution
from bilevel.methods import METHODS, Placement, StepInputs
from bilevel.optimizers import adam, momentum, per_member, sgd

INNER = momentum(0.2, 0.5)


def double(numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def quadratic(outer=lambda theta: theta.square().sum(-1), optimizer=INNER, **more):
    """Inner: theta follows a linear map of phi. Outer: quadratic, so that smoothing does not change it."""
    mixing = double([[1.0, -0.5], [0.3, 2.0]])
    return BilevelProblem(
        step=inner_step(lambda theta, phi, data: (theta - phi @ mixing).square(), optimizer),
        outer_loss=lambda theta, phi, data: outer(theta - 1),
        **more,
    )


def identical(members):
    """One problem many times: many independent estimates in one call."""
    return double([0.5, -1.0]).expand(members, 2), double([1.0, 2.0]).expand(members, 2)


def run(estimator, problem, theta, phi, steps=3, optimizer=INNER):
    return estimator(problem, theta, optimizer.init(theta), phi, steps=steps)


@pytest.mark.parametrize("antithetic", [True, False])
def test_the_exact_gradient_lies_in_95_of_100_intervals(antithetic):
    theta, phi = identical(1000)
    exact = run(Unrolled(), quadratic(), theta, phi).gradient
    estimator = Evolution(samples=200, sigma=0.3, antithetic=antithetic, members=True)
    estimate = run(estimator, quadratic(), theta, phi)
    z = (estimate.gradient - exact) / estimate.standard_error
    inside = float((z.abs() < 1.96).double().mean())
    assert abs(inside - 0.95) < 0.02
    # The mean over all members is nearer by sqrt(1000), and must be unbiased at that scale, too.
    off = (estimate.gradient.mean(0) - exact[0]) / (estimate.gradient.std(0) / math.sqrt(1000))
    assert float(off.abs().max()) < 3
    spread = estimate.gradient.std(0) / estimate.standard_error.mean(0)
    torch.testing.assert_close(spread, torch.ones_like(spread), rtol=0.08, atol=0)


def test_it_is_the_gradient_of_the_smoothed_objective():
    """F = sin(phi): E sin(phi + sigma e) = exp(-sigma^2 / 2) sin(phi)."""
    problem = BilevelProblem(
        step=lambda theta, state, phi, data: (phi, state), outer_loss=lambda t, p, d: t.sin()
    )
    phi = double(0.4)
    estimate = Evolution(samples=20000, sigma=1.0)(problem, double(0.0), None, phi, steps=1)
    error = float(estimate.standard_error)
    assert abs(float(estimate.gradient) - math.exp(-0.5) * math.cos(0.4)) < 3 * error
    assert abs(float(estimate.gradient) - math.cos(0.4)) > 10 * error


def test_it_sees_a_jump():
    """F = 1 where phi > 0: the smoothed gradient is the normal density at phi / sigma, over sigma."""
    problem = BilevelProblem(
        step=lambda theta, state, phi, data: ((phi > 0).to(phi.dtype), state),
        outer_loss=lambda theta, phi, data: theta,
    )
    estimate = Evolution(samples=20000, sigma=0.5)(problem, double(0.0), None, double(0.2), steps=1)
    expected = math.exp(-0.5 * 0.4**2) / math.sqrt(2 * math.pi) / 0.5
    assert abs(float(estimate.gradient) - expected) < 3 * float(estimate.standard_error)


def test_pairs_lower_the_variance_where_the_objective_bends():
    theta, phi = identical(300)
    paired, unpaired = (
        run(
            Evolution(samples=32, sigma=4.0, antithetic=antithetic, members=True), quadratic(), theta, phi
        ).gradient
        for antithetic in (True, False)
    )
    assert bool((paired.var(0) < 0.7 * unpaired.var(0)).all())


def test_rank_shaping_ignores_rising_transforms_and_points_downhill():
    theta, phi = identical(1)
    shaped = Evolution(samples=400, sigma=0.1, rank_shaping=True)
    plain = run(shaped, quadratic(), theta, phi).gradient
    bent = run(shaped, quadratic(lambda theta: (theta.square().sum(-1) / 9).exp()), theta, phi).gradient
    torch.testing.assert_close(bent, plain, rtol=0, atol=0)
    exact = run(Unrolled(), quadratic(), theta, phi).gradient
    assert torch.cosine_similarity(plain.flatten(), exact.flatten(), dim=0) > 0.98


@pytest.mark.parametrize("fresh_data", [True, False])
@pytest.mark.parametrize("per_agent_objective", [True, False])
@pytest.mark.parametrize("rank_shaping", [True, False])
def test_a_batch_equals_its_members(sharing_of, monkeypatch, fresh_data, per_agent_objective, rank_shaping):
    def estimate(seeds, noise):
        monkeypatch.setattr(evolution, "draw_noise", lambda *_, **__: (noise,))
        setting = sharing_of(seeds)
        problem = setting.problem(adam(0.05), per_agent_objective=per_agent_objective)
        if per_agent_objective:
            problem = dataclasses.replace(
                problem, outer_loss=lambda *a: torch.stack((setting.outer_loss(*a), -2 * a[1].sum((-1, -2))))
            )
        data = [torch.cat([leaf] * (6 if fresh_data else 1)) for leaf in setting.data]
        problem = dataclasses.replace(
            problem, inner_data=lambda theta, phi, k: data[k][: theta["level"].shape[0]]
        )
        estimator = Evolution(samples=6, members=True, fresh_data=fresh_data, rank_shaping=rank_shaping)
        return run(estimator, problem, setting.theta, setting.phi, optimizer=adam(0.05)).gradient

    noise = torch.randn(3, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    batch = estimate([1, 2], noise)
    for place, seed in enumerate([1, 2]):
        alone = estimate([seed], noise[:, place : place + 1])
        axis = int(per_agent_objective)
        torch.testing.assert_close(batch.narrow(axis, place, 1), alone, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("optimizer", [adam(0.05), per_member(adam(0.05))], ids=["adam", "per member"])
def test_fresh_data_that_are_alike_change_nothing(optimizer):
    theta, phi = identical(3)
    problem = quadratic(optimizer=optimizer)
    shared, fresh = (
        run(
            Evolution(samples=8, members=True, fresh_data=fresh), problem, theta, phi, optimizer=optimizer
        ).gradient
        for fresh in (False, True)
    )
    torch.testing.assert_close(fresh, shared, rtol=1e-9, atol=1e-12)


def test_fresh_data_follow_the_policy_and_shared_data_do_not():
    """theta' = data + phi, and the data are theta: dF/dphi = K, of which shared data show the last step."""
    problem = BilevelProblem(
        step=lambda theta, state, phi, data: (data + phi, state),
        outer_loss=lambda theta, phi, data: theta,
        inner_data=lambda theta, phi, k: theta.clone(),
    )
    theta, phi = double([0.0, 1.0]), double([2.0, 3.0])
    shared, fresh = (
        Evolution(samples=8, members=True, fresh_data=fresh)(problem, theta, None, phi, steps=5).gradient
        for fresh in (False, True)
    )
    torch.testing.assert_close(fresh, 5 * shared, rtol=1e-10, atol=0)


def test_fresh_data_are_drawn_for_each_sample_of_each_member():
    seen = []

    def draw(theta, phi, *k):
        seen.append((*k, theta.shape[0], phi.shape[0]))

    theta, phi = identical(3)
    problem = quadratic(inner_data=draw, outer_data=draw)
    run(Evolution(samples=4, members=True, fresh_data=True), problem, theta, phi, steps=2)
    assert seen == [(0, 3, 3), (1, 3, 3), (3, 3), (0, 12, 12), (1, 12, 12), (12, 12)]
    seen.clear()
    run(Evolution(samples=4), problem, theta, phi, steps=2)
    assert seen == [(0, 3, 3), (1, 3, 3), (3, 3)]


def test_members_have_their_own_estimates_without_the_noise_of_others():
    theta, phi = identical(50)
    together, apart = (
        run(Evolution(samples=64, members=members), quadratic(), theta, phi) for members in (False, True)
    )
    assert float(apart.standard_error.mean()) < 0.3 * float(together.standard_error.mean())


def test_objectives_share_the_draws():
    outers = [lambda theta: theta.square().sum(-1), lambda theta: theta.sum(-1) ** 3]
    theta, phi = identical(2)
    both = quadratic(lambda theta: torch.stack([outer(theta) for outer in outers]), per_agent_objective=True)
    for members in (True, False):
        estimator = Evolution(samples=8, members=members)
        several = run(estimator, both, theta, phi)
        for place, outer in enumerate(outers):
            alone = run(estimator, quadratic(outer), theta, phi)
            torch.testing.assert_close(several.gradient[place], alone.gradient, rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(several.standard_error[place], alone.standard_error)


def test_a_nest_of_outer_variables(network, error):
    exact = run(Unrolled(), network.problem(INNER), network.theta, network.phi)
    estimate = run(Evolution(samples=4000, sigma=0.01), network.problem(INNER), network.theta, network.phi)
    assert error(estimate.gradient, exact.gradient) < 0.1
    assert estimate.gradient.keys() == estimate.standard_error.keys() == network.phi.keys()
    tree_map(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), estimate.theta, exact.theta)
    tree_map(
        lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), estimate.opt_state, exact.opt_state
    )
    torch.testing.assert_close(estimate.outer_loss, exact.outer_loss, rtol=0, atol=0)
    assert len(estimate.inner_data) == 3


def test_single_precision(sharing, error):
    single = sharing.to(torch.float32)
    estimate = run(Evolution(samples=4000, members=True), single.problem(INNER), single.theta, single.phi)
    exact = run(Unrolled(), sharing.problem(INNER), sharing.theta, sharing.phi)
    assert estimate.gradient.dtype == estimate.standard_error.dtype == torch.float32
    assert error(estimate.gradient.double(), exact.gradient) < 0.1


def test_it_is_pure_and_draws_afresh_when_anything_moved():
    theta, phi = identical(1)
    estimator = Evolution(samples=8)
    first = run(estimator, quadratic(), theta, phi).gradient
    torch.testing.assert_close(
        run(pickle.loads(pickle.dumps(estimator)), quadratic(), theta, phi).gradient, first, rtol=0, atol=0
    )
    for moved in (
        run(dataclasses.replace(estimator, seed=1), quadratic(), theta, phi),
        run(estimator, quadratic(), theta + 1e-12, phi),
        run(estimator, quadratic(), theta, phi + 1e-12),
    ):
        assert (moved.gradient - first).abs().min() > 1e-6


def test_one_pair_knows_no_error():
    theta, phi = identical(1)
    estimate = run(Evolution(samples=2), quadratic(), theta, phi)
    assert estimate.gradient.isfinite().all()
    assert estimate.standard_error.isnan().all()


def test_a_derivative_of_zero_is_not_refused():
    theta, phi = identical(1)
    flat = quadratic(lambda theta: theta.sum(-1).clamp(min=100))
    assert not run(Evolution(samples=8), flat, theta, phi).gradient.any()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"samples": 1}, "samples must be at least 2, not 1"),
        ({"samples": 5}, "samples must be even with antithetic=True, as they come in pairs, not 5"),
        ({"sigma": 0.0}, "sigma must be a number above 0, not 0.0"),
        ({"sigma": math.nan}, "sigma must be a number above 0, not nan"),
        ({"fresh_data": True}, "fresh_data=True needs members=True"),
    ],
)
def test_bad_settings(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        Evolution(**settings)


def test_an_odd_number_without_pairs_is_welcome():
    theta, phi = identical(1)
    assert run(Evolution(samples=3, antithetic=False), quadratic(), theta, phi).gradient.shape == (1, 2)


def test_an_outer_variable_without_effect_is_refused():
    theta, phi = identical(1)
    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: theta.square(), INNER), outer_loss=lambda t, p, d: t.sum()
    )
    with pytest.raises(ValueError, match=r"No perturbation of phi \(\(itself\)\) changed"):
        run(Evolution(samples=4), problem, theta, phi)


def test_leaves_without_a_common_axis_of_members_are_refused():
    theta, _ = identical(2)
    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: (theta - phi.sum()).square(), sgd(0.1)),
        outer_loss=lambda theta, phi, data: theta.sum(-1),
    )
    with pytest.raises(
        ValueError, match=r"must share their first axis, but they begin with \(2,\) and \(4,\)"
    ):
        run(Evolution(members=True), problem, theta, torch.ones(4).double(), optimizer=sgd(0.1))
    with pytest.raises(ValueError, match=r"begin with \(\) and \(2,\)"):
        run(Evolution(members=True), problem, theta, double(1.0), optimizer=sgd(0.1))


@pytest.mark.parametrize("fresh_data", [True, False])
def test_a_loss_without_members_is_refused(fresh_data):
    theta, phi = identical(2)
    estimator = Evolution(samples=4, members=True, fresh_data=fresh_data)
    with pytest.raises(ValueError, match="must have a value for each of"):
        run(estimator, quadratic(lambda theta: theta.sum()), theta, phi)


def test_a_state_without_members_is_refused():
    theta, phi = identical(2)
    problem = BilevelProblem(
        step=lambda theta, state, phi, data: (theta + phi, state), outer_loss=lambda t, p, d: t.sum(-1)
    )
    with pytest.raises(
        ValueError, match=r"have 2 members in its first axis, but leaf trace has shape \(3,\)"
    ):
        Evolution(members=True, fresh_data=True)(problem, theta, {"trace": torch.ones(3)}, phi, steps=1)


def test_several_objectives_need_an_axis():
    theta, phi = identical(1)
    with pytest.raises(ValueError, match=r"must have shape \[objective, ...\], but it is a single number"):
        run(Evolution(), quadratic(lambda theta: theta.sum(), per_agent_objective=True), theta, phi)


def test_a_surrogate_whose_value_is_blind_to_theta_is_refused():
    """DiCE on data drawn once: exp(x - x.detach()) is 1 whatever theta is; its derivative is not 0."""

    def outer(theta):
        log = theta.sum(-1)
        return torch.exp(log - log.detach()) * 3

    theta, phi = identical(2)
    paid = BilevelProblem(
        step=quadratic().step, outer_loss=lambda theta, phi, data: outer(theta) + phi.square().sum(-1)
    )
    for problem in (quadratic(outer), paid):
        with pytest.raises(ValueError, match="its value does not change with theta"):
            run(Evolution(samples=4), problem, theta, phi)


def test_a_step_that_remembers_is_refused():
    calls = []

    def step(theta, opt_state, phi, data):
        calls.append(theta)
        return theta + len(calls) * phi, opt_state

    problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    with pytest.raises(ValueError, match="The step is not a pure function"):
        Evolution()(problem, double(0.0), None, double(1.0), steps=2)


def test_sampled_games_with_fresh_data():
    """Prisoners who learn from sampled episodes: evolution agrees with the walk back through DiCE."""
    settings = {"inner.exact": False, "inner.surrogate": "dice", "inner.episodes": 64}
    method = METHODS["tos"]().with_settings(settings)
    learner = method.build(games.make("prisoners-dilemma"), Placement(seeds=100))
    state, bonus = learner.init(0), torch.tensor(0.0)

    def gradient(estimator):
        problem = learner.problem(torch.Generator().manual_seed(0), StepInputs((), bonus))
        start = state["theta"], state["opt_state"], state["phi"]
        return estimator(problem, *start, steps=1).gradient[..., 0]

    exact, estimate = (
        gradient(estimator)
        for estimator in (Unrolled(), Evolution(samples=64, sigma=0.3, members=True, fresh_data=True))
    )
    difference = estimate - exact
    assert bool((difference.mean(0).abs() < 3 * difference.std(0) / 10).all())
    assert bool((exact.mean(0).abs() > 3 * difference.std(0) / 10).any())
    with pytest.raises(ValueError, match="its value does not change with theta"):
        gradient(Evolution(samples=4, members=True))
