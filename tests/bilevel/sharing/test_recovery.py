"""Learned sharing compared with the influence graph: precision, recall, and distance to T*."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import games
from bilevel import edge_recovery
from bilevel.sharing import distance_to_minimal_transfer, edges_of, learned_edges, shares_kept, useful_edges
from games import minimal_transfer_on_graph
from games.networked import Aid, EdgeList, Grid, Ring, ScaleFree, Traffic

HIDDEN = Aid(agents=4, observe_graph=False)  # i helps i + 1
SHOWN = Aid(agents=6)


def test_the_influence_graph_is_who_is_affected_by_whom() -> None:
    """Of any game that states it: changing an action changes the rewards of its targets alone."""
    generator = torch.Generator().manual_seed(0)
    for game in (SHOWN, HIDDEN, Aid(agents=9, graph=Grid()), Aid(agents=5, graph=EdgeList(edges=((0, 3),)))):
        state = game.reset(1, generator)
        refuse = torch.ones(1, game.agents, dtype=torch.int64)
        before = game.step(state, refuse, generator)[1]
        found = set()
        for agent in range(game.agents):
            actions = refuse.clone()
            actions[0, agent] = 0
            changed = (game.step(state, actions, generator)[1] != before)[0].nonzero().flatten().tolist()
            found |= {(agent, other) for other in changed if other != agent}
        influence = game.influence
        assert influence is not None
        assert found == set(map(tuple, influence.T.tolist()))


def test_games_without_an_influence_graph() -> None:
    assert Aid(rewiring=0.1).influence is None
    assert Aid(benefit=0.0).influence.shape == (2, 0)  # type: ignore[union-attr]
    assert Traffic(rows=2, columns=2).influence.shape == (2, 8)
    with pytest.raises(ValueError, match="EscapeRoom does not state which agents affect which"):
        edge_recovery(torch.eye(2), games.make("escape-room"))


def test_wasteful_edges_are_not_useful() -> None:
    """Agent 1's help for 0 is worth 4, agent 2's only 0.5, at a cost of 1: agent 0 should give to 1 alone."""
    edges = EdgeList(edges=((1, 0, 4.0), (2, 0, 0.5)))
    for observed in (True, False):
        game = Aid(agents=3, graph=edges, split=False, benefit=1.0, observe_graph=observed)
        assert game.influence.tolist() == [[1, 2], [0, 0]]  # type: ignore[union-attr]
        assert game.useful_influence.tolist() == [[1], [0]]  # type: ignore[union-attr]
        assert useful_edges(game).tolist() == [[0], [1]]
        only, both = torch.eye(3), torch.eye(3)
        only[0], both[0] = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.2, 0.4, 0.4])
        right, wasteful = edge_recovery(only, game), edge_recovery(both, game)
        assert (right.precision, right.recall) == (1.0, 1.0)
        assert (wasteful.precision, wasteful.recall) == (0.5, 1.0)
    assert Aid(rewiring=0.1).useful_influence is None


@pytest.mark.parametrize("worth", [0.5, 1.5])
def test_useful_edges_are_those_whose_source_raises_welfare(worth: float) -> None:
    """By the rewards themselves, in a group with one receiver of 1.5 times the cost and others of `worth`."""
    graph = EdgeList(edges=((0, 1, 1.5), (1, 2, worth), (3, 2, worth), (3, 0, 0.3)))
    game = Aid(agents=4, graph=graph, split=False, benefit=1.0)
    helping = torch.eye(4)
    policies = torch.stack([helping, 1 - helping], -1)[:, :, None].expand(-1, -1, game.num_observations, -1)
    gains = game.values(policies).sum(-1)
    sources = set(game.useful_influence[0].tolist())  # type: ignore[index]
    assert sources == set((gains > 0).nonzero().flatten().tolist())


def test_precision_and_recall_by_hand() -> None:
    """Agent 0 gives to its helper 3 and to 1, agent 1 gives a little to its helper 0, the others nothing."""
    shares = torch.eye(4, dtype=torch.float64)
    shares[0] = torch.tensor([0.0, 0.4, 0.0, 0.6])
    shares[1] = torch.tensor([0.14, 0.8, 0.03, 0.03])  # half of an equal share of 0.2 is 0.033
    found = edge_recovery(shares, HIDDEN)
    assert found.learned == 3
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == 0.5
    assert found.density == pytest.approx(4 / 12)
    high = edge_recovery(shares, HIDDEN, threshold=0.5)
    assert (high.learned, high.precision, high.recall) == (1, 1.0, 0.25)


def test_equal_sharing_has_the_density_as_precision() -> None:
    logits = torch.zeros(3, 4, 4)  # rounded by softmax
    found = edge_recovery(logits.softmax(-1), HIDDEN)
    assert found.learned.tolist() == [12, 12, 12]
    assert found.precision.tolist() == pytest.approx([found.density] * 3)
    assert found.recall.tolist() == [1.0, 1.0, 1.0]
    grid = Aid(agents=9, graph=Grid())  # every neighbor helps, so equal sharing is right
    edges = edges_of(grid)
    everything = edge_recovery(shares_kept(edges, 0.5), grid)
    assert (everything.precision, everything.recall, everything.density) == (1.0, 1.0, 1.0)


def test_own_shares_and_giving_next_to_nothing_are_no_learned_edges() -> None:
    little = 0.99 * torch.eye(4) + 0.01 * torch.eye(4).roll(-1, 1)
    for shares in (torch.eye(4).expand(3, 4, 4), little.double().expand(3, 4, 4)):
        found = edge_recovery(shares, HIDDEN)
        assert found.learned.tolist() == [0, 0, 0]
        assert found.precision.isnan().all()
        assert found.recall.tolist() == [0.0, 0.0, 0.0]
    assert math.isnan(float(edge_recovery(torch.eye(3), Aid(agents=3, benefit=0.0)).recall))
    assert math.isnan(edge_recovery(torch.eye(3), Aid(agents=3, graph=EdgeList())).density)


def test_the_least_that_suffices_counts_as_learned() -> None:
    """A quarter for the helper, one of two neighbors, although the giver keeps more than equal parts."""
    for game in (SHOWN, HIDDEN, Aid(agents=9, graph=Grid())):
        least = minimal_transfer_on_graph(game)
        shares = torch.zeros(game.agents, game.agents, dtype=torch.float64)
        shares[tuple(least.edges)] = least.shares
        found = edge_recovery(shares, game)
        assert (found.precision, found.recall) == (1.0, 1.0)


@pytest.mark.parametrize("agents", [10, 100, 1000])
def test_a_little_for_everybody_hides_no_structure(agents: int) -> None:
    """On a hidden graph 95 % for the helper and 5 % for all others: the helper's edge alone counts."""
    game = Aid(agents=agents, observe_graph=False)
    shares = torch.full((agents, agents), 0.05 / (agents - 1), dtype=torch.float64)
    shares[tuple(useful_edges(game))] += 0.95
    found = edge_recovery(shares, game)
    assert (found.precision, found.recall) == (1.0, 1.0)


