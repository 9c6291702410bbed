"""Inoculation: components against networkx, closed forms of the optimum, equilibria by their criterion."""

from __future__ import annotations

import dataclasses
import itertools
import pickle

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from games import check_game
from games.adapters import ParallelView
from games.networked import EdgeList, Graph, Grid, Inoculation, Ring, ScaleFree, SmallWorld
from games.networked._inoculation import PROTECT, RISK, component_sizes
from games.theory import price_of_selfishness, pure_equilibria
from tests.games.adapters.pettingzoo_contract import check_contract

GRID = Grid(periodic=False)


def star(agents: int) -> EdgeList:
    return EdgeList(edges=tuple((0, leaf) for leaf in range(1, agents)))


def complete(agents: int) -> EdgeList:
    return EdgeList(edges=tuple(itertools.combinations(range(agents), 2)))


GAMES = [
    Inoculation(agents=6),
    Inoculation(agents=7, graph=star(7), harm=4.0, observe_graph=False),
    Inoculation(agents=6, graph=complete(6)),
    Inoculation(agents=8, graph=SmallWorld(), harm=5.0),
    Inoculation(agents=6, graph=Grid(periodic=False)),
]


@settings(max_examples=40)
@given(
    graph=st.sampled_from([Ring(), Ring(reach=3), SmallWorld(), ScaleFree(links=1), GRID, EdgeList()]),
    agents=st.sampled_from([8, 12, 30]),
    seed=st.integers(0, 2**31),
    share=st.floats(0, 1),
)
def test_components_are_those_of_networkx(graph: Graph, agents: int, seed: int, share: float) -> None:
    kept = torch.rand(3, agents, generator=torch.Generator().manual_seed(seed)) < share
    network = graph.network(agents)
    sizes = component_sizes(kept, network)
    whole = nx.Graph(list(map(tuple, network.edges.tolist())))
    whole.add_nodes_from(range(agents))
    for copy in range(3):
        part = whole.subgraph(kept[copy].nonzero().flatten().tolist())
        expected = [1] * agents
        for component in nx.connected_components(part):
            for agent in component:
                expected[agent] = len(component)
        assert sizes[copy].tolist() == expected


@pytest.mark.parametrize("agents", range(2, 13))
@pytest.mark.parametrize("harm", [0.5, 1.5, 4.0])
def test_optima_have_closed_forms(agents: int, harm: float) -> None:
    """Complete graph: the best number at risk. Star: the center, or the best number of leaves, or nobody."""
    at_risk = np.arange(agents + 1)
    game = Inoculation(agents=agents, graph=complete(agents), harm=harm)
    assert game.best_welfare == pytest.approx(-(agents - at_risk + harm * at_risk**2 / agents).min())
    game = Inoculation(agents=agents, graph=star(agents), harm=harm)
    center_protected = 1 + (agents - 1) * min(1, harm / agents)
    others = agents - at_risk[1:] + harm * at_risk[1:] ** 2 / agents
    assert game.best_welfare == pytest.approx(-min(center_protected, others.min()))


@pytest.mark.parametrize(("agents", "groups"), [(12, (1, 2, 3, 5))])
def test_evenly_spaced_protection_on_a_ring(agents: int, groups: tuple[int, ...]) -> None:
    """A protected agent after every group of k: N / (k + 1) of them, each at a cost of 1."""
    game = Inoculation(agents=agents)
    for size in groups:
        profile = np.array([PROTECT if i % (size + 1) == 0 else RISK for i in range(agents)])
        expected = agents / (size + 1) * (1 + game.harm * size**2 / agents)
        assert game.payoffs_of(profile).sum() == pytest.approx(-expected)


@pytest.mark.parametrize("game", GAMES, ids=str)
def test_equilibria_are_by_the_size_of_groups(game: Inoculation) -> None:
    """Those at risk are in groups of N cost / harm or less, and would be in larger ones if unprotected."""
    limit = game.agents * game.cost / game.harm
    expected = set()
    for profile in itertools.product((PROTECT, RISK), repeat=game.agents):
        actions = torch.tensor([profile])
        sizes = component_sizes(actions == RISK, game.network)[0]
        stable = all(sizes[i] <= limit for i in range(game.agents) if profile[i] == RISK)
        for agent in range(game.agents):
            if profile[agent] == PROTECT:
                dropped = actions.clone()
                dropped[0, agent] = RISK
                stable = stable and component_sizes(dropped == RISK, game.network)[0, agent] >= limit
        if stable:
            expected.add(profile)
    assert {outcome.profile for outcome in pure_equilibria(game)} == expected


