"""Peak memory against sizes that are known beforehand."""

import gc

import pytest
import torch

from bilevel.core import inner_step
from bilevel.hypergradient import BilevelProblem, Forward, OneStep, Unrolled, measure_peak
from bilevel.optimizers import sgd

CPU = torch.device("cpu")
SIZE = 1000
BYTES = 8 * SIZE


def fresh() -> torch.Tensor:
    return torch.ones(SIZE, dtype=torch.float64)


def keep_all(count):
    return [fresh() for _ in range(count)]


def keep_none(count):
    for _ in range(count):
        fresh()


def views(count):
    whole = fresh()
    return [whole.view(10, -1)[k] for k in range(count)]


def in_place(count):
    whole = fresh()
    for _ in range(count):
        whole.mul_(2).add_(1)


def lists_alone(count):
    return torch.tensor([0.0] * SIZE * count, dtype=torch.float64)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (keep_all, 7 * BYTES),
        (keep_none, BYTES),
        (views, BYTES),
        (in_place, BYTES),
        (lists_alone, 7 * BYTES),
    ],
)
def test_known_sizes(run, expected):
    result, peak = measure_peak(lambda: run(7), CPU)
    del result
    assert peak == expected


def test_what_was_there_before_does_not_count():
    whole = fresh()

    def run():
        whole.add_(1)
        return whole.view(10, -1)[3:], whole + 0

    assert measure_peak(run, CPU)[1] == BYTES


def test_a_graph_keeps_what_it_saves_alive():
    """x -> sin -> exp -> sum: at the end of the forward pass the graph holds exp's result (and sin its input,
    which was there before); sin's own result is gone by then."""
    x = fresh().requires_grad_()

    def run():
        total = x.sin().exp().sum()
        assert total.requires_grad
        return total

    total, peak = measure_peak(run, CPU)
    assert peak == 2 * BYTES  # sin's result and exp's, or exp's and the sum's 8 bytes later
    del total


def test_a_peak_in_the_middle_is_found_and_what_follows_it_does_not_hide_it():
    def run():
        many = keep_all(5)
        del many
        gc.collect()
        return fresh()

    assert measure_peak(run, CPU)[1] == 5 * BYTES


def test_under_functional_transforms():
    def run():
        return torch.vmap(torch.func.grad(lambda x: (x**3).sum()))(torch.ones(10, SIZE, dtype=torch.float64))

    result, peak = measure_peak(run, CPU)
    assert 2 * 10 * BYTES <= peak <= 6 * 10 * BYTES
    assert result.shape == (10, SIZE)


def test_it_gives_the_result_and_the_same_number_again():
    first, second = (measure_peak(lambda: fresh().cumsum(0)[-1].item(), CPU) for _ in range(2))
    assert first == second
    assert first[0] == SIZE


def peak_of(estimator, steps, size=SIZE):
    inner = sgd(0.1)
    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: (phi * theta**2).sum(), inner),
        outer_loss=lambda theta, phi, data: theta.sum(),
    )
    theta, phi = torch.ones(size, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    state = inner.init(theta)
    return measure_peak(lambda: estimator(problem, theta, state, phi, steps=steps), CPU)[1]


def test_unrolled_keeps_one_theta_a_step_and_the_others_none():
    """Their memory laws: K theta, against a constant."""
    estimators = Unrolled(recompute=True), OneStep(), Forward()
    (few, many), one_step, forward = (
        [peak_of(estimator, steps) for steps in (20, 40)] for estimator in estimators
    )
    assert many - few == pytest.approx(20 * BYTES, rel=0.02)
    for first, second in (one_step, forward):
        assert second == pytest.approx(first, rel=0.02)
    assert forward[1] < many