@given(seed=st.integers(0, 10_000), agents=st.integers(3, 9), factor=st.floats(0.1, 1.0))
def test_learned_edges_follow_agents_and_not_the_amount_given(seed: int, agents: int, factor: float) -> None:
    """Renaming the agents renames the edges; giving less of everything, above 1 %, changes nothing."""
    generator = torch.Generator().manual_seed(seed)
    shares = torch.randn(agents, agents, generator=generator, dtype=torch.float64).mul(2).softmax(-1)
    game, order = Aid(agents=agents, observe_graph=False), torch.randperm(agents, generator=generator)
    learned = learned_edges(shares, game).view(agents, agents)
    renamed = learned_edges(shares[order][:, order], game).view(agents, agents)
    assert torch.equal(renamed, learned[order][:, order])
    kept = torch.eye(agents, dtype=torch.float64)
    assume(float((1 - shares.diagonal()).min()) * factor > 0.01)
    scaled = factor * shares + (1 - factor) * kept
    gap = shares - ((1 - shares.diagonal()) / (2 * (agents - 1)))[:, None]
    assume(float(gap.abs().min()) > 1e-12)
    assert torch.equal(learned_edges(scaled, game).view(agents, agents), learned)
    graph = EdgeList(edges=tuple((int(order[i]), int(order[(i + 1) % agents])) for i in range(agents)))
    ring, moved = (
        Aid(agents=agents, observe_graph=False),
        Aid(agents=agents, graph=graph, observe_graph=False),
    )
    place = order.argsort()
    before, after = edge_recovery(shares, ring), edge_recovery(shares[place][:, place], moved)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)