def test_selfish_agents_on_the_ring_protect_in_the_wrong_places() -> None:
    game = Inoculation()
    welfare = [outcome.welfare for outcome in pure_equilibria(game)]
    assert game.best_welfare == pytest.approx(-6.5)
    assert max(welfare) == pytest.approx(-7.0)
    assert min(welfare) == pytest.approx(-9.4)
    assert game.defection_welfare == pytest.approx(-30.0)
    assert price_of_selfishness(game).price_of_anarchy.value == pytest.approx(9.4 / 6.5)


@pytest.mark.parametrize("game", GAMES, ids=str)
def test_steps_pay_what_the_table_says(game: Inoculation) -> None:
    profiles = torch.tensor(list(itertools.product((PROTECT, RISK), repeat=game.agents)))
    state = game.reset(len(profiles), torch.Generator())
    _, rewards, done = game.step(state, profiles, torch.Generator())
    torch.testing.assert_close(rewards.double(), game.payoffs().flatten(0, -2), rtol=0, atol=1e-6)
    assert done.all()


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), agents=st.sampled_from([8, 40]))
def test_protection_never_harms_anybody_else(seed: int, agents: int) -> None:
    game = Inoculation(agents=agents, graph=SmallWorld(seed=3))
    generator = torch.Generator().manual_seed(seed)
    actions = torch.randint(2, (1, agents), generator=generator)
    agent = int(torch.randint(agents, (), generator=generator))
    protected = actions.clone()
    protected[0, agent] = PROTECT
    others = torch.arange(agents) != agent
    assert (game.infection(protected) <= game.infection(actions))[0, others].all()
    total = game.infection(actions).sum()
    sizes = component_sizes(actions == RISK, game.network).double() * (actions == RISK)
    assert total.item() == pytest.approx(sizes.sum().item() / agents)


@pytest.mark.parametrize("game", GAMES, ids=str)
def test_the_contract(game: Inoculation) -> None:
    check_game(game)
    assert pickle.loads(pickle.dumps(game)) == game


def test_many_agents_play_without_exact_values() -> None:
    game = Inoculation(agents=2000, graph=ScaleFree())
    check_game(dataclasses.replace(game, agents=12))
    state = game.reset(8, torch.Generator())
    actions = torch.randint(2, (8, 2000), generator=torch.Generator().manual_seed(0))
    _, rewards, _ = game.step(state, actions, torch.Generator())
    assert rewards.shape == (8, 2000)
    assert game.best_welfare is None
    assert game.symmetric is False
    with pytest.raises(ValueError, match="for 12 agents at most; there are 2000"):
        game.values(torch.full((2000, 1, 2), 0.5))


def test_neighbors_are_joined_or_all() -> None:
    assert GAMES[0].neighbors.sum(1).tolist() == [3] * 6
    assert GAMES[1].neighbors.all()


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"cost": -1.0}, "cost must be 0 or more, not -1.0"),
        ({"harm": -1.0}, "harm must be 0 or more, not -1.0"),
        ({"agents": 1}, "at least 2 agents, not 1"),
    ],
)
def test_bad_settings_are_refused(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        Inoculation(**setting)


def test_frames_tell_states_apart() -> None:
    game, generator = Inoculation(), torch.Generator()
    state = game.reset(1, generator)
    played = [game.step(state, torch.full((1, 10), action), generator)[0] for action in (PROTECT, RISK)]
    frames = [game.render(each) for each in (state, *played)]
    assert len({frame.tobytes() for frame in frames}) == 3
    assert len({frame.shape for frame in frames}) == 1


def test_the_pettingzoo_contract() -> None:
    check_contract(lambda: ParallelView(Inoculation(agents=4)))
