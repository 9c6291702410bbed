"""Where memory-one policies lead in a repeated game: the exact discounted share of each outcome.

The state is the last joint action, a number to the base A (the number of actions) with agent 0's action as
the most significant digit. With s0 the distribution of the first joint action and P the chain's transition
matrix, the discounted share of the steps in which each joint action is played is the row vector
(1 - gamma) s0 (I - gamma P)^-1.

That takes the inverse: in torch 2.13 the forward mode of `torch.linalg.solve` is silently wrong under
`vmap(jacfwd(...))`. For compilers, two agents with two actions are written out entry by entry in
`games.chain_of_two`.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from games.chain_of_two import flow
from games.constants import constant, kept

NO_FUTURE = 2.0**-60
"""Discounts below this are lost in rounding, and their inverse might overflow."""


def observation_weights(agents: int, actions: int = 2) -> list[list[int]]:
    """Give what a unit of each agent's action adds to an observer's number for it: [observer][agent].

    The observer's own action is the most significant digit, the others follow in increasing order.

    >>> observation_weights(3)
    [[4, 2, 1], [2, 4, 1], [2, 1, 4]]
    """
    orders = [[me, *(other for other in range(agents) if other != me)] for me in range(agents)]
    return [[actions ** (agents - 1 - order.index(agent)) for agent in range(agents)] for order in orders]


def observed_states(agents: int, actions: int = 2) -> list[list[int]]:
    """Give the observation (1, 2, ...; 0 is the start) that each joint action makes: [observer][state].

    >>> observed_states(2)
    [[1, 2, 3, 4], [1, 3, 2, 4]]
    """
    joint_actions = list(itertools.product(range(actions), repeat=agents))
    return [
        [
            1 + sum(weight * action for weight, action in zip(weights, row, strict=True))
            for row in joint_actions
        ]
        for weights in observation_weights(agents, actions)
    ]


def two_agent_occupancy(policies: Tensor, discount: float) -> list[Tensor]:
    """Give the discounted share of CC, CD, DC and DD between two memory-one policies.

    Args:
        policies: probabilities [..., 2, 5, 2]; observations are start, then (own, other) = CC, CD, DC, DD.
        discount: per step, in [0, 1).

    Returns:
        four tensors [...], which sum to 1.

    >>> always = torch.tensor([[1.0, 0.0]]).expand(5, 2)
    >>> two_agent_occupancy(torch.stack((always, always.flip(-1))), 0.5)
    [tensor(0.), tensor(1.), tensor(0.), tensor(0.)]
    """
    first, second = (
        torch.stack([policy.select(-2, seen) for seen in (0, *order)], -2)
        for policy, order in zip(policies.unbind(-3), observed_states(2), strict=True)
    )
    start = (first[..., 0, :, None] * second[..., 0, None, :]).flatten(-2)
    if discount < NO_FUTURE:
        return list(start.unbind(-1))
    source = (1 - discount) / discount * start
    return list(flow(first[..., 1:, :], second[..., 1:, :], source, discount).unbind(-1))


def chain_occupancy(policies: Tensor, discount: float) -> Tensor:
    """Give the discounted share of each joint action among N memory-one policies, by one A^N x A^N inverse.

    Args:
        policies: probabilities [..., agent, 1 + A^N, A].
        discount: per step, in [0, 1).

    Returns:
        [..., A^N], summing to 1.

    >>> chain_occupancy(torch.full((3, 9, 2), 0.5), 0.9)
    tensor([0.1250, 0.1250, ...])
    """
    agents, _, actions = policies.shape[-3:]
    own, *others = policies.unbind(-3)  # the first agent's observations number the states
    seen_by_others = _seen_by_others(agents, actions, policies.device).unbind(0)
    own_spread, *spreads = _spread(agents, actions, policies.dtype, policies.device).unbind(0)
    joint = own.contiguous() @ own_spread
    for other, seen, spread in zip(others, seen_by_others, spreads, strict=True):
        joint = joint * (other.index_select(-2, seen) @ spread)
    start, transitions = joint[..., :1, :], joint[..., 1:, :]
    identity = _identity(agents, actions, policies.dtype, policies.device)
    shares: Tensor = (start @ torch.linalg.inv(identity - discount * transitions)).squeeze(-2)
    return (1 - discount) * shares


@kept
def _seen_by_others(agents: int, actions: int, device: torch.device) -> Tensor:
    """What each agent but the first observes at the start and in each state: [other, 1 + A^N]."""
    _, *others = observed_states(agents, actions)
    return constant([[0, *row] for row in others], torch.int64, device)


@kept
def _spread(agents: int, actions: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Which joint actions contain which action of each agent, 1 or 0: [agent, A, A^N].

    Products with these are faster than outer products of short axes, above all their derivatives are.
    """
    digits = np.indices((actions,) * agents).reshape(agents, 1, -1)
    return constant(digits == np.arange(actions)[:, None], dtype, device)


@kept
def _identity(agents: int, actions: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """One row and one column for each joint action."""
    return constant(np.eye(actions**agents), dtype, device)
