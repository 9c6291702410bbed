"""Sharing that depends on what agents see: a network for each giver."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor

from bilevel.nn import ActivationName, Perceptron
from bilevel.sharing._giving import ObservationEncoder, VaryingShares, first_parameters
from bilevel.sharing._sharing import Sharing
from bilevel.sharing._transfer import Reporting, TrajectoryLike
from games.core import require
from games.wrappers import share_among_present


@dataclass(frozen=True, eq=False)
class SharingNetwork:
    """Each giver's row of the sharing matrix is the softmax of a network of its own observation.

    Rows sum to 1 in every step, whatever the networks say, and shares between strangers are exactly 0. Where
    the graph changes from step to step (`Game.neighbours_now`), rows are spread over those who are neighbours
    then.

    Raises:
        ValueError: the graph or the own share is none (see `Sharing`), a layer has no unit, or weights are
            held for less than a step.

    Source:
        Yi et al., Learning to Share in Networked MARL, NeurIPS 2022, arXiv 2112.08702: the weights
        of the high level, held for several decisions of the low one; here trained end to end.

    >>> network = SharingNetwork(Sharing(torch.ones(2, 2, dtype=torch.bool)), spaces.Discrete(5))
    >>> network.initial(seed=0, seeds=3).shape  # seed, giver, parameter
    torch.Size([3, 2, 258])
    """

    sharing: Sharing
    """The graph, and the share kept at the start, on average over networks."""
    space: spaces.Box | spaces.Discrete
    """One agent's observations."""
    hidden: tuple[int, ...] = (32,)
    """Units of each hidden layer."""
    activation: ActivationName = "tanh"
    """Between layers."""
    hold: int = 1
    """For how many steps a row is held, 1 or more: what the network said is held, the graph is not."""

    def __post_init__(self) -> None:
        require(self.hold >= 1, f"Shares are held for 1 step or more, not {self.hold}.")
        self.network.num_parameters  # noqa: B018 - refuses bad layers

    @property
    def agents(self) -> int:
        """As many as the graph has."""
        return len(self.sharing.neighbours)

    @property
    def exact(self) -> bool:
        """It does not: it depends on what is seen."""
        return False

    @property
    def encoder(self) -> ObservationEncoder:
        """What the networks look at."""
        return ObservationEncoder(self.space, self.agents, actions=1)

    @property
    def network(self) -> Perceptron:
        """The network that each giver has: its observation -> a logit for each receiver."""
        return Perceptron((self.encoder.features, *self.hidden, self.agents), self.activation)

    def initial(self, seed: int, seeds: int) -> Tensor:
        """First parameters, float64 [seed, giver, parameter]; rows are nearly those of the own share."""
        return first_parameters(self.network, seed, seeds, self.agents)

    def logits(self, phi: Tensor, seen: Tensor) -> Tensor:
        """What the networks say of samples.

        Args:
            phi: [seed, giver, parameter].
            seen: observations as numbers, [seed, giver, sample, feature].

        Returns:
            [seed, sample, giver, receiver].
        """
        return self.network(phi, seen).movedim(1, 2)

    def matrices(self, logits: Tensor, graph: Tensor | None = None, present: Tensor | None = None) -> Tensor:
        """Sharing matrices of what the networks say, the start's logits added.

        Args:
            logits: [..., giver, receiver].
            graph: boolean, who may share with whom, of the same shape; None: the graph that does not change.
            present: which agents take part, boolean [..., agent]; None: all of them.

        Returns:
            [..., giver, receiver]; rows sum to 1.
        """
        start = self.sharing.initial() if graph is None else self.sharing.start(graph)
        return share_among_present(self.sharing.matrix(logits + start.to(logits), graph), present)

    def transfer(self, phi: Tensor) -> SharedByNetwork:
        """Sharing by these networks."""
        return SharedByNetwork(self, phi)


@dataclass(frozen=True, eq=False)
class SharedByNetwork(VaryingShares):
    """Sharing by networks with given parameters: r~_j = sum_i T_ij(o_i) r_i; conserves the total."""

    variable: SharingNetwork
    phi: Tensor
    """[seed, giver, parameter]."""

    def stated(self, trajectory: TrajectoryLike) -> Tensor:
        """What the networks say in every step, [seed, giver, receiver, time, episode]."""
        seen, graph = self.variable.encoder.seen(trajectory, self.phi), trajectory.neighbours
        time, hold = torch.arange(seen.shape[2], device=seen.device), self.variable.hold
        chosen = seen[:, :, time // hold * hold] if hold > 1 else seen
        logits = self.variable.logits(self.phi, chosen.flatten(2, 3)).unflatten(1, chosen.shape[2:4])
        now = None if graph is None else graph.permute(0, 3, 4, 1, 2)
        return self.variable.matrices(logits, now).permute(0, 3, 4, 1, 2)

    @property
    def reporting(self) -> Reporting:
        """Shares are means over steps, and depend on what was seen when they were stated."""
        return Reporting("steps", self.variable.hold)
