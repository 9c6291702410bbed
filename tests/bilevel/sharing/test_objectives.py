"""Costs and objectives, by hand and against separate gradients."""

import math

import pytest
import torch

from bilevel.sharing import COSTS, OBJECTIVES, Sharing, identity_sharing
from bilevel.sharing._objectives import given_away, kl_to_keeping


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_costs_count_what_is_not_kept() -> None:
    sharing = torch.tensor([[[0.5, 0.5], [0.0, 1.0]], [[0.2, 0.8], [0.9, 0.1]]], dtype=torch.float64)
    l1 = torch.tensor([[0.5, 0.0], [0.8, 0.9]], dtype=torch.float64)
    kl = torch.tensor([[math.log(2), 0.0], [math.log(5), math.log(10)]], dtype=torch.float64)
    torch.testing.assert_close(given_away(sharing), l1, rtol=0, atol=1e-15)
    torch.testing.assert_close(kl_to_keeping(sharing), kl, rtol=0, atol=1e-15)


def test_kl_is_the_divergence_from_keeping_everything() -> None:
    sharing = (2 * draw(5, 3, 3)).softmax(-1)
    keeping = identity_sharing(3).expand_as(sharing)
    divergence = torch.nn.functional.kl_div(sharing.log(), keeping, reduction="none").sum(-1)
    torch.testing.assert_close(kl_to_keeping(sharing), divergence, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(COSTS))
def test_keeping_everything_costs_nothing_and_giving_costs_more_and_more(name: str) -> None:
    kept = torch.linspace(1, 0.05, 20, dtype=torch.float64)
    sharing = torch.stack((torch.stack((kept, 1 - kept), -1), torch.tensor([0.0, 1.0]).expand(20, 2)), -2)
    costs = COSTS[name](sharing)
    assert costs.shape == (20, 2)
    assert (costs[0] == 0).all()
    assert (costs[:, 1] == 0).all()  # the other giver gives nothing
    assert (costs[:, 0].diff() > 0).all()


def test_losses_are_minus_values_net_of_costs() -> None:
    values = torch.tensor([[1.0, 3.0], [5.0, 7.0]], dtype=torch.float64)
    costs = torch.tensor([[0.5, 0.0], [1.0, 2.0]], dtype=torch.float64)
    welfare = OBJECTIVES["welfare"].losses(values, costs)
    assert welfare.tolist() == [-3.5, -9.0]  # [seed]
    own = OBJECTIVES["own-return"].losses(values, costs)
    assert own.tolist() == [[-0.5, -4.0], [-3.0, -5.0]]  # [giver, seed]


def test_each_giver_gets_the_gradient_of_its_own_objective() -> None:
    """One batched gradient, [objective, seed, giver, receiver], against a gradient per giver."""
    seeds, agents = 4, 3
    logits, mix = draw(seeds, agents, agents), draw(agents, agents, agents)
    sharing = Sharing(torch.ones(agents, agents, dtype=torch.bool))

    def losses(logits: torch.Tensor) -> torch.Tensor:
        matrix = sharing.matrix(logits)
        values = torch.einsum("kij,sij->sk", mix, matrix).sin()
        return OBJECTIVES["own-return"].losses(values, given_away(matrix))

    jacobian = torch.func.jacrev(lambda logits: losses(logits).sum(-1))(logits)
    assert jacobian.shape == (agents, seeds, agents, agents)
    expected = torch.zeros_like(logits)
    for giver in range(agents):
        variable = logits.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(losses(variable)[giver].sum(), variable)
        expected[:, giver] = gradient[:, giver]
    own = OBJECTIVES["own-return"].own_gradient(jacobian)
    torch.testing.assert_close(own, expected, rtol=0, atol=1e-14)


def test_one_objective_keeps_its_gradient() -> None:
    gradient = draw(4, 3, 3)
    assert OBJECTIVES["welfare"].own_gradient(gradient) is gradient
