"""Sharing on the edges of a sparse graph: memory and time grow with the number of edges."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor

from bilevel.nn import ActivationName, Perceptron
from bilevel.sharing._network import ObservationEncoder, first_parameters
from bilevel.sharing._sharing import check_own_share
from bilevel.sharing._trajectory import Trajectory, per_step
from bilevel.sharing._transfer import Report, Reporting, Transfer, matrix_report
from games.core import Game, require

MAX_DENSE_REPORT = 64
"""Maximum number of agents whose shares are reported as a whole matrix; of more, edge by edge."""


@dataclass(frozen=True, eq=False)
class Edges:
    """A sparse sharing graph, with an edge from each agent to itself: its own share.

    Raises:
        ValueError: the edges are not integer [2, edge], contain an unknown agent or duplicates, are not
            sorted by giver, or an agent's own edge is missing.

    >>> ring = Edges(torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 1, 2, 0, 2]]), agents=3)
    >>> ring.softmax(torch.zeros(1, 6))  # seed, edge
    tensor([[0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000]])
    """

    pairs: Tensor
    """Giver and receiver of each edge, int64 [2, edge], sorted by giver."""
    agents: int
    """Number of agents."""

    def __post_init__(self) -> None:
        pairs = self.pairs
        require(
            pairs.dtype == torch.int64 and pairs.ndim == 2 and len(pairs) == 2,
            f"Edges are int64 [2, edge], giver above receiver, not {pairs.dtype} {list(pairs.shape)}.",
        )
        outside = (pairs < 0) | (pairs >= self.agents)
        require(
            not bool(outside.any()),
            f"Edges join the agents 0 to {self.agents - 1}, but one names agent "
            f"{int(pairs[outside][0]) if outside.any() else 0}.",
        )
        code = pairs[0] * self.agents + pairs[1]
        require(
            bool((pairs[0].diff() >= 0).all()) and len(code.unique()) == len(code),
            "Edges are sorted by giver, and each stands once.",
        )
        own = int((pairs[0] == pairs[1]).sum())
        require(
            own == self.agents,
            f"Every agent may keep its own reward, by an edge to itself: {self.agents - own} of "
            f"{self.agents} agents have none.",
        )

    @functools.cached_property
    def own(self) -> Tensor:
        """Index of each agent's own edge, [agent]."""
        return (self.pairs[0] == self.pairs[1]).nonzero().squeeze(-1)

    @functools.cached_property
    def degree(self) -> Tensor:
        """Number of each agent's receivers, itself included, [agent]."""
        return torch.bincount(self.pairs[0], minlength=self.agents)

    @functools.cached_property
    def slot(self) -> Tensor:
        """Position of each edge among those of its giver, [edge]."""
        first = self.degree.cumsum(0) - self.degree
        return torch.arange(self.pairs.shape[1]) - first[self.pairs[0]]

    def softmax(self, logits: Tensor) -> Tensor:
        """Shares of each giver's edges, [seed, edge, ...]; those of a giver sum to 1."""
        giver = self.pairs[0].to(logits.device)
        shape = (len(logits), self.agents, *logits.shape[2:])
        fixed, index = logits.detach(), giver.reshape(-1, *[1] * (logits.ndim - 2)).expand(logits.shape)
        largest = fixed.new_full(shape, -math.inf).scatter_reduce(1, index, fixed, "amax")
        weights = (logits - largest[:, giver]).exp()
        return weights / weights.new_zeros(shape).index_add(1, giver, weights)[:, giver]

    def matrix(self, shares: Tensor) -> Tensor:
        """Dense matrix, [seed, giver, receiver], of shares [seed, edge]."""
        dense = shares.new_zeros(len(shares), self.agents, self.agents)
        dense[:, self.pairs[0], self.pairs[1]] = shares
        return dense


def edges_of(game: Game) -> Edges:
    """The sharing graph of a game, as edges.

    >>> import games
    >>> edges_of(games.make("prisoners-dilemma")).pairs
    tensor([[0, 0, 1, 1],
            [0, 1, 0, 1]])
    """
    pairs = game.neighbors.nonzero().T if game.edges is None else game.edges
    return Edges(pairs, game.num_agents)


