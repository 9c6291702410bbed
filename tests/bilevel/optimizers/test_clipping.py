"""Clipping: values, derivatives, members."""

import pytest
import torch
import torchopt
from hypothesis import given
from hypothesis import strategies as st

from bilevel.core import leaves, tree_map
from bilevel.optimizers import adam, chain, clip_by_norm, clip_by_value, momentum, per_member, sgd

NUMBERS = st.floats(-1e3, 1e3, allow_subnormal=False)


def apply(transformation, updates):
    return transformation.update(updates, transformation.init(updates))[0]


@given(st.lists(NUMBERS, min_size=4, max_size=4), st.floats(0.01, 100))
def test_the_norm_is_over_all_leaves_and_at_most_the_limit(numbers, max_norm):
    gradient = torch.tensor(numbers, dtype=torch.float64)
    clipped = apply(clip_by_norm(max_norm), {"a": gradient[:1], "b": gradient[1:].reshape(3, 1)})
    clipped = torch.cat((clipped["a"], clipped["b"].flatten()))
    norm = gradient.norm()
    expected = gradient if norm <= max_norm else gradient * max_norm / norm
    torch.testing.assert_close(clipped, expected, rtol=1e-12, atol=1e-300)


@given(st.lists(NUMBERS, min_size=12, max_size=12))
def test_a_batch_equals_its_members(numbers):
    batch = torch.tensor(numbers, dtype=torch.float64).reshape(2, 2, 3)
    members = torch.stack([apply(clip_by_norm(1.0), row) for row in batch.reshape(4, 3)]).reshape(2, 2, 3)
    torch.testing.assert_close(apply(clip_by_norm(1.0, batch_dims=2), batch), members, rtol=1e-14, atol=0)
    torch.testing.assert_close(apply(per_member(clip_by_norm(1.0), 2), batch), members, rtol=1e-14, atol=0)


def test_the_derivative_goes_through_the_coefficient():
    """Of g / |g|: (I - g g' / |g|^2) / |g|; torchopt's takes |g| for a constant and keeps I / |g|."""
    gradient = torch.tensor([3.0, 4.0], dtype=torch.float64)
    unit = gradient / 5
    jacobian = torch.func.jacrev(lambda g: apply(clip_by_norm(1.0), g))(gradient)
    torch.testing.assert_close(jacobian, (torch.eye(2) - torch.outer(unit, unit)) / 5, rtol=1e-12, atol=1e-15)
    inside = torch.func.jacrev(lambda g: apply(clip_by_norm(10.0), g))(gradient)
    torch.testing.assert_close(inside, torch.eye(2, dtype=torch.float64), rtol=0, atol=0)


def test_a_gradient_of_zero_has_a_derivative():
    zero = torch.zeros(2, dtype=torch.float64)
    jacobian = torch.func.jacrev(lambda g: apply(clip_by_norm(1.0), g))(zero)
    torch.testing.assert_close(jacobian, torch.eye(2, dtype=torch.float64), rtol=0, atol=0)


def test_clip_by_value_and_its_derivative():
    gradient = torch.tensor([-2.0, 0.5, 2.0])
    torch.testing.assert_close(apply(clip_by_value(1.0), gradient), torch.tensor([-1.0, 0.5, 1.0]))
    jacobian = torch.func.jacrev(lambda g: apply(clip_by_value(1.0), g))(gradient)
    torch.testing.assert_close(jacobian, torch.diag(torch.tensor([0.0, 1.0, 0.0])))


@pytest.mark.parametrize(
    "inner",
    [sgd(0.1), momentum(0.1), adam(0.1), torchopt.adam(0.1)],
    ids=["sgd", "momentum", "adam", "torchopt"],
)
def test_per_member_changes_nothing_for_what_does_not_mix(inner):
    generator = torch.Generator().manual_seed(0)
    theta = {"w": torch.randn(2, 3, 4, generator=generator), "b": torch.randn(2, 3, generator=generator)}
    whole, alone = inner, per_member(inner, 2)
    state, states = whole.init(theta), alone.init(theta)
    for _ in range(3):
        expected, state = whole.update(theta, state, params=theta, inplace=False)
        got, states = alone.update(theta, states, params=theta, inplace=False)
        tree_map(lambda a, b: torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7), got, expected)
    assert all(leaf.shape[:2] == (2, 3) for leaf in leaves(states))


def test_per_member_separates_what_mixes():
    gradient = torch.tensor([[3.0, 4.0], [30.0, 40.0]])
    clip = torchopt.clip_grad_norm(1.0)
    expected = torch.tensor([[0.6, 0.8], [0.6, 0.8]])
    torch.testing.assert_close(apply(per_member(clip), gradient), expected, rtol=1e-5, atol=0)
    mixed, _ = clip.update(gradient, clip.init(gradient), inplace=False)
    assert not torch.allclose(mixed, expected, rtol=0.1)


def test_a_chain_runs_in_order():
    gradient = torch.tensor([3.0, 4.0])
    clip_first = apply(chain(clip_by_norm(1.0), sgd(10.0)), gradient)
    clip_last = apply(chain(sgd(10.0), clip_by_norm(1.0)), gradient)
    torch.testing.assert_close(clip_first, torch.tensor([-6.0, -8.0]))
    torch.testing.assert_close(clip_last, torch.tensor([-0.6, -0.8]))
