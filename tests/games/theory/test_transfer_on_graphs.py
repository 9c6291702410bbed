"""Minimal transfer on regular graphs: the closed form against the linear program, and conditions on it."""

from __future__ import annotations

import pytest
import torch

from games import minimal_transfer, minimal_transfer_on_graph
from games.networked import Aid, EdgeList, Grid, Ring, ScaleFree


class SharedAlongGraph(Aid):
    """Aid of agents who do not observe the graph, and yet share along it."""

    edges = property(lambda self: self.network.sharing_edges())


SMALL = [
    Aid(agents=5),
    Aid(agents=6, graph=Ring(reach=2)),
    Aid(agents=6, graph=Ring(reach=2), benefit=2.0, cost=0.5, split=False),
    Aid(agents=6, graph=Ring(directed=False)),
    Aid(agents=9, graph=Grid(), benefit=1.5),
]


@pytest.mark.parametrize("game", SMALL)
@pytest.mark.parametrize("along_graph", [True, False])
def test_the_closed_form_is_the_solution_of_the_linear_program(game: Aid, along_graph: bool) -> None:
    found = minimal_transfer_on_graph(game, along_graph=along_graph)
    unobserved = SharedAlongGraph(**{**vars(game), "observe_graph": False})  # without observations
    solved = minimal_transfer(unobserved, along_graph=along_graph)
    assert minimal_transfer_on_graph(unobserved, along_graph=along_graph).s == found.s
    assert found.s == pytest.approx(solved.s, abs=1e-9)
    assert found.g == pytest.approx(solved.g, abs=1e-9)


@pytest.mark.parametrize("game", [*SMALL, Aid(agents=10_000, graph=Grid()), Aid(agents=10_000)])
def test_the_sharing_makes_help_pay_with_nothing_to_spare(game: Aid) -> None:
    found, network = minimal_transfer_on_graph(game), game.network
    giver, receiver = found.edges
    codes, own = giver * game.agents + receiver, giver == receiver
    assert (codes.diff() > 0).all()
    total = torch.zeros(game.agents, dtype=torch.float64).index_add(0, giver, found.shares)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)
    worth = torch.from_numpy(network.weights) * game.benefit
    source, target = torch.from_numpy(network.edges.T.copy())
    back = found.shares[torch.searchsorted(codes, target * game.agents + source)]
    gained = torch.zeros(game.agents, dtype=torch.float64).index_add(0, source, back * worth)
    torch.testing.assert_close(gained, found.shares[own] * game.cost, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("game", "message"),
    [
        (Aid(agents=10, graph=ScaleFree()), "The closed form is for regular graphs"),
        (Aid(agents=3, graph=EdgeList(edges=((0, 1), (1, 2)))), "The closed form is for regular graphs"),
        (Aid(agents=4, graph=EdgeList()), "The closed form is for regular graphs"),
        (Aid(rewiring=0.1), "leave rewiring at 0"),
        (Aid(benefit=1.0), "Helping is not the optimum: it costs 1 and is worth 1"),
    ],
)
def test_games_without_a_closed_form_are_refused(game: Aid, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        minimal_transfer_on_graph(game)
