"""Aid: helping costs the helper and benefits its neighbors on a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.core import ExactGame, Step, alias, cached_constants, computed, constant, normal, require, uniform
from games.matrix import require_finite
from games.networked._graphs import Graph, Ring
from games.networked._network import Network, edge_tensors, out_weight_tensor
from games.networked._picture import EDGE, agent_symbol, draw_network, line_symbol

NAMES = ("help", "refuse")
HELP, REFUSE = range(len(NAMES))
HELPER, REFUSER = ("#0072B2", "white"), ("#FFFFFF", "#333333")


class AidState(NamedTuple):
    """Steps played, the last actions, and the graph if it changes."""

    time: Tensor  # steps played, integer [batch]
    helped: Tensor  # agents that helped in the last step, boolean [batch, agent]
    targets: Tensor  # targets of the edges, integer [batch, edge]; [batch, 0] if the graph is fixed


@dataclass(frozen=True, kw_only=True)
class Aid(ExactGame):
    """Aid: helping costs `cost`, and gives `benefit` to the agents to which the helper's edges lead.

    With `split` the benefit is divided among these agents in proportion to the edges' weights; otherwise each
    gets `benefit` times the weight. No agent gains by its own help, so selfish agents never help. In the
    optimum an agent helps if the total benefit exceeds the cost. Payoffs do not depend on earlier steps.

    With `rewiring` the graph changes: each edge gets a new target with this probability, drawn from all
    agents but its source, once at the start of an episode or after each step. Sources and weights, and so the
    optimum, do not change.

    An observation is the number of edges that leave the agent. Agents on an edge can share rewards, in both
    directions; if the graph changes, `neighbors_now` returns the current one. With `observe_graph` off the
    graph is hidden: agents observe nothing, and all are neighbors, so methods have to learn with whom to
    share. Values are exact in every case, in time and memory that grow with the number of edges.

    With `noise` each reward has an independent normal error, which makes learning from sampled episodes
    harder; errors add up in the sum of many agents' rewards. Values and the optimum do not change.

    Raises:
        ValueError: the graph does not fit the number of agents, or a number is out of range.
    Source:
        Designed for this toolkit. On a ring it is the donation game of evolutionary graph theory, played in
        one direction: Ohtsuki, Hauert, Lieberman and Nowak, A simple rule for the evolution of cooperation on
        graphs and social networks, Nature 441, 2006.

    >>> game = Aid(agents=3)
    >>> state = game.reset(1, torch.Generator())
    >>> actions = torch.tensor([[0, 1, 1]])  # agent 0 helps agent 1, the others refuse
    >>> game.step(state, actions, torch.Generator())[1]
    tensor([[-1.,  3.,  0.]])
    >>> game.best_welfare
    6.0
    """

    agents: int = 32
    """Number of agents; at least 2."""
    graph: Graph = Ring()  # noqa: RUF009 - a frozen dataclass
    """Kind of graph; an edge from i to j means that the help of i benefits j."""
    benefit: float = 3.0
    """Benefit of an agent's help, in reward units; 0 or more."""
    cost: float = 1.0
    """Cost of helping, in reward units; above 0."""
    split: bool = True
    """Divide the benefit among the agents that are helped; otherwise each gets all of it."""
    rewiring: float = 0.0
    """Probability that an edge gets a new target; from 0 to 1."""
    rewire_every: Literal["episode", "step"] = "step"
    """Time of rewiring: at the start of each episode, or after each step."""
    observe_graph: bool = True
    """Let agents observe the number of their edges, and share along edges only; otherwise the graph is
    hidden."""
    noise: float = 0.0
    """Standard deviation of a normal error of each agent's reward in each step; 0 or more."""
    horizon: int = 1
    """Steps of an episode; at least 1."""

    num_agents = alias("agents")
    action_names = NAMES
    action_space = computed(lambda self: spaces.Discrete(len(NAMES)))
    observation_space = computed(lambda self: spaces.Discrete(self.num_observations))
    symmetric = alias("graph.symmetric")
    defection_welfare = 0.0
    draws_by_rows = True
    pure = True

    def __post_init__(self) -> None:
        require_finite(cost=self.cost, benefit=self.benefit, noise=self.noise)
        require(self.cost > 0, f"Helping costs something: cost must be above 0, not {self.cost}.")
        require(self.benefit >= 0, f"benefit must be 0 or more, not {self.benefit}.")
        require(self.noise >= 0, f"noise is a standard deviation, 0 or more, not {self.noise}.")
        require(0 <= self.rewiring <= 1, f"rewiring is a probability, from 0 to 1, not {self.rewiring}.")
        times = ("episode", "step")
        require(
            self.rewire_every in times, f"rewire_every must be episode or step, not {self.rewire_every!r}."
        )
        require(self.horizon >= 1, f"An episode needs at least 1 step; horizon is {self.horizon}.")
        _ = self.network

    @property
    def network(self) -> Network:
        """The network along which help is given, before any rewiring."""
        return _network(self.graph, self.agents, self.split)

    @property
    def best_welfare(self) -> float:
        """Gains of the agents that should help: sum of max(0, benefit * out-weight - cost) over agents."""
        gains = self.benefit * self.network.out_weights - self.cost
        return self.horizon * float(np.maximum(gains, 0).sum())

    @property
    def best_cooperation(self) -> float | None:
        """Fraction of the agents that should help; None if some agent's help is worth just its cost."""
        gains = self.benefit * self.network.out_weights - self.cost
        return None if np.any(gains == 0) else float(np.mean(gains > 0))

    @property
    def optimum(self) -> Tensor:
        """Mask of the agents that help in the optimum, boolean [agent]."""
        return torch.from_numpy(self.benefit * self.network.out_weights > self.cost)

    @property
    def edges(self) -> Tensor | None:
        """Edges between agents that affect each other; None if the graph is hidden or changes."""
        return self.network.sharing_edges() if self.observe_graph and not self.rewiring else None

    @property
    def influence(self) -> Tensor | None:
        """Edges along which help is worth something, also where the graph is hidden; None if it changes."""
        if self.rewiring:
            return None
        felt = self.network.weights * self.benefit > 0
        return torch.from_numpy(np.unique(self.network.edges[felt], axis=0).T.copy())

    @property
    def useful_influence(self) -> Tensor | None:
        """Edges of `influence` from agents that help in the optimum; the help of others costs too much."""
        influence = self.influence
        return None if influence is None else influence[:, self.optimum[influence[0]]]

    @property
    def num_observations(self) -> int:
        return int(self.network.out_degrees.max()) + 1 if self.observe_graph else 1

    def neighbors_now(self, state: AidState) -> Tensor | None:
        if not (self.observe_graph and self.rewiring):
            return None
        sources, _, _ = edge_tensors(self.network, torch.float32, state.time.device)
        ends = state.targets + sources * self.agents
        graph = torch.zeros(len(ends), self.agents**2, dtype=torch.bool, device=ends.device)
        graph = graph.scatter(1, ends, True).view(-1, self.agents, self.agents)
        joined: Tensor = graph | graph.mT | torch.eye(self.agents, dtype=torch.bool, device=ends.device)
        return joined

    def reset(self, batch: int, generator: torch.Generator) -> AidState:
        device = generator.device
        time = torch.zeros(batch, dtype=torch.int64, device=device)
        helped = torch.zeros(batch, self.agents, dtype=torch.bool, device=device)
        if not self.rewiring:
            return AidState(time, helped, time.new_zeros(batch, 0))
        _, targets, _ = edge_tensors(self.network, torch.float32, device)
        targets = targets.expand(batch, -1).clone()
        return AidState(
            time, helped, self._rewire(targets, generator) if self.rewire_every == "episode" else targets
        )

    def observe(self, state: AidState) -> Tensor:
        return _seen(self, state.time.device).expand(len(state.time), -1)

    def step(self, state: AidState, actions: Tensor, generator: torch.Generator) -> Step:
        helped = actions == HELP
        given = helped.to(torch.get_default_dtype())
        received = self.network.influence(given, state.targets if self.rewiring else None)
        targets, time = state.targets, state.time + 1
        if self.rewiring and self.rewire_every == "step":
            targets = self._rewire(targets, generator)
        rewards = self.benefit * received - self.cost * given
        if self.noise:
            rewards = rewards + self.noise * normal(rewards.shape, generator)
        return AidState(time, helped, targets), rewards, time >= self.horizon

    def values(self, policies: Tensor) -> Tensor:
        helping = self.cooperation(policies)
        received = self.network.influence(helping)
        if self.rewiring:
            sent = helping * out_weight_tensor(self.network, helping.dtype, helping.device)
            others = (sent.sum(-1, keepdim=True) - sent) / (self.agents - 1)
            kept = self._kept_share()
            received = kept * received + (1 - kept) * others
        return self.horizon * (self.benefit * received - self.cost * helping)

    def shared_values(self, own: Tensor, others: Tensor, shares: Tensor) -> Tensor:
        """Shared value of each learner, [..., learner], in time and memory of the number of edges.

        Learner i's value is that of the policies own[i] and others[j] for j not i, probabilities
        [..., agent, observation, action]; shares are those of `edges`, [..., edge]. Values are linear in
        own[i], so that no policy profile of each learner is needed.

        >>> game = Aid(agents=3)
        >>> refuse = torch.tensor([[[0.0, 1.0]] * 2] * 3)
        >>> game.shared_values(1 - refuse, refuse, torch.full((9,), 1 / 3))  # helping alone: (3 - 1) / 3
        tensor([0.6667, 0.6667, 0.6667])
        """
        giver, receiver, kept, returned = _edge_positions(self, shares.device)
        sources, _, weights = edge_tensors(self.network, shares.dtype, shares.device)
        now = self.values(others)
        received = torch.zeros_like(now).index_add(-1, receiver, shares * now[..., giver])
        worth = torch.zeros_like(now).index_add(-1, sources, weights * shares[..., returned])
        change = self.cooperation(own) - self.cooperation(others)
        gained = change * (self.benefit * worth - self.cost * shares[..., kept])
        return received + self.horizon * gained

    def cooperation(self, policies: Tensor) -> Tensor:
        seen = _seen(self, policies.device)
        return policies[..., HELP].gather(-1, seen.view(-1, 1).expand(*policies.shape[:-2], 1)).squeeze(-1)

    def difference_rewards(self, actions: Tensor, default: int) -> Tensor:
        worth = out_weight_tensor(self.network, torch.get_default_dtype(), actions.device)
        return (self.benefit * worth - self.cost) * ((actions == HELP).to(worth) - float(default == HELP))

    def cooperates(self, state: AidState, actions: Tensor) -> Tensor:
        return actions == HELP

    def scripted(self, state: AidState, cooperative: Tensor) -> Tensor:
        return torch.where(cooperative, HELP, REFUSE)

    def render(self, state: AidState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        edges = self.network.edges
        if self.rewiring:
            edges = np.stack((edges[:, 0], state.targets[index].numpy(force=True)), -1)
        helped, steps = state.helped[index].tolist(), int(state.time[index])
        title = f"step {steps}: {sum(helped)} of {self.agents} help" if steps else "not yet played"
        fills = [HELPER if agent else REFUSER for agent in helped]
        key = [
            (agent_symbol(*HELPER), "helps"),
            (agent_symbol(*REFUSER), "refuses"),
            (line_symbol(EDGE, arrow=True), "direction of help"),
        ]
        sources, targets = self.network.edges.T
        mutual = np.isin(sources * self.agents + targets, targets * self.agents + sources).any()
        if self.rewiring or mutual:
            key.append((line_symbol(EDGE), "help in both directions"))
        return draw_network(self.network, fills, title, edges=edges, key=key, scale=scale)

    def _rewire(self, targets: Tensor, generator: torch.Generator) -> Tensor:
        """Draw new targets for some of the edges, integer [batch, edge]."""
        batch, edges = targets.shape
        draws = uniform((batch, 2, edges), generator)
        sources, _, _ = edge_tensors(self.network, torch.float32, targets.device)
        others = (draws[:, 0] * (self.agents - 1)).long().clamp_max(self.agents - 2)
        return torch.where(draws[:, 1] < self.rewiring, others + (others >= sources), targets)

    def _kept_share(self) -> float:
        """Mean probability, over the steps of an episode, that an edge has never been rewired."""
        kept = 1 - self.rewiring
        if self.rewire_every == "episode":
            return kept
        return sum(kept**time for time in range(self.horizon)) / self.horizon


@cached_constants
def _network(graph: Graph, agents: int, split: bool) -> Network:
    network = graph.network(agents)
    return network.normalized() if split else network


@cached_constants
def _edge_positions(game: Aid, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Givers and receivers of the sharing edges; positions of own edges, and of those back along the network.

    Integer [edge], [edge], [agent] and [edge of the network].
    """
    pairs = game.edges
    assert pairs is not None
    giver, receiver = pairs.numpy()
    codes = giver * game.agents + receiver  # sorted
    own = np.arange(game.agents) * (game.agents + 1)
    back = game.network.edges[:, 1] * game.agents + game.network.edges[:, 0]
    found = (giver, receiver, np.searchsorted(codes, own), np.searchsorted(codes, back))
    first, second, third, fourth = (constant(values, torch.int64, device) for values in found)
    return first, second, third, fourth


@cached_constants
def _seen(game: Aid, device: torch.device) -> Tensor:
    """Each agent's observation, which never changes: integer [agent]."""
    degrees = game.network.out_degrees if game.observe_graph else np.zeros(game.agents)
    return constant(degrees, torch.int64, device)
