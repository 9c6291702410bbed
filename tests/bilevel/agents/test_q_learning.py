"""Q-learning: its closed forms, legal actions alone, and the values of a known decision process."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bilevel.agents import QNetwork, best_value, epsilon_greedy, soft_update, squared_errors, targets

STATES, ACTIONS, DISCOUNT = 3, 2, 0.8
NEXT = torch.tensor([[1, 0], [2, 0], [2, 1]])
REWARD = torch.tensor([[0.0, 0.2], [0.5, 0.0], [-1.0, 1.0]], dtype=torch.float64)
ENDS = torch.tensor([[0, 0], [0, 1], [0, 0]])
"""State 1 ends by action 1. By state and action."""


def known_values() -> Tensor:
    """Q* by value iteration to rounding."""
    values = torch.zeros_like(REWARD)
    for _ in range(400):
        values = REWARD + DISCOUNT * (1 - ENDS).double() * values.amax(-1)[NEXT]
    return values


def test_the_known_values_by_hand() -> None:
    """From state 2 one goes to 1 for 1, and from there back to 2 for .5: 1 + .8 (.5 + .8 (...))."""
    there = (1 + 0.8 * 0.5) / (1 - 0.8**2)
    back = 0.5 + 0.8 * there
    expected = [[0.8 * back, 0.2 + 0.64 * back], [back, 0.0], [-1 + 0.8 * there, there]]
    torch.testing.assert_close(known_values(), torch.tensor(expected, dtype=torch.float64))


def test_q_learning_finds_the_values_of_a_known_process() -> None:
    """Linear in one-hot states (a table), all transitions in each batch, two agents, one of them told more.

    With a full batch the error contracts, so the values come to Q* as near as rounding lets them.
    """
    network = QNetwork(STATES, 1, ACTIONS, hidden=())
    state, action = (
        each.flatten() for each in torch.meshgrid(torch.arange(3), torch.arange(2), indexing="ij")
    )
    one_hot = torch.eye(STATES, dtype=torch.float64)
    seen, following = one_hot[state].expand(2, -1, -1), one_hot[NEXT[state, action]].expand(2, -1, -1)
    told = torch.zeros(2, len(state), 1, dtype=torch.float64)
    rewards = REWARD[state, action] * torch.tensor([[1.0], [2.0]])  # the second agent gets twice as much
    continues = 1 - ENDS[state, action].double()
    theta = target = torch.zeros(2, network.network.num_parameters, dtype=torch.float64)
    for _ in range(300):
        wanted = targets(rewards, best_value(network(target, following, told)), continues, DISCOUNT)
        for _ in range(20):

            def errors(theta: Tensor, wanted: Tensor = wanted) -> Tensor:
                return squared_errors(network(theta, seen, told), action.expand(2, -1), wanted).sum()

            theta = theta - 1.2 * torch.func.grad(errors)(theta)
        target = soft_update(target, theta, 0.5)
    found = network(theta, one_hot.expand(2, -1, -1), told[:, :STATES])
    torch.testing.assert_close(found[0], known_values(), rtol=0, atol=1e-9)
    torch.testing.assert_close(found[1], 2 * known_values(), rtol=0, atol=1e-9)


def test_what_is_told_comes_behind_what_is_seen() -> None:
    network = QNetwork(2, 1, 2, hidden=(), activation="tanh")
    theta = torch.tensor([1.0, 2.0, 10.0, 20.0, 100.0, 200.0, 0.5, -0.5])  # weights by input, then biases
    values = network(theta, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[3.0], [0.0]]))
    assert values.tolist() == [[301.5, 601.5], [10.5, 19.5]]


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_exploration_takes_any_legal_action_with_its_probability(epsilon: float) -> None:
    count = 60_000
    values = torch.tensor([5.0, 1.0, 2.0, 0.0]).expand(count, -1)
    legal = torch.tensor([False, True, True, True]).expand(count, -1)
    actions = epsilon_greedy(values, legal, epsilon, torch.Generator().manual_seed(0))
    found = torch.bincount(actions, minlength=4) / count
    expected = torch.tensor([0.0, epsilon / 3, 1 - epsilon + epsilon / 3, epsilon / 3])
    assert (found - expected).abs().max() < 4 * 0.5 / count**0.5
    assert found[0] == 0
    assert (found > 0).sum() == (1 if epsilon == 0 else 3)


def test_the_best_value_is_that_of_a_legal_action() -> None:
    values = torch.tensor([[3.0, -7.0], [1.0, 2.0]])
    assert best_value(values).tolist() == [3.0, 2.0]
    assert best_value(values, torch.tensor([[False, True], [True, True]])).tolist() == [-7.0, 2.0]


def test_a_target_moves_by_its_closed_form() -> None:
    """With networks that stand still: target_k = online + (1 - rate)^k (target_0 - online)."""
    online = torch.tensor([1.0, -2.0], dtype=torch.float64)
    first = target = torch.tensor([5.0, 3.0], dtype=torch.float64)
    for _ in range(7):
        target = soft_update(target, online, 0.1)
    torch.testing.assert_close(target, online + 0.9**7 * (first - online), rtol=0, atol=1e-14)
    assert torch.equal(soft_update(first, online, 1.0), online)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate of a soft update is above 0 and at most 1"):
        soft_update(torch.zeros(1), torch.zeros(1), rate)


def test_layers_without_units_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 1 unit or more"):
        QNetwork(2, 1, 2, hidden=(0,))