@dataclass(frozen=True, eq=False)
class SharedOnEdges(Transfer):
    """Sharing along edges, with constant shares: r~_j = sum over edges (i, j) of T_ij r_i.

    Conserves the total. The share for an agent that has left stays with its giver.

    Source:
        Yi et al., Learning to Share in Networked MARL, NeurIPS 2022, arXiv 2112.08702.

    >>> edges = Edges(torch.tensor([[0, 0, 1], [0, 1, 1]]), agents=2)
    >>> SharedOnEdges(edges, torch.tensor([[0.7, 0.3, 1.0]])).report(None)["given_away"]
    tensor([0.1500])
    """

    edges: Edges
    shares: Tensor
    """[seed, edge]; those of a giver sum to 1."""

    @property
    def matrix(self) -> Tensor:
        return self.edges.matrix(self.shares)

    def own_shares(self, trajectory: Trajectory | None) -> Tensor:
        return self.shares[:, self.edges.own]

    def rewards(self, trajectory: Trajectory) -> Tensor:
        return move_along(self.edges, self.shares[..., None, None], trajectory)

    def report(self, trajectory: Trajectory | None) -> Report:
        return edge_report(self.edges, self.shares)


def kept_from_absent(edges: Edges, shares: Tensor, trajectory: Trajectory) -> Tensor:
    """Leave the shares of agents that have left with their givers: [seed, edge, time or 1, episode or 1]."""
    if trajectory.present is None:
        return shares
    giver, receiver = edges.pairs.to(shares.device)
    given = shares * (trajectory.present[:, giver] & trajectory.present[:, receiver])
    return given.index_add(1, edges.own.to(shares.device)[giver], shares - given)


def move_along(edges: Edges, shares: Tensor, trajectory: Trajectory) -> Tensor:
    """Redistribute individual rewards by shares [seed, edge, time or 1, episode or 1]."""
    giver, receiver = edges.pairs.to(shares.device)
    moved = kept_from_absent(edges, shares, trajectory) * trajectory.rewards[:, giver]
    return torch.zeros_like(trajectory.rewards).index_add(1, receiver, moved)


def edge_report(edges: Edges, shares: Tensor) -> Report:
    """Report the mean share given away and all shares, [seed, edge]; for few agents, as a matrix."""
    if edges.agents <= MAX_DENSE_REPORT:
        return matrix_report(edges.matrix(shares))
    return {"given_away": (1 - shares[:, edges.own]).mean(-1), "edge_share": shares}


def shares_kept(edges: Edges, self_interest: float) -> Tensor:
    """Shares of the reward-transfer rule, float64 [edge]: keep a share s, split the rest evenly.

    The same rule as `self_interest_sharing`, on the edges of a sparse graph.

    >>> shares_kept(Edges(torch.tensor([[0, 0, 1], [0, 1, 1]]), agents=2), 0.8)
    tensor([0.8000, 0.2000, 1.0000], dtype=torch.float64)
    """
    require(0 <= self_interest <= 1, f"Self-interest is a share from 0 to 1, not {self_interest:g}.")
    others = (edges.degree - 1).double()
    given = (1 - self_interest) * (others > 0).double() / others.clamp(min=1)
    shares = given[edges.pairs[0]]
    shares[edges.own] = 1 - given * others
    return shares


def own_share_logits(edges: Edges, own_share: float | None) -> Tensor:
    """Logits of an initial own share, float64 [edge]; see `Sharing.start`."""
    logits = torch.zeros(edges.pairs.shape[1], dtype=torch.float64)
    if own_share is not None:
        odds = math.log(own_share / (1 - own_share))
        logits[edges.own] = odds + (edges.degree - 1).clamp(min=1).double().log()
    return logits


@dataclass(frozen=True, eq=False)
class FixedEdges:
    """Fixed shares on the edges of a sparse graph.

    >>> edges = Edges(torch.tensor([[0, 0, 1], [0, 1, 1]]), agents=2)
    >>> variable = FixedEdges(edges, shares_kept(edges, self_interest=0.8))
    >>> variable.transfer(variable.initial(seed=0, seeds=1)).report(None)["given_away"]
    tensor([0.1000], dtype=torch.float64)
    """

    edges: Edges
    shares: Tensor
    """float64 [edge]; those of a giver sum to 1."""
    exact = True

    @property
    def agents(self) -> int:
        return self.edges.agents

    def initial(self, seed: int, seeds: int) -> Tensor:
        return self.shares.expand(seeds, -1)

    def transfer(self, phi: Tensor) -> SharedOnEdges:
        return SharedOnEdges(self.edges, phi)


@dataclass(frozen=True, eq=False)
class LearnedEdges:
    """Learned static shares on the edges of a sparse graph: a softmax of logits for each giver.

    Logits are [seed, giver, slot], with as many slots as the largest number of receivers of a giver; slots
    without an edge have no gradient.

    Raises:
        ValueError: the own share is out of range.

    >>> edges = Edges(torch.tensor([[0, 0, 1], [0, 1, 1]]), agents=2)
    >>> variable = LearnedEdges(edges, own_share=0.8)
    >>> variable.transfer(variable.initial(seed=0, seeds=1)).shares
    tensor([[0.8000, 0.2000, 1.0000]], dtype=torch.float64)
    """

    edges: Edges
    own_share: float | None = None
    """Initial own share, above 0 and below 1; None: equal shares for all neighbors."""
    exact = True

    def __post_init__(self) -> None:
        check_own_share(self.own_share)

    @property
    def agents(self) -> int:
        return self.edges.agents

    def initial(self, seed: int, seeds: int) -> Tensor:
        edges = self.edges
        logits = torch.zeros(self.agents, int(edges.degree.max()), dtype=torch.float64)
        logits[edges.pairs[0], edges.slot] = own_share_logits(edges, self.own_share)
        return logits.expand(seeds, -1, -1)

    def transfer(self, phi: Tensor) -> SharedOnEdges:
        logits = phi[:, self.edges.pairs[0], self.edges.slot]
        return SharedOnEdges(self.edges, self.edges.softmax(logits))


