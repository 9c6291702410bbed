"""Sharing on edges: the same as by the whole matrix, among agents present, for any graph."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

import games
from bilevel.sharing import (
    CommonReward,
    EdgeNetwork,
    Edges,
    FixedEdges,
    FixedMatrix,
    LearnedEdges,
    SharedBy,
    Sharing,
    Trajectory,
    edges_of,
    self_interest_sharing,
    shares_kept,
)

SEEDS, STEPS, EPISODES = 2, 3, 4


def graph_of(seed: int, agents: int) -> torch.Tensor:
    """A random graph, boolean [giver, receiver]."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(agents, agents, generator=generator) < 0.4) | torch.eye(agents, dtype=torch.bool)


def edges(graph: torch.Tensor) -> Edges:
    return Edges(graph.nonzero().T, len(graph))


def trajectory(seed: int, agents: int, *, leaving: bool = False) -> Trajectory:
    generator = torch.Generator().manual_seed(seed)
    shape = SEEDS, agents, STEPS, EPISODES
    present = torch.rand(shape, generator=generator) < 0.7 if leaving else None
    rewards = torch.randn(shape, generator=generator, dtype=torch.float64)
    return Trajectory(
        torch.randn(*shape, 2, generator=generator, dtype=torch.float64),
        torch.zeros(shape, dtype=torch.int64),
        rewards if present is None else rewards * present,
        torch.ones(SEEDS, 1, STEPS, EPISODES, dtype=torch.float64),
        None,
        present=present,
    )


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


@given(st.integers(0, 10**6), st.integers(1, 7), st.booleans())
def test_edges_share_as_their_matrix_does(seed: int, agents: int, leaving: bool) -> None:
    graph, episodes = graph_of(seed, agents), trajectory(seed, agents, leaving=leaving)
    variable = LearnedEdges(edges(graph), own_share=0.7)
    logits = draw(seed, SEEDS, *variable.initial(seed=0, seeds=1).shape[1:])
    on_edges = variable.transfer(logits)
    dense = SharedBy(variable.edges.matrix(on_edges.shares))
    close(dense.matrix.sum(-1), torch.ones(SEEDS, agents, dtype=torch.float64))
    assert (dense.matrix[:, ~graph] == 0).all()
    close(on_edges.rewards(episodes), dense.rewards(episodes))
    close(on_edges.own_shares(episodes), dense.own_shares(episodes))
    close(on_edges.report(episodes), dense.report(episodes))


@given(st.integers(0, 10**6), st.integers(1, 7), st.floats(0.01, 0.99))
def test_the_initial_shares_are_those_of_the_matrix(seed: int, agents: int, own: float) -> None:
    graph = graph_of(seed, agents)
    variable, sharing = LearnedEdges(edges(graph), own), Sharing(graph, own)
    shares = variable.transfer(variable.initial(seed=0, seeds=1)).shares
    close(variable.edges.matrix(shares)[0], sharing.matrix(sharing.initial()))
    close(edges(graph).matrix(shares_kept(edges(graph), own)[None])[0], self_interest_sharing(graph, own))


@given(st.integers(0, 10**6), st.booleans())
def test_a_gradient_by_edges_is_that_of_the_matrix(seed: int, leaving: bool) -> None:
    graph, episodes = graph_of(seed, 5), trajectory(seed, 5, leaving=leaving)
    variable, weights = LearnedEdges(edges(graph)), draw(seed + 1, SEEDS, 5, STEPS, EPISODES)
    logits = draw(seed, SEEDS, *variable.initial(seed=0, seeds=1).shape[1:]).requires_grad_()
    by_edges = torch.autograd.grad((variable.transfer(logits).rewards(episodes) * weights).sum(), logits)[0]
    dense = torch.zeros(SEEDS, 5, 5, dtype=torch.float64)
    giver, receiver = variable.edges.pairs
    dense[:, giver, receiver] = logits.detach()[:, giver, variable.edges.slot]
    dense.requires_grad_()
    shared = SharedBy(Sharing(graph).matrix(dense)).rewards(episodes)
    by_matrix = torch.autograd.grad((shared * weights).sum(), dense)[0]
    close(by_edges[:, giver, variable.edges.slot], by_matrix[:, giver, receiver])


@given(st.integers(0, 10**6), st.integers(2, 6), st.booleans())
def test_an_edge_network_conserves_the_total_and_its_shares_sum_to_one(
    seed: int, agents: int, leaving: bool
) -> None:
    graph, episodes = graph_of(seed, agents), trajectory(seed, agents, leaving=leaving)
    variable = EdgeNetwork(edges(graph), None, spaces.Box(-1, 1, (2,)), hidden=(4,))
    phi = draw(seed, SEEDS, 1, variable.network.num_parameters)
    transfer = variable.transfer(phi)
    shares = transfer.shares(episodes)
    total = torch.zeros(SEEDS, agents, STEPS, EPISODES).double().index_add(1, variable.edges.pairs[0], shares)
    close(total, torch.ones_like(total))
    close(transfer.rewards(episodes).sum(1), episodes.rewards.sum(1))


