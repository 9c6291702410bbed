"""State-dependent sharing: a network for each giver."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor

from bilevel.nn import ActivationName, Perceptron
from bilevel.sharing._giving import ObservationEncoder, VaryingShares, first_parameters
from bilevel.sharing._sharing import Sharing
from bilevel.sharing._trajectory import Trajectory
from bilevel.sharing._transfer import Reporting
from games.core import require
from games.wrappers import share_among_present


@dataclass(frozen=True, eq=False)
class SharingNetwork:
    """State-dependent sharing: each giver's row is the softmax of a network of its own observation.

    Rows sum to 1 in every step, whatever the networks' outputs, and shares between strangers are exactly 0.
    Where the graph changes from step to step (`Game.neighbours_now`), rows are spread over the neighbours of
    that step.

    Raises:
        ValueError: the graph or the own share is invalid (see `Sharing`), a layer has no unit, or `hold` is
            below 1.

    Source:
        Yi et al., Learning to Share in Networked MARL, NeurIPS 2022, arXiv 2112.08702: the weights
        of the high level, fixed for several decisions of the low one; here trained end to end.

    >>> network = SharingNetwork(Sharing(torch.ones(2, 2, dtype=torch.bool)), spaces.Discrete(5))
    >>> network.initial(seed=0, seeds=3).shape  # seed, giver, parameter
    torch.Size([3, 2, 258])
    """

    sharing: Sharing
    """The graph, and the initial own share, on average over networks."""
    space: spaces.Box | spaces.Discrete
    """One agent's observations."""
    hidden: tuple[int, ...] = (32,)
    """Units of each hidden layer."""
    activation: ActivationName = "tanh"
    """Activation between layers."""
    hold: int = 1
    """Steps for which the networks' outputs stay fixed, 1 or more; the graph is that of each step."""
    exact = False

    def __post_init__(self) -> None:
        require(self.hold >= 1, f"Shares are held for 1 step or more, not {self.hold}.")
        self.network.num_parameters  # noqa: B018 - refuses bad layers

    @property
    def agents(self) -> int:
        return len(self.sharing.neighbours)

    @property
    def encoder(self) -> ObservationEncoder:
        """The networks' inputs."""
        return ObservationEncoder(self.space, self.agents, actions=1)

    @property
    def network(self) -> Perceptron:
        """Each giver's network: its observation -> a logit for each receiver."""
        return Perceptron((self.encoder.features, *self.hidden, self.agents), self.activation)

    def initial(self, seed: int, seeds: int) -> Tensor:
        """Draw initial parameters, float64 [seed, giver, parameter]: own shares nearly as configured."""
        return first_parameters(self.network, seed, seeds, self.agents)

    def logits(self, phi: Tensor, features: Tensor) -> Tensor:
        """Outputs of the networks, [seed, sample, giver, receiver], of [seed, giver, sample, feature]."""
        return self.network(phi, features).movedim(1, 2)

    def matrices(self, logits: Tensor, graph: Tensor | None = None, present: Tensor | None = None) -> Tensor:
        """Sharing matrices of the networks' outputs plus the initial logits, [..., giver, receiver].

        The graph is boolean, of the same shape; None: the fixed one. `present` is [..., agent]; None: all.
        """
        start = self.sharing.initial() if graph is None else self.sharing.start(graph)
        return share_among_present(self.sharing.matrix(logits + start.to(logits), graph), present)

    def transfer(self, phi: Tensor) -> SharedByNetwork:
        return SharedByNetwork(self, phi)


@dataclass(frozen=True, eq=False)
class SharedByNetwork(VaryingShares):
    """Sharing by networks with given parameters: r~_j = sum_i T_ij(o_i) r_i; conserves the total."""

    variable: SharingNetwork
    phi: Tensor
    """[seed, giver, parameter]."""

    @property
    def reporting(self) -> Reporting:
        return Reporting("steps", self.variable.hold)

    def unmasked_shares(self, trajectory: Trajectory) -> Tensor:
        features, graph = (
            self.variable.encoder.encode_observations(trajectory, self.phi),
            trajectory.neighbours,
        )
        time, hold = torch.arange(features.shape[2], device=features.device), self.variable.hold
        inputs = features[:, :, time // hold * hold] if hold > 1 else features
        logits = self.variable.logits(self.phi, inputs.flatten(2, 3)).unflatten(1, inputs.shape[2:4])
        graph_by_step = None if graph is None else graph.permute(0, 3, 4, 1, 2)
        return self.variable.matrices(logits, graph_by_step).permute(0, 3, 4, 1, 2)
