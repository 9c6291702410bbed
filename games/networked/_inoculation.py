"""Inoculation: agents protect themselves from an infection that spreads along the edges of a graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from games.core import Step, alias, computed, require
from games.matrix import MatrixGame, MatrixState, payoff_array, require_finite
from games.networked._graphs import Graph, Ring
from games.networked._network import Network
from games.networked._picture import agent_symbol, blend, draw_network

NAMES = ("protect", "risk")
PROTECT, RISK = range(len(NAMES))
MAX_IN_A_TABLE = 12  # largest number of agents for a table of the payoffs of all 2^N profiles
PROTECTED = ("#0072B2", "white")
SAFE, SURE = "#FFFFFF", "#D55E00"


@dataclass(frozen=True, kw_only=True)
class Inoculation(MatrixGame):
    """Inoculation against an infection on a graph; it also protects other agents.

    An agent protects itself for `cost`, or takes the risk. Then an infection starts at a random agent and
    spreads along edges, in both directions, to all agents that it can reach without passing through protected
    agents; each infected agent loses `harm`. Rewards are expectations over the first infected agent: an agent
    that takes the risk, in a connected component of k such agents, loses harm * k / N.

    An agent gains by protecting itself if its component would otherwise have more than N cost / harm agents;
    its own reward does not include the benefit to the rest of the component. So equilibria may be worse than
    the optimum, on some graphs by a factor that grows with N; in the optimum, protection keeps components
    small.

    Best welfare and exact values are computed from all 2^N profiles, for up to 12 agents. Games of more
    agents are sampled, in time and memory that grow with the number of edges, and have neither. With
    `observe_graph` off all agents are neighbors; agents observe nothing in either case.

    Raises:
        ValueError: the graph does not fit the number of agents, or a number is out of range; from
            `build_payoffs` and `values`, there are more than 12 agents.
    Source:
        Aspnes, Chang and Yampolskiy, Inoculation strategies for victims of viruses and the sum-of-squares
        partition problem, Journal of Computer and System Sciences 72(6), 2006. The default sizes and costs
        were chosen here.

    >>> game = Inoculation(agents=4, harm=4.0)
    >>> game.payoffs()[0, 1, 1, 0]  # two that risk it between two that are protected
    tensor([-1., -2., -2., -1.], dtype=torch.float64)
    """

    agents: int = 10
    """Number of agents; at least 2."""
    graph: Graph = Ring()  # noqa: RUF009 - a frozen dataclass
    """Kind of graph along which the infection spreads, in both directions of each edge."""
    cost: float = 1.0
    """Cost of protection, in rewards; 0 or more."""
    harm: float = 3.0
    """Loss of an infected agent, in rewards; 0 or more."""
    observe_graph: bool = True
    """Let rewards be shared along edges only; otherwise all agents are neighbors."""

    num_agents = alias("agents")
    action_names = NAMES
    action_space = computed(lambda self: spaces.Discrete(len(NAMES)))
    symmetric = alias("graph.symmetric")

    def __post_init__(self) -> None:
        require_finite(cost=self.cost, harm=self.harm)
        for name in ("cost", "harm"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more, not {getattr(self, name)}.")
        _ = self.network

    @property
    def network(self) -> Network:
        """The network whose edges pass on the infection."""
        return self.graph.network(self.agents)

    @property
    def edges(self) -> Tensor | None:
        return self.network.sharing_edges() if self.observe_graph else None

    @property
    def best_welfare(self) -> float | None:  # type: ignore[override]
        """The greatest total over all profiles; None for more than 12 agents."""
        return float(payoff_array(self).sum(-1).max()) if self.agents <= MAX_IN_A_TABLE else None

    @property
    def defection_welfare(self) -> float:
        return float(self.payoffs_of(np.full(self.agents, RISK)).sum())

    def build_payoffs(self) -> NDArray[np.float64]:
        require(
            self.agents <= MAX_IN_A_TABLE,
            f"Exact values of inoculation come from a table of 2^agents rows, laid out for {MAX_IN_A_TABLE} "
            f"agents at most; there are {self.agents} here.",
        )
        return self.payoffs_of(np.moveaxis(np.indices((2,) * self.agents), 0, -1))

    def payoffs_of(self, profile: NDArray[np.int64]) -> NDArray[np.float64]:
        actions = torch.from_numpy(np.ascontiguousarray(profile)).reshape(-1, self.agents)
        payoffs: NDArray[np.float64] = self._payoffs(actions, torch.float64).numpy().reshape(profile.shape)
        return payoffs

    def step(self, state: MatrixState, actions: Tensor, generator: torch.Generator) -> Step:
        rewards, time = self._payoffs(actions, torch.get_default_dtype()), state.time + 1
        return MatrixState(time, actions), rewards, time >= self.horizon

    def infection(self, actions: Tensor) -> Tensor:
        """Probability that each agent is infected, float64 [batch, agent], under actions of that shape."""
        sizes = component_sizes(actions == RISK, self.network)
        return (actions == RISK) * sizes.double() / self.agents

    def render(self, state: MatrixState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        actions = state.actions[index : index + 1]
        played = bool((actions >= 0).all())
        risks = self.infection(actions)[0].tolist() if played else [0.0] * self.agents
        fills = [
            PROTECTED if action == PROTECT else (blend(SAFE, SURE, risk), "black")
            for action, risk in zip(actions[0].tolist(), risks, strict=True)
        ]
        title = f"{sum(risks):.3g} infected on average" if played else "not yet played"
        key = [
            (agent_symbol(*PROTECTED, square=True), "protected"),
            (agent_symbol(SAFE, "black"), "risk of infection 0 %"),
            (agent_symbol(SURE, "black"), "risk of infection 100 %"),
        ]
        squares = torch.nonzero(actions[0] == PROTECT).flatten().tolist()
        return draw_network(self.network, fills, title, squares=squares, directed=False, key=key, scale=scale)

    def _payoffs(self, actions: Tensor, dtype: torch.dtype) -> Tensor:
        protected = (actions == PROTECT).double()
        return -(self.cost * protected + self.harm * self.infection(actions)).to(dtype)


def component_sizes(kept: Tensor, network: Network) -> Tensor:
    """Size of each agent's connected component among the agents that are kept.

    All copies are searched together, as one graph of separate parts, by SciPy on the CPU.

    Args:
        kept: boolean [batch, agent].
        network: its edges connect in both directions.
    Returns:
        integer [batch, agent]; 1 for agents that are not kept.

    >>> from games.networked import Network
    >>> path = Network(4, np.array([[0, 1], [1, 2], [2, 3]]), np.ones(3))
    >>> component_sizes(torch.tensor([[True, True, False, True]]), path)
    tensor([[2, 2, 1, 1]])
    """
    present = kept.numpy(force=True)
    sources, targets = network.edges.T
    copies, edges = np.nonzero(present[:, sources] & present[:, targets])
    ends = (copies * network.agents + network.edges[edges].T).astype(np.int32)
    joined = scipy.sparse.coo_array((np.ones(len(edges), bool), tuple(ends)), (present.size, present.size))
    _, labels = scipy.sparse.csgraph.connected_components(joined, directed=False)
    sizes = np.bincount(labels)[labels].reshape(present.shape)
    return torch.from_numpy(sizes).to(kept.device)