def test_an_edge_network_is_independent_of_the_agents_order_and_number() -> None:
    """Agents 0 to 2 of a large graph share as in a graph of their own, whose component they are."""
    ring = torch.eye(3, dtype=torch.bool) | torch.eye(3, dtype=torch.bool).roll(1, 1)
    large = torch.block_diag(ring, ring, ring).bool()
    episodes = trajectory(0, 9)
    few, many = (EdgeNetwork(edges(graph), 0.8, spaces.Box(-1, 1, (2,))) for graph in (ring, large))
    phi = few.initial(seed=3, seeds=SEEDS)
    close(phi, many.initial(seed=3, seeds=SEEDS))
    part = episodes._replace(observations=episodes.observations[:, 3:6], rewards=episodes.rewards[:, 3:6])
    close(few.transfer(phi).rewards(part), many.transfer(phi).rewards(episodes)[:, 3:6])


def test_shares_of_an_edge_network_follow_a_graph_that_changes() -> None:
    episodes = trajectory(0, 3)
    graph = torch.rand(SEEDS, 3, 3, STEPS, EPISODES, generator=torch.Generator().manual_seed(0)) < 0.5
    graph |= torch.eye(3, dtype=torch.bool)[..., None, None]
    variable = EdgeNetwork(edges(torch.ones(3, 3).bool()), None, spaces.Box(-1, 1, (2,)))
    shares = variable.transfer(variable.initial(seed=0, seeds=SEEDS)).shares(
        episodes._replace(neighbors=graph)
    )
    assert ((shares > 0) == graph.flatten(1, 2)).all()


@given(st.integers(0, 10**6), st.integers(1, 5))
def test_the_mean_is_the_common_reward_of_the_matrix(seed: int, agents: int) -> None:
    everybody = torch.ones(agents, agents, dtype=torch.bool)
    dense = FixedMatrix(self_interest_sharing(everybody, 1 / agents))
    variable = CommonReward(agents)
    transfer = variable.transfer(variable.initial(seed=0, seeds=SEEDS))
    matrix = dense.transfer(dense.initial(seed=0, seeds=SEEDS))
    for leaving in (False, True):
        episodes = trajectory(seed, agents, leaving=leaving)
        close(transfer.rewards(episodes), matrix.rewards(episodes))
    close(transfer.matrix, matrix.matrix)
    close(transfer.report(None)["given_away"], matrix.report(None)["given_away"])


def test_the_sum_is_every_agents_reward() -> None:
    episodes = trajectory(0, 3, leaving=True)
    variable = CommonReward(3, "sum")
    rewards = variable.transfer(variable.initial(seed=0, seeds=SEEDS)).rewards(episodes)
    close(rewards, episodes.rewards.sum(1, keepdim=True) * episodes.present)


def test_the_edges_of_a_dense_game_are_its_neighbors() -> None:
    assert edges_of(games.make("prisoners-dilemma")).pairs.tolist() == [[0, 0, 1, 1], [0, 1, 0, 1]]


def test_fixed_edges_are_the_same_for_all_seeds() -> None:
    ring = edges(torch.eye(3, dtype=torch.bool) | torch.eye(3, dtype=torch.bool).roll(1, 1))
    variable = FixedEdges(ring, shares_kept(ring, 0.6))
    shares = variable.transfer(variable.initial(seed=0, seeds=SEEDS)).shares
    close(shares, torch.tensor([0.6, 0.4, 0.6, 0.4, 0.4, 0.6], dtype=torch.float64).expand(SEEDS, -1))


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ([[0.0], [0.0]], "Edges are int64 [2, edge], giver above receiver, not torch.float32 [2, 1]."),
        ([[0, 1, 1], [0, 1, 2]], "Edges join the agents 0 to 1, but one names agent 2."),
        ([[1, 0], [1, 0]], "Edges are sorted by giver, and each stands once."),
        ([[0, 0, 1], [0, 0, 1]], "Edges are sorted by giver, and each stands once."),
        (
            [[0, 1], [0, 0]],
            "Every agent may keep its own reward, by an edge to itself: 1 of 2 agents have none.",
        ),
    ],
)
def test_bad_edges_are_refused(pairs: list[list[float]], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        Edges(torch.tensor(pairs), agents=2)
