"""Draws, ranks, slopes and intervals of the estimators that use values alone."""

import pytest
import torch
import torchopt
from hypothesis import given, settings
from hypothesis import strategies as st

from bilevel.core import leaves, split_floating, tree_map
from bilevel.hypergradient._smoothing import (
    centered_ranks,
    draw_noise,
    learn_samples,
    mean_along,
    perturb,
    slopes,
    total_losses,
)
from bilevel.optimizers import adam, momentum

# TorchOpt's second moments, which torch batches as a loop; see `learn_samples`.
SLOW_BATCH = pytest.mark.filterwarnings("ignore:There is a performance drop")

NUMBERS = st.lists(st.integers(-5, 5).map(float), min_size=2, max_size=12)


def double(numbers):
    return torch.tensor(numbers, dtype=torch.float64)


@given(values=NUMBERS)
@settings(max_examples=50)
def test_ranks_ignore_rising_transforms_and_sum_to_zero(values):
    ranks = centered_ranks(double(values))
    torch.testing.assert_close(centered_ranks(double(values).exp() - 7), ranks, rtol=0, atol=0)
    torch.testing.assert_close(centered_ranks(-double(values)), -ranks, rtol=0, atol=1e-15)
    assert abs(float(ranks.sum())) < 1e-12


@given(values=NUMBERS)
@settings(max_examples=50)
def test_ranks_count_how_many_are_below(values):
    expected = [
        (sum(b < a for b in values) + (sum(b == a for b in values) - 1) / 2) / (len(values) - 1) - 0.5
        for a in values
    ]
    torch.testing.assert_close(centered_ranks(double(values)), double(expected), rtol=0, atol=1e-15)


def test_ranks_are_taken_along_the_first_axis_and_show_what_is_missing():
    ranks = centered_ranks(double([[1.0, 9.0], [2.0, torch.nan], [torch.inf, 7.0]]))
    torch.testing.assert_close(ranks[:, 0], double([-0.5, 0.0, 0.5]))
    assert ranks[:, 1].isnan().all()


def test_slopes_without_pairs_leave_each_sample_out_of_its_baseline():
    values = double([1.0, 4.0, 10.0])
    torch.testing.assert_close(
        slopes(values, 0.5, antithetic=False), double([1 - 7, 4 - 5.5, 10 - 2.5]) / 0.5
    )
    torch.testing.assert_close(slopes(values[[0, 1]], 0.5, antithetic=True), double([-3.0]))


def test_the_mean_and_its_error_are_those_of_the_contributions():
    generator = torch.Generator().manual_seed(0)
    phi = {"a": torch.zeros(3, 2), "b": torch.zeros(3)}
    steepness = torch.randn(7, 2, 3, generator=generator)
    noise = draw_noise(phi, 7, seed=0)
    mean, error = mean_along(steepness, noise, phi, per_agent_objective=True)
    each = torch.einsum("dom,dmp->domp", steepness, noise[0])
    torch.testing.assert_close(mean["a"], each.mean(0))
    torch.testing.assert_close(error["a"], each.std(0) / 7**0.5)
    assert mean["b"].shape == error["b"].shape == (2, 3)


def test_draws_are_named_by_seed_and_bits():
    phi, theta = {"a": torch.zeros(2), "b": torch.zeros(3)}, torch.zeros(1)
    first = draw_noise(phi, 5, 0, theta)
    assert [leaf.shape for leaf in first] == [(5, 2), (5, 3)]
    again = draw_noise(tree_map(torch.clone, phi), 5, 0, theta.clone())
    assert all(map(torch.equal, first, again))
    moved = {"a": torch.zeros(2), "b": torch.tensor([0.0, 1e-30, 0.0])}
    for other in (
        draw_noise(phi, 5, 1, theta),
        draw_noise(moved, 5, 0, theta),
        draw_noise(phi, 5, 0, theta + 1),
    ):
        assert not torch.equal(first[0], other[0])


def test_draws_are_standard_normal():
    noise = draw_noise(torch.zeros(100, dtype=torch.float64), 1000, seed=3)[0]
    assert abs(float(noise.mean())) < 4 / 100000**0.5
    assert abs(float(noise.var()) - 1) < 4 * (2 / 100000) ** 0.5


@SLOW_BATCH
@pytest.mark.parametrize(
    "optimizer",
    [momentum(0.1), adam(0.05), torchopt.adam(0.05), torchopt.rmsprop(0.02), torchopt.adamax(0.05)],
    ids=["momentum", "adam", "torchopt adam", "torchopt rmsprop", "torchopt adamax"],
)
def test_the_batch_of_samples_is_a_loop_over_samples(setting, optimizer):
    problem = setting.problem(optimizer)
    start = setting.theta, optimizer.init(setting.theta)
    phis = perturb(setting.phi, draw_noise(setting.phi, 2, 0), 0.3, antithetic=True)
    rebuild = split_floating(setting.phi)[1]
    data = tuple(setting.data[:3])
    ends, losses = learn_samples(problem, start, setting.phi, (None, phis), data, None)
    for k in range(4):
        phi, state = rebuild([leaf[k] for leaf in phis]), start
        for seen in data:
            state = problem.step(*state, phi, seen)
        for batched, alone in zip(ends, split_floating(state)[0], strict=True):
            torch.testing.assert_close(batched[k], alone, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(losses[k], problem.outer_loss(state[0], phi, None), rtol=1e-12, atol=0)
    for leaf, ahead in zip(leaves(setting.phi), phis, strict=True):
        torch.testing.assert_close(ahead[:2] + ahead[2:], (2 * leaf).expand(2, *leaf.shape))


@pytest.mark.parametrize(
    ("shape", "per_agent_objective", "members", "expected"),
    [
        ((4,), False, None, (4, 1, 1)),
        ((4, 5, 6), False, None, (4, 1, 1)),
        ((4, 2), True, None, (4, 2, 1)),
        ((4, 2, 3, 6), True, None, (4, 2, 1)),
        ((4, 3), False, 3, (4, 1, 3)),
        ((4, 3, 6), False, 3, (4, 1, 3)),
        ((4, 2, 3), True, 3, (4, 2, 3)),
        ((4, 2, 3, 6), True, 3, (4, 2, 3)),
    ],
)
def test_losses_are_summed_over_all_but_objectives_and_members(shape, per_agent_objective, members, expected):
    losses = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    total = total_losses(losses, per_agent_objective=per_agent_objective, members=members)
    assert total.shape == expected
    torch.testing.assert_close(total.sum((1, 2)), losses.reshape(4, -1).sum(-1))
