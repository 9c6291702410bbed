"""Routing: against packets moved one by one, conservation, shortest paths, routers as in the source."""

from __future__ import annotations

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
from games.networked import Routing
from games.networked._routers import NOWHERE
from games.networked._routing import WAIT, RoutingState
from tests.games.adapters.pettingzoo_contract import check_contract

SMALL = Routing(agents=6, routers=5, ports=2, horizon=30)
CROWDED = Routing(agents=30, routers=6, horizon=30, seed=3)
FULL = Routing(horizon=20)


def reference_step(
    game: Routing, state: RoutingState, actions: list[int], draws: list[float]
) -> tuple[dict[str, list], list[float]]:
    """One step of one copy, packet by packet."""
    network, agents = game.network, game.agents
    fields = {name: value[0].tolist() for name, value in state._asdict().items()}
    routers, targets, sizes = fields["routers"], fields["targets"], fields["sizes"]
    links, left, delivered = fields["links"], fields["left"], fields["delivered"]
    load = [0.0] * len(network.links)
    for packet, link in enumerate(links):
        if link >= 0:
            load[link] += sizes[packet]
    rewards, closed = [0.0] * agents, set()
    for packet in sorted(range(agents), key=lambda packet: draws[packet]):
        action = actions[packet]
        if links[packet] >= 0 or action == WAIT or network.ports[routers[packet], action - 1] < 0:
            continue
        link = int(network.ports[routers[packet], action - 1])
        if link in closed or load[link] + sizes[packet] > 1:
            closed.add(link)
            rewards[packet] -= game.blocked_cost
            continue
        load[link] += sizes[packet]
        links[packet], left[packet] = link, int(network.times[link])
        (routers[packet],) = set(network.links[link].tolist()) - {routers[packet]}
    for packet in range(agents):
        if links[packet] < 0:
            continue
        left[packet] -= 1
        if left[packet] > 0:
            continue
        links[packet] = NOWHERE
        if routers[packet] == targets[packet]:
            rewards[packet] += game.arrival_reward
            delivered[packet] += 1
            where, to, size = (draws[agents * (1 + k) + packet] for k in range(3))
            routers[packet] = int(where * game.routers)
            others = [router for router in range(game.routers) if router != routers[packet]]
            targets[packet], sizes[packet] = others[int(to * len(others))], size
    return fields, rewards


