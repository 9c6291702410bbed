"""The rule of empathy: tables worked by hand, what always holds, and where dilemmas end under it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bilevel.methods import gift_weights, relationships

ALL = torch.ones(3, 3, dtype=torch.bool)
RING = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 1]], dtype=torch.bool)
LASE_DILEMMA = (4.0, 0.0, 5.0, 1.0)


def double(numbers: object) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def test_relationships_by_hand() -> None:
    """One agent looks at three others, who have three actions each."""
    values = double([[1, 3, 5], [2, 2, 2], [-4, 0, 4]])[None].expand(3, 3, 3)
    policies = double([[0.5, 0.25, 0.25], [0.2, 0.3, 0.5], [0, 0, 1]])[None].expand(3, 3, 3)
    found = relationships(values, policies, torch.tensor([2, 0, 0]))
    expected = double([(5 - 2.5) / 4, 0.0, (-4 - 4) / 8]).expand(3, 3)  # nothing to choose; as bad as it gets
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)


def test_illegal_actions_count_for_nothing() -> None:
    """Of three actions one is illegal: it is neither expected nor the best that could have been done."""
    values = double([0, 1, 100]).expand(2, 2, 3)
    legal = torch.tensor([True, True, False]).expand(2, 3)
    found = relationships(values, double([0.2, 0.2, 0.6]).expand(2, 2, 3), torch.tensor([1, 0]), legal)
    torch.testing.assert_close(found, double([0.5, -0.5]).expand(2, 2), rtol=0, atol=1e-15)
    nothing = relationships(values, double([0, 0, 1]).expand(2, 2, 3), torch.tensor([1, 0]), legal)
    assert nothing.isfinite().all()  # whoever is thought to do what it cannot


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_differs_by_rounding_does_not_differ(dtype: torch.dtype) -> None:
    values = torch.tensor([0.1 + 0.2, 0.3], dtype=torch.float64).to(dtype) * 7
    values = values + torch.tensor([0.0, torch.finfo(dtype).eps], dtype=dtype)
    found = relationships(
        values.expand(1, 1, 2), torch.tensor([[[1.0, 0.0]]], dtype=dtype), torch.tensor([1])
    )
    assert found.item() == 0.0


def test_gift_weights_by_hand() -> None:
    found = gift_weights(double([[9, 0.5, -1], [0.2, 9, 0.4], [-0.3, -0.6, 9]]), ALL)
    expected = double([[0.75, 0.25, 0], [0.1, 0.7, 0.2], [0, 0, 1]])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)


def test_strangers_get_nothing_and_neighbors_are_fewer() -> None:
    """In a ring everybody has one neighbor, who then gets all that the relationship is worth."""
    found = gift_weights(double([[9, 0.5, 1], [1, 9, 0.4], [-0.3, 0.6, 9]]), RING)
    expected = double([[0.5, 0.5, 0], [0, 0.6, 0.4], [0, 0, 1]])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)
    alone = gift_weights(double([[9, 1], [1, 9]]), torch.eye(2, dtype=torch.bool))
    assert torch.equal(alone, torch.eye(2, dtype=torch.float64))


@given(seed=st.integers(0, 10_000), agents=st.integers(2, 5), actions=st.integers(1, 4))
def test_what_always_holds(seed: int, agents: int, actions: int) -> None:
    """W is from -1 to 1, in whatever units values are; rows of g sum to 1, and keep what the source says."""
    draws = torch.Generator().manual_seed(seed)
    shape = (4, agents, agents, actions)
    values = torch.randn(shape, generator=draws, dtype=torch.float64)
    policies = torch.randn(shape, generator=draws, dtype=torch.float64).softmax(-1)
    acted = torch.randint(actions, (4, agents), generator=draws)
    graph = torch.rand(agents, agents, generator=draws) < 0.6
    found = relationships(values, policies, acted)
    assert ((found >= -1) & (found <= 1)).all()
    torch.testing.assert_close(relationships(3 * values - 7, policies, acted), found, rtol=0, atol=1e-10)
    weights = gift_weights(found, graph)
    others = graph.clone().fill_diagonal_(False)
    assert (weights >= -1e-15).all()
    assert not weights[:, ~others & ~torch.eye(agents, dtype=torch.bool)].any()
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, agents).double(), rtol=0, atol=1e-12)
    for agent in range(agents):  # the source's form of what is kept
        known = others[agent].nonzero().flatten()
        if len(known):
            kept = (1 - found[:, agent, known]).clamp(max=1).sum(-1) / len(known)
            torch.testing.assert_close(weights[:, agent, agent], kept, rtol=0, atol=1e-12)


def table(payoffs: tuple[float, float, float, float]) -> Tensor:
    """[own action of agent 0, of agent 1, agent], action 0 cooperating."""
    both, sucker, tempted, punished = payoffs
    return double([[[both, both], [sucker, tempted]], [[tempted, sucker], [punished, punished]]])


def slopes(payoffs: tuple[float, float, float, float], cooperate: Tensor, *, own_stands_in: bool) -> Tensor:
    """What an agent's shared reward gains if it cooperates rather than defects, gifts as they are; [agent].

    The critic is the payoff table; expectations are over the other's action.
    """
    pays = table(payoffs)
    policies = torch.stack((cooperate, 1 - cooperate), -1)  # agent, action
    believed = policies[:, None].expand(2, 2, 2) if own_stands_in else policies[None].expand(2, 2, 2)
    seen = torch.zeros(2, 2, 2, dtype=torch.float64)
    for first in (0, 1):
        for second in (0, 1):
            by_first, by_second = pays[:, second], pays[first]  # had the first, or the second, done otherwise
            otherwise = torch.stack((by_first, by_second)).permute(2, 0, 1)  # agent, other, action
            w = relationships(otherwise, believed, torch.tensor([first, second]))
            weights = gift_weights(w, torch.ones(2, 2, dtype=torch.bool))
            seen[first, second] = weights.T @ pays[first, second]
    of_first = policies[1] @ (seen[0, :, 0] - seen[1, :, 0])
    of_second = policies[0] @ (seen[:, 0, 1] - seen[:, 1, 1])
    return torch.stack((of_first, of_second))


def descend(
    payoffs: tuple[float, float, float, float], start: tuple[float, float], *, own_stands_in: bool
) -> Tensor:
    """Gradient play in probabilities, to its end."""
    cooperate = double(start)
    for _ in range(600):
        step = slopes(payoffs, cooperate, own_stands_in=own_stands_in)
        cooperate = (cooperate + 0.05 * step).clamp(0, 1)
    return cooperate


numbers = st.floats(-5, 5)
chances = st.floats(0.01, 0.99)


@given(
    worst=numbers, both=st.floats(0.1, 5), punished=numbers, tempted=st.floats(0.1, 5), p=chances, q=chances
)
def test_slopes_have_their_closed_form(
    worst: float, both: float, punished: float, tempted: float, p: float, q: float
) -> None:
    """With R > S and T > P: w = 1 - belief of who cooperated; who defected gets nothing (derived)."""
    S, P = worst, punished
    R, T = S + both, P + tempted
    found = slopes((R, S, T, P), double([p, q]), own_stands_in=False)[0]
    expected = q * (q * (R - T) + (1 - p) * R) + (1 - q) * (S + (1 - p) * T - P)
    assert float(found) == pytest.approx(expected, abs=1e-9)
    found = slopes((R, S, T, P), double([p, q]), own_stands_in=True)[0]
    expected = q * (p * (R - T) + (1 - q) * R) + (1 - q) * (S + (1 - q) * T - P)
    assert float(found) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("payoffs", [LASE_DILEMMA, (3.0, 0.0, 5.0, 1.0), (-1.0, -2.0, 1.0, -2.5)])
@pytest.mark.parametrize("own_stands_in", [False, True])
def test_the_interior_fixed_point(payoffs: tuple[float, float, float, float], own_stands_in: bool) -> None:
    """P* = (T + S - P) / (2T + S - P - R), whoever's policy stands in; .8 for (4, 0, 5, 1) (derived)."""
    R, S, T, P = payoffs
    fixed = (T + S - P) / (2 * T + S - P - R)
    assert 0 < fixed < 1
    found = slopes(payoffs, double([fixed, fixed]), own_stands_in=own_stands_in)
    torch.testing.assert_close(found, torch.zeros(2).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("start", [(0.1, 0.9), (0.5, 0.4), (0.95, 0.99)])
def test_knowing_the_others_policy_leads_to_the_fixed_point(start: tuple[float, float]) -> None:
    found = descend(LASE_DILEMMA, start, own_stands_in=False)
    torch.testing.assert_close(found, double([0.8, 0.8]), rtol=0, atol=1e-9)


def test_ones_own_policy_in_its_place_makes_it_a_saddle() -> None:
    """Alike, agents reach it; else one ends up cooperating for both, and is paid for it."""
    alike = descend(LASE_DILEMMA, (0.3, 0.3), own_stands_in=True)
    torch.testing.assert_close(alike, double([0.8, 0.8]), rtol=0, atol=1e-9)
    apart = descend(LASE_DILEMMA, (0.80, 0.81), own_stands_in=True)
    torch.testing.assert_close(apart, double([0.0, 1.0]), rtol=0, atol=1e-9)
    step, jacobian = 1e-6, torch.zeros(2, 2, dtype=torch.float64)
    for agent in (0, 1):
        moved = double([0.8, 0.8])
        moved[agent] += step
        jacobian[:, agent] = slopes(LASE_DILEMMA, moved, own_stands_in=True) / step
    found = sorted(torch.linalg.eigvals(jacobian).real.tolist())
    assert found == pytest.approx([-5.0, 3.4], abs=1e-4)


def test_nothing_is_divided_by_nothing() -> None:
    """Where the other can do nothing for one (T = P, R = S) there is no relationship, and no gift."""
    found = slopes((2.0, 2.0, 1.0, 1.0), double([0.3, 0.6]), own_stands_in=False)
    torch.testing.assert_close(found, double([1.0, 1.0]), rtol=0, atol=1e-15)
    assert not math.isnan(float(found.sum()))