@dataclass(frozen=True, eq=False)
class EdgeNetwork:
    """State-dependent shares by one network for all edges: both agents' observations -> a logit.

    A giver's shares are the softmax over its edges. The parameters do not depend on the number of agents, so
    a network trained on a small graph applies to a large one with the same observations.

    Raises:
        ValueError: a layer has no units, the own share is out of range, or `interval` is below 1.

    >>> edges = Edges(torch.tensor([[0, 0, 1], [0, 1, 1]]), agents=2)
    >>> EdgeNetwork(edges, None, spaces.Discrete(5)).initial(seed=0, seeds=3).shape  # seed, 1, parameter
    torch.Size([3, 1, 417])
    """

    edges: Edges
    own_share: float | None
    """Initial own share, above 0 and below 1, on average over networks; None: equal shares."""
    space: spaces.Box | spaces.Discrete
    """One agent's observations."""
    hidden: tuple[int, ...] = (32,)
    """Units of each hidden layer."""
    activation: ActivationName = "tanh"
    """Activation between layers."""
    interval: int = 1
    """Number of steps for which the network's outputs stay fixed, 1 or more; the graph is that of each
    step."""
    exact = False

    def __post_init__(self) -> None:
        check_own_share(self.own_share)
        require(self.interval >= 1, f"interval must be 1 step or more, not {self.interval}.")
        self.network.num_parameters  # noqa: B018 - refuses bad layers

    @property
    def agents(self) -> int:
        return self.edges.agents

    @property
    def encoder(self) -> ObservationEncoder:
        """The network's inputs from one agent."""
        return ObservationEncoder(self.space, self.agents, actions=1)

    @property
    def network(self) -> Perceptron:
        """The network: both agents' observations, and 1 for an own edge -> a logit."""
        return Perceptron((2 * self.encoder.features + 1, *self.hidden, 1), self.activation)

    def initial(self, seed: int, seeds: int) -> Tensor:
        """Draw initial parameters, float64 [seed, 1, parameter]."""
        return first_parameters(self.network, seed, seeds, agents=1)

    def transfer(self, phi: Tensor) -> SharedByEdgeNetwork:
        return SharedByEdgeNetwork(self, phi)


@dataclass(frozen=True, eq=False)
class SharedByEdgeNetwork(Transfer):
    """Sharing by an edge network with given parameters; conserves the total."""

    variable: EdgeNetwork
    phi: Tensor
    """[seed, 1, parameter]."""

    @property
    def reporting(self) -> Reporting:
        return Reporting("steps", self.variable.interval)

    def shares(self, trajectory: Trajectory) -> Tensor:
        """Shares of every step among the agents present, [seed, edge, time, episode]."""
        variable, edges = self.variable, self.variable.edges
        features = variable.encoder.encode_decisions(trajectory, self.phi, variable.interval)
        giver, receiver = edges.pairs.to(features.device)
        own = (giver == receiver).to(features.dtype).reshape(-1, 1, 1, 1)
        pairs = [features[:, giver], features[:, receiver]]
        inputs = torch.cat([*pairs, own.expand(*pairs[0].shape[:-1], 1)], -1)
        outputs = variable.network(self.phi, inputs.flatten(1, 3).unsqueeze(1)).reshape(inputs.shape[:-1])
        logits = outputs + own_share_logits(edges, variable.own_share).to(outputs)[:, None, None]
        if trajectory.neighbors is not None:
            logits = logits.masked_fill(~trajectory.neighbors[:, giver, receiver], -math.inf)
        return kept_from_absent(edges, edges.softmax(logits), trajectory)

    def own_shares(self, trajectory: Trajectory) -> Tensor:
        return self.shares(trajectory)[:, self.variable.edges.own]

    def rewards(self, trajectory: Trajectory) -> Tensor:
        return move_along(self.variable.edges, self.shares(trajectory), trajectory)

    def report(self, trajectory: Trajectory | None) -> Report:
        assert trajectory is not None
        return edge_report(self.variable.edges, per_step(self.shares(trajectory), trajectory))
