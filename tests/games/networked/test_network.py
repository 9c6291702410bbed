"""Networks and kinds of graphs: against dense matrices, against networkx, and laws of each kind."""

from __future__ import annotations

import pickle

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from games.networked import (
    GRAPHS,
    EdgeList,
    Graph,
    Grid,
    Network,
    RandomGeometric,
    Ring,
    ScaleFree,
    SmallWorld,
    draw_network,
)
from games.networked._picture import _apart, agent_symbol

KINDS = [
    Ring(),
    Ring(reach=2),
    Ring(reach=3, directed=False),
    Grid(),
    Grid(periodic=False),
    Grid(rows=2, periodic=False),
    SmallWorld(),
    SmallWorld(degree=2, rewiring=1.0, seed=3),
    ScaleFree(),
    ScaleFree(links=1, seed=2),
    RandomGeometric(),
    RandomGeometric(radius=2.0),
    EdgeList(edges=((0, 1), (3, 1, 0.5), (2, 0, 4.0))),
]


def dense(network: Network) -> np.ndarray:
    """Weights as a matrix, [source, target]."""
    matrix = np.zeros((network.agents, network.agents))
    np.add.at(matrix, tuple(network.edges.T), network.weights)
    return matrix


@pytest.mark.parametrize("graph", KINDS, ids=str)
def test_influence_is_the_product_with_the_dense_matrix(graph: Graph) -> None:
    network = graph.network(12)
    matrix = torch.from_numpy(dense(network))
    values = torch.randn(3, 2, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(network.influence(values), values @ matrix, rtol=0, atol=1e-12)
    assert network.out_weights == pytest.approx(matrix.sum(1).numpy())
    assert network.out_degrees.tolist() == (matrix > 0).sum(1).tolist()
    joined = (matrix > 0) | (matrix > 0).T | torch.eye(12, dtype=torch.bool)
    assert torch.equal(network.sharing_edges(), joined.nonzero().T)


@pytest.mark.parametrize("graph", KINDS, ids=str)
def test_normalized_weights_sum_to_one(graph: Graph) -> None:
    network = graph.network(12)
    totals = network.normalized().out_weights
    assert totals == pytest.approx((network.out_weights > 0).astype(float))


@pytest.mark.parametrize("graph", KINDS, ids=str)
def test_a_member_of_a_batch_equals_that_member_alone(graph: Graph) -> None:
    network = graph.network(12)
    values = torch.rand(64, 12, generator=torch.Generator().manual_seed(1))
    together = network.influence(values)
    assert all(torch.equal(network.influence(values[i : i + 1]), together[i : i + 1]) for i in range(64))


@pytest.mark.parametrize("graph", KINDS, ids=str)
def test_graphs_are_plain_values(graph: Graph) -> None:
    copy = pickle.loads(pickle.dumps(graph))
    assert (copy, hash(copy)) == (graph, hash(graph))
    assert copy.network(12) is graph.network(12)  # built once
    assert type(graph) in set(GRAPHS.values())


@pytest.mark.parametrize("graph", [kind for kind in KINDS if kind.symmetric], ids=str)
def test_symmetric_graphs_are_vertex_transitive(graph: Graph) -> None:
    """An isomorphism of the graph with itself leads from agent 0 to each other agent."""
    found = nx.DiGraph(list(map(tuple, graph.network(12).edges.tolist())))
    for agent in range(12):
        marked, moved = found.copy(), found.copy()
        nx.set_node_attributes(marked, {node: node == 0 for node in found}, "mark")
        nx.set_node_attributes(moved, {node: node == agent for node in found}, "mark")
        assert nx.is_isomorphic(marked, moved, node_match=lambda one, two: one == two)


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (Ring(reach=2, directed=False), nx.circulant_graph(12, [1, 2])),
        (Grid(), nx.convert_node_labels_to_integers(nx.grid_2d_graph(3, 4, periodic=True))),
        (Grid(periodic=False), nx.convert_node_labels_to_integers(nx.grid_2d_graph(3, 4))),
        (SmallWorld(seed=5), nx.watts_strogatz_graph(12, 4, 0.1, seed=5)),
        (ScaleFree(seed=5), nx.barabasi_albert_graph(12, 2, seed=5)),
    ],
    ids=str,
)
def test_kinds_are_those_of_networkx(graph: Graph, expected: nx.Graph) -> None:
    assert set(map(tuple, graph.network(12).edges.tolist())) == set(expected.to_directed().edges)


def test_near_points_are_joined_in_a_random_geometric_graph() -> None:
    network = RandomGeometric(radius=0.4, seed=7).network(15)
    assert network.places is not None
    apart = np.linalg.norm(network.places[:, None] - network.places, axis=-1)
    assert np.array_equal(dense(network) > 0, (apart <= 0.4) & ~np.eye(15, dtype=bool))


