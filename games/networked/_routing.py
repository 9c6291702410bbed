"""Routing: packets choose links from router to router, and full links reject packets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.core import DrawnGame, Step, alias, cached_constants, computed, constant, require
from games.matrix import require_finite
from games.networked._network import Network, both_directions
from games.networked._picture import EDGE, agent_symbol, blend, draw_network, line_symbol
from games.networked._routers import NOWHERE, Routers, random_routers

WAIT = 0
MOST = 500
"""Largest number of routers, and of ports."""
DRAWS = 3
"""Draws of a new packet: its router, its target, its size."""
OCCUPIED, EMPTY = ("#0072B2", "white"), ("#FFFFFF", "#333333")
"""Colors of routers with and without waiting packets."""
EMPTY_LINK, FULL_LINK = (EDGE, 1.0), ("#D55E00", 5.0)
"""Colors and widths of links."""


class RoutingState(NamedTuple):
    """Packets, each at a router or on the way to one."""

    routers: Tensor  # the router where a packet is, or to which its link leads, integer [batch, packet]
    targets: Tensor  # the router to which a packet must get, integer [batch, packet]
    sizes: Tensor  # float32 [batch, packet], from 0 to 1
    links: Tensor  # the link that a packet is on, integer [batch, packet]; -1 at a router
    left: Tensor  # steps until a packet leaves its link, integer [batch, packet]; 0 at a router
    delivered: Tensor  # packets that each agent has delivered, integer [batch, packet]
    time: Tensor  # steps played, integer [batch]


@dataclass(frozen=True, kw_only=True)
class Routing(DrawnGame):
    """Routing: each agent is a packet that travels over links of limited capacity.

    Routers lie at random points of the unit square. In index order, each is linked to the nearest ones, as
    long as both have fewer than `ports` links; points are drawn again until all routers are connected. A link
    takes int(10 distance) // 2 + 1 steps, and the sizes of the packets on it, in both directions, may sum to
    1 at most.

    In each step a packet at a router waits, or chooses one of the router's links; choosing a port without a
    link also means waiting, and on a link actions have no effect. Packets enter in a random order, and a link
    admits them until one does not fit: that packet and all later ones are rejected in this step, at a cost of
    `blocked_cost` each. A packet that arrives at its target gets `arrival_reward` and is replaced by a new
    one, of random size, between two random routers.

    An observation has the packet's router (where it is, or where its link leads) and its target, one-hot;
    the fraction of the longest link time that it still needs; its size; for each port of that router 1 if
    there is a link, the link's time over the longest, and its load; and the fraction of the other packets
    that are at that router or lead there. Rewards are shared among packets whose routers are the same or
    linked, which `neighbors_now` gives. The best welfare is not known; `shortest_paths` is a script.

    The source gives the numbers of routers, links and packets, sizes, capacity, link times and rewards.
    Following the code of DGN (Jiang et al., arXiv 1810.09202), packets rather than routers are agents, and
    packets that arrive are replaced. Unlike there, a packet is paid when it leaves its last link, not when it
    enters it; no two routers have two links; a packet's target is not where it starts; packets enter in
    random order, not in index order; and neighbors are not limited to three. The horizon was chosen here.

    Raises:
        ValueError: there are too few routers, ports or packets, no connected routers are found, or a number
            is out of range.
    Source:
        LToS (Yi et al., arXiv 2112.08702).

    >>> game = Routing(agents=1, routers=2, ports=1)
    >>> state = game.reset(1, torch.Generator().manual_seed(0))
    >>> time = int(game.network.times[0])
    >>> rewards = []
    >>> for _ in range(time):
    ...     state, reward, _ = game.step(state, game.shortest_paths(state), torch.Generator().manual_seed(0))
    ...     rewards.append(reward.item())
    >>> rewards == [0.0] * (time - 1) + [10.0]
    True
    """

    agents: int = 20
    """Number of packets; at least 1."""
    routers: int = 20
    """Number of routers, from 2 to 500."""
    ports: int = 3
    """Largest number of links of a router, from 1 to 500."""
    arrival_reward: float = 10.0
    """Reward for arriving at the target."""
    blocked_cost: float = 0.2
    """Cost of choosing a link that is full; 0 or more."""
    seed: int = 0
    """Random seed of the routers' positions, a nonnegative integer."""
    horizon: int = 100
    """Steps of an episode; at least 1."""

    num_agents = alias("agents")
    symmetric = True  # packets are drawn independently, and so is the order in which they enter
    fully_symmetric = True
    action_names = computed(lambda self: ("wait", *(f"port {port}" for port in range(self.ports))))
    start_draws = computed(lambda self: DRAWS * self.agents)
    step_draws = computed(lambda self: (1 + DRAWS) * self.agents)  # an order, and new packets

    def __post_init__(self) -> None:
        require(self.agents >= 1, f"There must be at least 1 packet; agents is {self.agents}.")
        for name, least in (("routers", 2), ("ports", 1)):
            value = getattr(self, name)
            require(least <= value <= MOST, f"{name} must be from {least} to {MOST}, not {value}.")
        require_finite(arrival_reward=self.arrival_reward, blocked_cost=self.blocked_cost)
        require(self.blocked_cost >= 0, f"blocked_cost must be 0 or more, not {self.blocked_cost}.")
        require(self.seed >= 0, f"The seed of the routers is a whole number from 0, not {self.seed}.")
        require(self.horizon >= 1, f"An episode needs at least 1 step; horizon is {self.horizon}.")
        _ = self.network

    @property
    def network(self) -> Routers:
        """The routers and their links."""
        return random_routers(self.routers, self.ports, self.seed)

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(0.0, 1.0, (2 * self.routers + 2 + 3 * self.ports + 1,), dtype=np.float32)

    def begin(self, draws: Tensor) -> RoutingState:
        routers, targets, sizes = self._packets(draws)
        none = torch.zeros_like(routers)
        return RoutingState(routers, targets, sizes, none + NOWHERE, none, none.clone(), none[:, 0].clone())

    def advance(self, state: RoutingState, actions: Tensor, draws: Tensor) -> Step:
        wanted = self._wanted(state, actions)
        admitted = self._admitted(state, wanted, draws[:, : self.agents])
        tables = _tables(self, draws.device)
        links = torch.where(admitted, wanted, state.links)
        ends = tables.ends[state.routers, (actions.long() - 1).clamp_min(0)]
        routers = torch.where(admitted, ends, state.routers)
        entered = torch.where(admitted, tables.times[wanted.clamp_min(0)], state.left)
        left = (entered - 1).clamp_min(0)
        leaving = (links != NOWHERE) & (left == 0)
        arrived = leaving & (routers == state.targets)
        blocked = (wanted != NOWHERE) & ~admitted
        fresh = self._packets(draws[:, self.agents :])
        after = RoutingState(
            torch.where(arrived, fresh[0], routers),
            torch.where(arrived, fresh[1], state.targets),
            torch.where(arrived, fresh[2], state.sizes),
            links.masked_fill(leaving, NOWHERE),
            left,
            state.delivered + arrived,
            state.time + 1,
        )
        rewards = self.arrival_reward * arrived.float() - self.blocked_cost * blocked.float()
        return after, rewards, after.time >= self.horizon

    def observe(self, state: RoutingState) -> Tensor:
        tables = _tables(self, state.time.device)
        one_hot = torch.eye(self.routers, device=state.time.device)
        ports = tables.ports[state.routers]  # [batch, packet, port]
        linked = ports != NOWHERE
        index = ports.clamp_min(0)
        loads = self.loads(state).gather(1, index.flatten(1)).view(index.shape)
        longest = tables.times.max()
        counts = one_hot[state.routers].sum(1)  # [batch, router]
        company = (counts.gather(1, state.routers) - 1) / max(self.agents - 1, 1)
        parts = (
            one_hot[state.routers],
            one_hot[state.targets],
            (state.left / longest).unsqueeze(-1),
            state.sizes.unsqueeze(-1),
            linked.float(),
            linked * tables.times[index] / longest,
            (linked * loads).clamp(0, 1),  # rounding of sums may exceed 1
            company.unsqueeze(-1),
        )
        return torch.cat(parts, -1)

    def loads(self, state: RoutingState) -> Tensor:
        """Total size of the packets on each link, float32 [batch, link]."""
        on_link = state.links != NOWHERE
        empty = state.sizes.new_zeros(len(state.sizes), len(self.network.links))
        return empty.scatter_add(1, state.links.clamp_min(0), state.sizes * on_link)

    def neighbors_now(self, state: RoutingState) -> Tensor:
        near = _tables(self, state.time.device).near
        return near[state.routers[:, :, None], state.routers[:, None, :]]

    def shortest_paths(self, state: RoutingState) -> Tensor:
        """Actions that follow a shortest path to the target, whatever the links' loads: [batch, packet]."""
        first = _tables(self, state.time.device).first[state.routers, state.targets]
        return torch.where(state.links == NOWHERE, 1 + first, WAIT)

    def measures(self, state: RoutingState) -> dict[str, Tensor]:
        return {"delivered": state.delivered}

    def render(self, state: RoutingState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        routers, loads = self.network, self.loads(state)[index].tolist()
        waiting = state.routers[index][state.links[index] == NOWHERE]
        counts = torch.bincount(waiting.cpu(), minlength=self.routers).tolist()
        fills = [OCCUPIED if count else EMPTY for count in counts]
        (empty, thin), (full, wide) = EMPTY_LINK, FULL_LINK
        colors = [blend(empty, full, load) for load in loads]
        widths = [thin + (wide - thin) * load for load in loads]
        network = Network(self.routers, routers.links, np.ones(len(colors)), routers.places)
        steps, delivered = int(state.time[index]), int(state.delivered[index].sum())
        title = f"step {steps}: {delivered} delivered"
        labels = [str(count) if count else "" for count in counts]
        key = [
            (agent_symbol(*OCCUPIED, text="3"), "router and the number of packets waiting there"),
            (agent_symbol(*EMPTY), "router without packets"),
            (line_symbol(*EMPTY_LINK), "empty link"),
            (line_symbol(*FULL_LINK), "full link"),
        ]
        return draw_network(
            network,
            fills,
            title,
            colors=colors,
            widths=widths,
            labels=labels,
            directed=False,
            key=key,
            scale=scale,
        )

    def _packets(self, draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Routers, targets and sizes of new packets, each [batch, packet]."""
        where, to, sizes = draws.unflatten(1, (DRAWS, self.agents)).unbind(1)
        routers = (where * self.routers).long().clamp_max(self.routers - 1)
        others = (to * (self.routers - 1)).long().clamp_max(self.routers - 2)
        return routers, others + (others >= routers), sizes.clone()

    def _wanted(self, state: RoutingState, actions: Tensor) -> Tensor:
        """Links that packets try to enter, integer [batch, packet]; -1 for none."""
        ports = _tables(self, actions.device).ports
        chosen = ports[state.routers, (actions.long() - 1).clamp_min(0)]
        return chosen.masked_fill((actions == WAIT) | (state.links != NOWHERE), NOWHERE)

    def _admitted(self, state: RoutingState, wanted: Tensor, order: Tensor) -> Tensor:
        """Mask of the packets that enter their links, boolean [batch, packet]."""
        ahead = (order[:, None, :] < order[:, :, None]) & (wanted[:, None, :] == wanted[:, :, None])
        before = (ahead * state.sizes[:, None, :]).sum(-1)
        load = self.loads(state).gather(1, wanted.clamp_min(0))
        return (wanted != NOWHERE) & (load + before + state.sizes <= 1)


class _Tables(NamedTuple):
    ports: Tensor  # as in `Routers`, like the next ones
    ends: Tensor
    times: Tensor
    first: Tensor
    near: Tensor  # routers that are the same or linked, boolean [router, router]


@cached_constants
def _tables(game: Routing, device: torch.device) -> _Tables:
    found = game.network
    near = np.eye(game.routers, dtype=bool)
    near[tuple(both_directions(found.links).T)] = True
    return _Tables(
        ports=constant(found.ports, torch.int64, device),
        ends=constant(found.ends, torch.int64, device),
        times=constant(found.times, torch.int64, device),
        first=constant(found.first, torch.int64, device),
        near=constant(near, torch.bool, device),
    )
