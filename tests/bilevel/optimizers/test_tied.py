"""Members that move as one: by the mean gradient, equal for ever, whatever the optimizer."""

import pytest
import torch
from torch import Tensor

from bilevel.core import inner_step_per_agent
from bilevel.optimizers import OPTIMIZERS, make_optimizer, sgd, tied


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_members_go_where_one_would_go_by_the_mean_gradient(name: str) -> None:
    together, alone = tied(make_optimizer(name, learning_rate=0.1)), make_optimizer(name, learning_rate=0.1)
    one = draw(0, 2, 1, 5)
    many = one.expand(2, 3, 5).clone()
    state, state_of_one = together.init(many), alone.init(one)
    for step in range(4):
        gradient = draw(1 + step, 2, 3, 5)
        updates, state = together.update(gradient, state, params=many)
        many = many + updates
        updates, state_of_one = alone.update(gradient.mean(1, keepdim=True), state_of_one, params=one)
        one = one + updates
        assert torch.equal(many, many[:, :1].expand_as(many))
        torch.testing.assert_close(many[:, :1], one, rtol=0, atol=1e-14)


def test_differences_are_forgotten() -> None:
    """One step makes unequal members equal, so I - d step / d theta is regular across them."""
    optimizer, theta = tied(sgd(0.1)), draw(0, 3, 2)
    updates, _ = optimizer.update(draw(1, 3, 2), optimizer.init(theta), params=theta)
    after = theta + updates
    torch.testing.assert_close(after, after[:1].expand_as(after), rtol=0, atol=1e-15)
    torch.testing.assert_close(after.mean(0), theta.mean(0) - 0.1 * draw(1, 3, 2).mean(0), rtol=0, atol=1e-15)

    def loss(own: Tensor, others: Tensor, phi: None, data: None) -> Tensor:
        return own.square().sum(-1) + (own * others.roll(1, 0)).sum(-1)

    step = inner_step_per_agent(loss, optimizer)
    jacobian = torch.func.jacrev(lambda theta: step(theta, optimizer.init(theta), None, None)[0])(theta)
    apart = torch.eye(6, dtype=torch.float64) - jacobian.reshape(6, 6)
    assert float(torch.linalg.svdvals(apart).min()) > 0.1


def test_what_is_descended_is_the_mean_of_each_ones_own_gradient() -> None:
    """L_0 = x y, L_1 = -3 x y at x = y = 2: own gradients 2 and -6, mean -2 (of the mean loss it is -4)."""
    optimizer, theta = tied(sgd(0.1)), torch.full((2, 1), 2.0, dtype=torch.float64)

    def loss(own: Tensor, others: Tensor, phi: None, data: None) -> Tensor:
        return torch.stack((own[0, 0] * others[1, 0], -3 * others[0, 0] * own[1, 0]))

    after, _ = inner_step_per_agent(loss, optimizer)(theta, optimizer.init(theta), None, None)
    assert after.flatten().tolist() == pytest.approx([2.2, 2.2], abs=1e-15)
