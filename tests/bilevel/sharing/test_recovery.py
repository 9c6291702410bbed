"""Learned sharing against the influence graph: precision, recall, and distance from the least."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import games
from bilevel import edge_recovery
from bilevel.sharing import distance_to_minimal_transfer, edges_of, learned_edges, shares_kept, useful_edges
from games import minimal_transfer_on_graph
from games.networked import Aid, EdgeList, Grid, Ring, Traffic

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


def test_precision_and_recall_by_hand() -> None:
    """Agent 0 gives to its helper 3 and to 1, agent 1 to its helper 0, the others keep everything."""
    shares = torch.eye(4, dtype=torch.float64)
    shares[0] = torch.tensor([0.0, 0.4, 0.0, 0.6])
    shares[1] = torch.tensor([0.7, 0.1, 0.1, 0.1])
    found = edge_recovery(shares, HIDDEN)
    assert found.learned == 3
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == 0.5
    high = edge_recovery(shares, HIDDEN, threshold=0.5)
    assert (high.learned, high.precision, high.recall) == (2, 1.0, 0.5)


def test_equal_and_own_shares_are_no_learned_edges() -> None:
    logits = torch.zeros(3, 4, 4)  # rounded by softmax
    for shares in (logits.softmax(-1), torch.eye(4).expand(3, 4, 4)):
        found = edge_recovery(shares, HIDDEN)
        assert found.learned.tolist() == [0, 0, 0]
        assert found.precision.isnan().all()
        assert found.recall.tolist() == [0.0, 0.0, 0.0]
    assert math.isnan(float(edge_recovery(torch.eye(3), Aid(agents=3, benefit=0.0)).recall))


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
    found = edge_recovery(shares, game, threshold=1e-6)
    assert found.precision == found.recall == 1.0


def test_distances_are_refused_without_a_closed_form() -> None:
    with pytest.raises(ValueError, match="closed form in aid on regular graphs, not in EscapeRoom"):
        distance_to_minimal_transfer(torch.eye(2), games.make("escape-room"))


def test_useful_edges_lead_from_the_affected_agent_to_the_source() -> None:
    assert useful_edges(Aid(agents=3, graph=EdgeList(edges=((0, 2),)))).tolist() == [[2], [0]]
    assert np.array_equal(useful_edges(HIDDEN)[1], HIDDEN.network.edges[:, 0])