@settings(max_examples=30)
@given(game=st.sampled_from([SMALL, CROWDED, FULL]), seed=st.integers(0, 2**31), eager=st.booleans())
def test_a_step_is_that_of_packets_moved_one_by_one(game: Routing, seed: int, eager: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    state = game.begin(torch.rand(1, game.start_draws, generator=generator))
    for _ in range(15):
        actions = torch.randint(1 + game.ports, (1, game.agents), generator=generator)
        actions = game.shortest_paths(state) if eager else actions
        draws = torch.rand(1, game.step_draws, generator=generator)
        after, rewards, _ = game.advance(state, actions, draws)
        expected, paid = reference_step(game, state, actions[0].tolist(), draws[0].tolist())
        for name in ("routers", "targets", "sizes", "links", "left", "delivered"):
            assert getattr(after, name)[0].tolist() == expected[name], name
        assert rewards[0].tolist() == pytest.approx(paid)
        state = after


@settings(max_examples=20)
@given(game=st.sampled_from([SMALL, CROWDED, FULL]), seed=st.integers(0, 2**31))
def test_packets_and_capacity_are_conserved(game: Routing, seed: int) -> None:
    """Links hold 1 at most, every packet is at a router or on a link that leads there, rewards add up."""
    generator = torch.Generator().manual_seed(seed)
    state = game.reset(8, generator)
    ends = torch.from_numpy(game.network.links)
    for _ in range(game.horizon):
        actions = torch.randint(1 + game.ports, (8, game.agents), generator=generator)
        after, rewards, _ = game.step(state, actions, generator)
        assert (game.loads(after) <= 1 + 1e-6).all()
        on_link = after.links >= 0
        assert torch.equal(on_link, after.left > 0)
        assert (ends[after.links.clamp_min(0)] == after.routers[..., None]).any(-1)[on_link].all()
        assert (after.routers[~on_link] != after.targets[~on_link]).all()
        torch.testing.assert_close(game.loads(after).sum(-1), (after.sizes * on_link).sum(-1))
        arrived = after.delivered - state.delivered
        blocked = (rewards - game.arrival_reward * arrived) / -game.blocked_cost
        assert ((blocked - blocked.round()).abs() < 1e-4).all()
        assert (blocked.round() <= 1).all()
        state = after


@pytest.mark.parametrize("game", [SMALL, CROWDED, FULL], ids=str)
def test_routers_are_linked_to_near_ones_and_all_connected(game: Routing) -> None:
    network = game.network
    graph = nx.Graph()
    graph.add_weighted_edges_from(
        [(*pair, time) for pair, time in zip(network.links.tolist(), network.times.tolist(), strict=True)]
    )
    assert nx.is_connected(graph)
    assert graph.number_of_edges() == len(network.links)
    assert max(dict(graph.degree).values()) <= game.ports
    apart = np.linalg.norm(network.places[:, None] - network.places, axis=-1)
    for router, other in itertools.combinations(range(game.routers), 2):
        if not graph.has_edge(router, other):  # one of them has no free port, or had none left for the other
            assert game.ports in (graph.degree[router], graph.degree[other])
    for (one, two), time in zip(network.links.tolist(), network.times.tolist(), strict=True):
        assert time == int(10 * apart[one, two]) // 2 + 1
    steps = dict(nx.all_pairs_dijkstra_path_length(graph))
    assert all(network.steps[i, j] == steps[i][j] for i in graph for j in graph)


def test_a_packet_alone_arrives_after_the_steps_of_its_shortest_path() -> None:
    game = Routing(agents=1, horizon=100)
    generator = torch.Generator().manual_seed(0)
    state = game.reset(64, generator)
    expected = torch.from_numpy(game.network.steps)[state.routers, state.targets]
    arrival = torch.zeros(64, 1, dtype=torch.int64)
    for step in range(1, 40):
        state, rewards, _ = game.step(state, game.shortest_paths(state), generator)
        arrival = torch.where((rewards > 0) & (arrival == 0), step, arrival)
    assert torch.equal(arrival, expected)


def test_a_full_link_turns_a_packet_away_and_waiting_costs_nothing() -> None:
    game = Routing(agents=3, routers=2, ports=1)
    state = game.reset(1, torch.Generator().manual_seed(0))
    state = state._replace(
        routers=torch.tensor([[0, 0, 0]]),
        targets=torch.tensor([[1, 1, 1]]),
        sizes=torch.tensor([[0.6, 0.5, 0.4]]),
    )
    order = torch.zeros(1, game.step_draws)
    order[0, :3] = torch.tensor([0.1, 0.2, 0.3])
    far = int(game.network.times[0]) > 1
    for actions, links in (([1, 1, 1], [0, -1, -1]), ([1, WAIT, 1], [0, -1, 0]), ([WAIT] * 3, [-1] * 3)):
        after, rewards, _ = game.advance(state, torch.tensor([actions]), order)
        turned_away = [
            -0.2 if action and link < 0 else 0.0 for action, link in zip(actions, links, strict=True)
        ]
        if far:
            assert after.links[0].tolist() == links
            assert rewards[0].tolist() == pytest.approx(turned_away)
        else:
            paid = [10.0 if link == 0 else cost for link, cost in zip(links, turned_away, strict=True)]
            assert rewards[0].tolist() == pytest.approx(paid)


def test_neighbors_are_the_packets_at_the_same_or_a_linked_router() -> None:
    generator = torch.Generator().manual_seed(0)
    state = FULL.reset(4, generator)
    graph = FULL.neighbors_now(state)
    linked = {frozenset(pair) for pair in FULL.network.links.tolist()}
    for copy, i, j in itertools.product(range(4), range(20), range(20)):
        one, two = state.routers[copy, i].item(), state.routers[copy, j].item()
        assert graph[copy, i, j].item() == (one == two or frozenset((one, two)) in linked)


def test_observations_show_router_target_links_and_loads() -> None:
    game = SMALL
    generator = torch.Generator().manual_seed(1)
    state = game.reset(3, generator)
    state, _, _ = game.step(state, game.shortest_paths(state), generator)
    seen = game.observe(state)
    routers, targets, rest = seen.split((5, 5, seen.shape[-1] - 10), -1)
    assert torch.equal(routers.argmax(-1), state.routers)
    assert torch.equal(targets.argmax(-1), state.targets)
    torch.testing.assert_close(rest[..., 1], state.sizes)
    ports = torch.from_numpy(game.network.ports)[state.routers]
    assert torch.equal(rest[..., 2:4] > 0, ports >= 0)
    loads = game.loads(state)
    expected = torch.stack([loads[b][ports[b].clamp_min(0)] for b in range(3)]) * (ports >= 0)
    torch.testing.assert_close(rest[..., 6:8], expected)


def test_shortest_paths_deliver_more_than_wandering() -> None:
    delivered = []
    for eager in (True, False):
        generator = torch.Generator().manual_seed(0)
        game = Routing()
        state = game.reset(16, generator)
        for _ in range(game.horizon):
            wandering = torch.randint(4, (16, 20), generator=generator)
            actions = game.shortest_paths(state) if eager else wandering
            state, _, done = game.step(state, actions, generator)
        assert done.all()
        delivered.append(game.measures(state)["delivered"].float().mean().item())
    assert delivered[0] > 5 * delivered[1] > 0


@pytest.mark.parametrize("game", [SMALL, CROWDED, FULL, Routing(agents=1, routers=2, ports=1)], ids=str)
def test_the_contract(game: Routing) -> None:
    check_game(game)
    assert pickle.loads(pickle.dumps(game)) == game


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"agents": 0}, "at least 1 packet; agents is 0"),
        ({"routers": 1}, "routers must be from 2 to 500, not 1"),
        ({"ports": 0}, "ports must be from 1 to 500, not 0"),
        ({"routers": 10**6}, "routers must be from 2 to 500, not 1000000"),
        ({"ports": 1}, "20 routers with 1 ports each are rarely connected"),
        ({"blocked_cost": -1.0}, "blocked_cost must be 0 or more, not -1.0"),
        ({"seed": -1}, "whole number from 0, not -1"),
        ({"horizon": 0}, "at least 1 step; horizon is 0"),
    ],
)
def test_bad_settings_are_refused(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        Routing(**setting)


def test_frames_tell_states_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    state = SMALL.reset(1, generator)
    after, _, _ = SMALL.step(state, SMALL.shortest_paths(state), generator)
    one, two = SMALL.render(state), SMALL.render(after)
    assert one.shape == two.shape
    assert one.tobytes() != two.tobytes()


def test_the_pettingzoo_contract() -> None:
    check_contract(lambda: ParallelView(Routing(agents=4, routers=5, horizon=6)))