@settings(max_examples=40)
@given(agents=st.integers(2, 12), seed=st.integers(0, 2**31), directed=st.booleans())
def test_edges_of_a_networkx_graph(agents: int, seed: int, directed: bool) -> None:
    graph = nx.gnp_random_graph(agents, 0.4, seed=seed, directed=directed)
    weights = np.random.default_rng(seed).choice([1.0, 0.5, 2.0], graph.number_of_edges())
    nx.set_edge_attributes(graph, dict(zip(graph.edges, weights.tolist(), strict=True)), "weight")
    found = EdgeList.from_networkx(graph).network(agents)
    assert np.array_equal(dense(found), nx.to_numpy_array(graph))


def test_memory_grows_with_edges() -> None:
    network = Ring(reach=4).network(100_000)
    assert network.edges.nbytes + network.weights.nbytes == 400_000 * 24


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Ring(reach=0), "at least 1 place apart; reach is 0"),
        (lambda: Ring(reach=3).network(3), "of 3 agents reach is from 1 to 2, not 3"),
        (lambda: Ring().network(2_000_000), "joins 1000000 agents at most, not 2000000"),
        (lambda: Ring(reach=40).network(1_000_000), "would have about 4e"),
        (lambda: SmallWorld(degree=40).network(1_000_000), "would have about 4e"),
        (lambda: ScaleFree(links=40).network(1_000_000), "would have about 8e"),
        (lambda: RandomGeometric().network(100_000), "would have about 1.96e"),
        (lambda: Ring().network(1), "at least 2 agents, not 1"),
        (lambda: Grid(rows=0), "at least 1 row; rows is 0"),
        (lambda: Grid(rows=5).network(12), "12 agents do not fill 5 rows"),
        (lambda: Grid().network(14), "14 agents make 2 x 7"),
        (lambda: SmallWorld(degree=3), "degree must be even, 2 or more, not 3"),
        (lambda: SmallWorld(rewiring=1.5), "from 0 to 1, not 1.5"),
        (lambda: SmallWorld(degree=12).network(12), "than there are agents, 12; degree is 12"),
        (lambda: ScaleFree(links=0), "joins at least 1 other; links is 0"),
        (lambda: ScaleFree(links=4).network(4), "than there are agents, 4; links is 4"),
        (lambda: ScaleFree(seed=-1), "whole number from 0, not -1"),
        (lambda: RandomGeometric(radius=0.0), "radius must be above 0, not 0.0"),
        (lambda: EdgeList(edges=((0,),)), r"not \(0,\)"),
        (lambda: EdgeList(edges=((0, 0.5),)), r"not \(0, 0.5\)"),
        (lambda: EdgeList(edges=((0, 9),)).network(3), "the agents 0 to 2; some edge has another end"),
        (lambda: EdgeList(edges=((1, 1),)).network(3), "leads back to its source"),
        (lambda: EdgeList(edges=((0, 1, -1.0),)).network(3), "0 or more; some weight is not"),
        (lambda: Network(2, np.zeros((3, 2), np.int64), np.ones(2)), r"not \[3, 2\] and \[2\]"),
    ],
)
def test_bad_graphs_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.parametrize("agents", [2, 12, 100])
def test_pictures_have_one_size(agents: int) -> None:
    fills = [("#0072B2", "white")] * agents
    frame = draw_network(Ring().network(agents), fills, "a ring")
    assert frame.shape == draw_network(ScaleFree(links=1).network(agents), fills, "").shape
    assert frame.dtype == np.uint8


@given(seed=st.integers(0, 2**32 - 1), agents=st.integers(2, 20))
def test_discs_that_would_overlap_are_moved_apart_within_the_picture(seed: int, agents: int) -> None:
    places = 50 + 300 * np.random.default_rng(seed).uniform(size=(agents, 2))
    low, high = np.zeros(2), np.full(2, 400.0)
    moved = _apart(places, 9.0, low, high)
    distances = np.linalg.norm(moved[:, None] - moved, axis=-1)[~np.eye(agents, dtype=bool)]
    assert distances.min() > 18
    assert ((moved >= low) & (moved <= high)).all()
    np.testing.assert_array_equal(_apart(moved, 9.0, low, high)[0], moved[0])


def test_squares_colors_and_the_key_show() -> None:
    network = Ring().network(4)
    plain = draw_network(network, [("#0072B2", "white")] * 4, "")
    squares = draw_network(network, [("#0072B2", "white")] * 4, "", squares=[0])
    assert (plain != squares).any()
    keyed = draw_network(
        network, [("#0072B2", "white")] * 4, "", key=[(agent_symbol("#D55E00", "white"), "agent")]
    )
    assert np.array_equal(keyed[: len(plain)], plain)
    assert (keyed[len(plain) :] == (0xD5, 0x5E, 0x00)).all(-1).any()