@given(seed=st.integers(0, 10_000), agents=st.integers(3, 9))
def test_the_rule_by_its_words(seed: int, agents: int) -> None:
    """On any sharing graph: more than half of an equal share of what the giver gives away, above 1 %."""
    shares = torch.randn(
        agents, agents, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).mul(2)
    game = Aid(agents=agents, graph=ScaleFree())
    edges = edges_of(game)
    values = edges.softmax(shares[edges.pairs[0], edges.pairs[1]][None])[0]
    expected = []
    for edge, (giver, receiver) in enumerate(edges.pairs.T.tolist()):
        others = [
            float(values[other])
            for other, (source, target) in enumerate(edges.pairs.T.tolist())
            if source == giver != target
        ]
        given_away = sum(others)
        counts = giver != receiver and given_away > 0.01
        expected.append(counts and float(values[edge]) > given_away / len(others) / 2)
    assert learned_edges(values, game).tolist() == expected


def test_shares_on_edges_and_as_a_matrix_are_one() -> None:
    edges = edges_of(SHOWN)
    shares = edges.softmax(torch.randn(5, edges.pairs.shape[1], generator=torch.Generator().manual_seed(0)))
    by_edges, by_matrix = edge_recovery(shares, SHOWN), edge_recovery(edges.matrix(shares).numpy(), SHOWN)
    for one, other in zip(by_edges, by_matrix, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)
    assert learned_edges(shares, SHOWN).shape == shares.shape
    with pytest.raises(
        ValueError, match=r"Shares of Aid are \[..., 6, 6\] \(giver, receiver\) or \[..., 18\]"
    ):
        edge_recovery(torch.eye(5), SHOWN)


@pytest.mark.parametrize("game", [SHOWN, HIDDEN, Aid(agents=10_000), Aid(agents=7, graph=Ring(reach=2))])
def test_the_least_sufficient_sharing_is_at_distance_zero(game: Any) -> None:
    least, edges = minimal_transfer_on_graph(game), edges_of(game)
    codes = edges.pairs[0] * game.agents + edges.pairs[1]
    shares = torch.zeros(len(codes), dtype=torch.float64)
    shares[torch.searchsorted(codes, least.edges[0] * game.agents + least.edges[1])] = least.shares
    assert float(distance_to_minimal_transfer(shares, game)) == pytest.approx(0.0, abs=1e-12)
    selfish = shares_kept(edges, 1.0)
    assert float(distance_to_minimal_transfer(selfish, game)) == pytest.approx(1 - least.g)
    found = edge_recovery(shares, game)
    assert found.precision == found.recall == 1.0


def test_distances_are_refused_without_a_closed_form() -> None:
    with pytest.raises(ValueError, match="closed form in aid on regular graphs, not in EscapeRoom"):
        distance_to_minimal_transfer(torch.eye(2), games.make("escape-room"))


def test_useful_edges_lead_from_the_affected_agent_to_the_source() -> None:
    assert useful_edges(Aid(agents=3, graph=EdgeList(edges=((0, 2),)))).tolist() == [[2], [0]]
    assert np.array_equal(useful_edges(HIDDEN)[1], HIDDEN.network.edges[:, 0])
