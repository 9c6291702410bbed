"""Exact discounted shares of joint actions between memory-one policies in a repeated game.

The state is the last joint action, a number to the base A (the number of actions) with agent 0's action as
the most significant digit. With s0 the distribution of the first joint action and P the chain's transition
matrix, the discounted shares are the row vector (1 - gamma) s0 (I - gamma P)^-1.

That takes the inverse: in torch 2.13 the forward mode of `torch.linalg.solve` is silently wrong under
`vmap(jacfwd(...))`. Under a tracing compiler, two agents with two actions use `flow` instead: elimination
unrolled into one tensor per entry, without branches or in-place changes, whose derivatives solve the same
system or its transpose. That compiles to a single kernel; run eagerly it is slow.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from games.core import cached_constants, constant, product


def flow(
    first: Tensor, second: Tensor, source: Tensor, discount: float, *, transposed: bool = False
) -> Tensor:
    """Solve (I / discount - P') x = source, [..., 4], or with P; differentiable any number of times.

    The agents' action probabilities in states CC, CD, DC, DD are [..., 4, 2], and P[s, (a, b)] = first[s, a]
    second[s, b]. The discount lies in (0, 1), so that the matrix is diagonally dominant by columns, and
    elimination needs no pivoting.
    """
    result: Tensor = _Flow.apply(first, second, source, discount, transposed)  # type: ignore[no-untyped-call]
    return result


class _Flow(torch.autograd.Function):
    """With A = I / discount - P': A dx = db + dP' x. With v for x, and A' w = v, b gets w, P gets x w'."""

    generate_vmap_rule = True

    @staticmethod
    def forward(first: Tensor, second: Tensor, source: Tensor, discount: float, transposed: bool) -> Tensor:
        joint = _joint(first, second)
        rows = [row.unbind(-1) for row in joint.unbind(-2)]
        entries = [[1 / discount - rows[s][t] if s == t else -rows[s][t] for s in range(4)] for t in range(4)]
        return torch.stack(_eliminate(entries, source.unbind(-1), transposed=transposed), -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        first, second, _, *ctx.rest = inputs
        ctx.save_for_backward(first, second, output)
        ctx.save_for_forward(first, second, output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        first, second, solution = ctx.saved_tensors
        discount, transposed = ctx.rest
        solved = flow(first, second, gradients[0], discount, transposed=not transposed)
        x, w = (solved, solution) if transposed else (solution, solved)
        x, w = x.unsqueeze(-1), w.unflatten(-1, (1, 2, 2))
        by_first = x * (w * second.unsqueeze(-2)).sum(-1)
        by_second = x * (w * first.unsqueeze(-1)).sum(-2)
        return by_first, by_second, solved, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        first, second, solution = ctx.saved_tensors
        discount, transposed = ctx.rest
        by_first, by_second, by_source, *_ = tangents
        change = _joint(by_first, second) + _joint(first, by_second)
        moved = (change * solution.unsqueeze(-2 if transposed else -1)).sum(-1 if transposed else -2)
        return flow(first, second, by_source + moved, discount, transposed=transposed)


def _joint(first: Tensor, second: Tensor) -> Tensor:
    """Joint probabilities [..., state, joint action] from two policies [..., state, action]."""
    return (first.unsqueeze(-1) * second.unsqueeze(-2)).flatten(-2)


def _eliminate(
    matrix: Sequence[Sequence[Tensor]], right: Sequence[Tensor], *, transposed: bool
) -> list[Tensor]:
    """Solve matrix x = right, or with the transpose, by the same elimination factors."""
    if not right:
        return []
    (pivot, *head), *rows = matrix
    first, *others = right
    inverse = pivot.reciprocal()
    scales = [row[0] * inverse for row in rows]
    remainder = [
        [entry - scale * above for entry, above in zip(row[1:], head, strict=True)]
        for row, scale in zip(rows, scales, strict=True)
    ]
    if transposed:
        first = first * inverse
    down, up = (head, scales) if transposed else (scales, head)
    others = [value - factor * first for value, factor in zip(others, down, strict=True)]
    rest = _eliminate(remainder, others, transposed=transposed)
    for factor, value in zip(up, rest, strict=True):
        first = first - factor * value
    return [first if transposed else first * inverse, *rest]


NO_FUTURE = 2.0**-60  # discounts below this are lost in rounding, and their inverse might overflow


def observation_weights(agents: int, actions: int = 2) -> list[list[int]]:
    """Place value of each agent's action in an observer's observation number: [observer][agent].

    The observer's own action is the most significant digit, the others follow in increasing order.
    """
    orders = [[me, *(other for other in range(agents) if other != me)] for me in range(agents)]
    return [[actions ** (agents - 1 - order.index(agent)) for agent in range(agents)] for order in orders]


def observed_states(agents: int, actions: int = 2) -> list[list[int]]:
    """Numbers of the observations that agents make of the last joint action.

    Args:
        agents: number of agents.
        actions: number of actions of each agent.
    Returns:
        Observation number from 1 (0 is the start) by observer and joint action, in the order of actions,
        agent 0's first: [observer][joint action].

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
    """Discounted shares of CC, CD, DC and DD between two memory-one policies: four tensors [...].

    Policies are probabilities [..., 2, 5, 2]; observations are start, then (own, other) = CC, CD, DC, DD.
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
    """Discounted shares of joint actions, [..., A^N], among N memory-one policies, by an A^N x A^N inverse.

    Policies are probabilities [..., agent, 1 + A^N, A].

    >>> chain_occupancy(torch.full((3, 9, 2), 0.5), 0.9)
    tensor([0.1250, 0.1250, ...])
    """
    agents, _, actions = policies.shape[-3:]
    own, *others = policies.unbind(-3)  # the first agent's observations number the states
    seen_by_others = _seen_by_others(agents, actions, policies.device).unbind(0)
    own_indicator, *indicators = _indicators(agents, actions, policies.dtype, policies.device).unbind(0)
    joint = product(own.contiguous(), own_indicator)
    for other, observations, indicator in zip(others, seen_by_others, indicators, strict=True):
        joint = joint * product(other.index_select(-2, observations), indicator)
    start, transitions = joint[..., :1, :], joint[..., 1:, :]
    identity = _identity(agents, actions, policies.dtype, policies.device)
    shares: Tensor = (start @ torch.linalg.inv(identity - discount * transitions)).squeeze(-2)
    return (1 - discount) * shares


@cached_constants
def _seen_by_others(agents: int, actions: int, device: torch.device) -> Tensor:
    """Observation of each agent but the first at the start and in each state: [other, 1 + A^N]."""
    return constant([[0, *row] for row in observed_states(agents, actions)[1:]], torch.int64, device)


@cached_constants
def _indicators(agents: int, actions: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Indicators of each agent's action in each joint action: [agent, A, A^N].

    Products with these are faster than outer products of short axes, in particular their derivatives.
    """
    digits = np.indices((actions,) * agents).reshape(agents, 1, -1)
    return constant(digits == np.arange(actions)[:, None], dtype, device)


@cached_constants
def _identity(agents: int, actions: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Identity matrix over joint actions, [A^N, A^N]."""
    return constant(np.eye(actions**agents), dtype, device)
