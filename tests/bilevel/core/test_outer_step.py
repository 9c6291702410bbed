"""The outer step: the same for functional optimizers, for torch's own, and for groups of either."""

import pytest
import torch

from bilevel.core import init_outer, outer_step, tree_map
from bilevel.optimizers import adam


def run(optimizer, phi, steps=3):
    state = init_outer(phi, optimizer)
    for step in range(steps):
        gradient = tree_map(lambda x, step=step: (x.detach() - 2) * (step + 1), phi)
        phi, state = outer_step(phi, gradient, state, optimizer)
    return phi


def test_groups_equal_their_members_alone_and_torch():
    start = {"a": torch.tensor([0.5, 4.0]).double(), "b": torch.tensor(1.0).double()}
    rates = {"a": 0.3, "b": 0.01}
    together = run({name: adam(rate) for name, rate in rates.items()}, start)
    for name, rate in rates.items():
        torch.testing.assert_close(together[name], run(adam(rate), start[name]), rtol=0, atol=0)
        parameter = torch.nn.Parameter(start[name].clone())
        (moved,) = run(torch.optim.Adam([parameter], lr=rate), [parameter])
        assert moved is parameter
        assert parameter.grad is None
        torch.testing.assert_close(parameter.detach(), together[name])


def test_a_parameter_without_a_gradient_stays():
    moved, stays = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    decaying = torch.optim.SGD([moved, stays], lr=0.5, weight_decay=0.5)
    outer_step([moved, stays], [torch.ones(1), None], None, decaying, lambda phi: phi)
    assert (moved.item(), stays.item()) == (0.25, 1.0)


def test_other_groups_are_refused():
    with pytest.raises(ValueError, match="There are outer optimizers for a, but phi's groups are b"):
        outer_step({"b": torch.ones(1)}, {"b": torch.ones(1)}, {"a": None}, {"a": adam(0.1)})
